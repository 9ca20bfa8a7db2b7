"""manifests/ alone is an installation: kubectl brings it up, an operator has the rights it needs, and it leaves whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qts_core import names
from qts_operator.packaging import NAME, NAMESPACE

from .conftest import CHART, Operator, access_of, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
MANIFESTS = Path(__file__).parents[2] / "manifests"
INSTALL = str(MANIFESTS / "install.yaml")


@pytest.fixture
def bare(kube: Any) -> Iterator[None]:
    """A cluster without definition and release; the chart's come back for whoever is next."""
    kube.helm("uninstall", "operator", "--wait")
    kube.run("delete", "crd", names.CRD_NAME)
    yield
    kube.run("delete", "-f", INSTALL, "--ignore-not-found")
    kube.run("create", "namespace", NAMESPACE)
    kube.install(CHART)


@pytest.mark.usefixtures("bare")
def test_kubectl_installs_and_removes_it(kube: Any, namespace: str, tmp_path: Path) -> None:
    """Plain `kubectl apply`, as the README has it; every sample is taken, and one becomes all its objects."""
    kube.run("apply", "-f", INSTALL)
    kube.run("-n", NAMESPACE, "scale", "deployment", NAME, "--replicas=0")
    kube.run("wait", "--for=condition=Established", f"crd/{names.CRD_NAME}")
    for sample in sorted((MANIFESTS / "samples").glob("*.yaml")):
        kube.run("-n", namespace, "apply", "--dry-run=server", "-f", str(sample))
    operator = Operator(access_of(kube, tmp_path, NAME), tmp_path)
    try:
        until(operator.leads, 60, "operator leads")
        kube.run("-n", namespace, "apply", "-f", str(MANIFESTS / "samples" / "minimal.yaml"))
        until(lambda: kube.applied(namespace, "minimal"), 60, "applied")
        assert {"Deployment/minimal-pads", "StatefulSet/minimal-redis"} <= kube.owned(namespace).keys()
        assert kube.condition(namespace, "minimal", "Degraded")[:2] == ("False", "Healthy")
    finally:
        operator.stop()
    assert "Traceback" not in operator.log()
    kube.run("-n", namespace, "delete", "qts", "minimal")
    kube.run("delete", "-f", INSTALL)
    left = kube.run("get", "clusterrole,clusterrolebinding,crd,namespace", "-o", "name").stdout
    assert NAME not in left
    assert names.CRD_NAME not in left
    assert f"namespace/{NAMESPACE}" not in left


@pytest.mark.parametrize(
    ("role", "may"),
    [("view", {"get", "watch"}), ("edit", {"get", "watch", "create", "delete"}), (None, set())],
)
def test_who_may_see_a_namespace_may_see_its_systems(
    kube: Any, namespace: str, role: str | None, may: set[str], until: Any
) -> None:
    """With roles.yaml Kubernetes' own roles hold systems; no role of theirs writes a status."""
    roles, who = str(MANIFESTS / "roles.yaml"), f"someone-of-{namespace}"
    kube.run("apply", "-f", roles)
    try:
        if role is not None:
            kube.run(
                "-n", namespace, "create", "rolebinding", "of-test", f"--clusterrole={role}", f"--user={who}"
            )
        verbs = ("get", "watch", "create", "delete")

        def told(verb: str, *what: str) -> bool:
            asked = ("-n", namespace, "auth", "can-i", verb, names.PLURAL, f"--as={who}", *what)
            return kube.run(*asked, check=False).stdout.strip() == "yes"

        until(lambda: {verb for verb in verbs if told(verb)} == may, f"may {may}")
        assert not told("patch", "--subresource=status")
    finally:
        kube.run("delete", "-f", roles)
