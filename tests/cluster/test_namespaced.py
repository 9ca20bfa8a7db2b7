"""Namespaced mode on a real API server: Roles alone, in a namespace that enforces Pod Security "restricted"."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.conftest import Operator
from tests.cluster.test_definition import status_of_old

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
CHART = Path(__file__).parents[2] / "charts" / "quantum-trading-operator"
RELEASE = "team"


@pytest.fixture
def roles(kube: Any, namespace: str) -> list[dict[str, Any]]:
    """What the chart renders for one namespace, applied; the operator's own Deployment is left out."""
    command = ["helm", "template", RELEASE, str(CHART), "-n", namespace, "--skip-tests"]
    command += ["--set", "crds.enabled=false", "--set", f"watch.namespaces={{{namespace}}}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    documents = [d for d in yaml.safe_load_all(text) if d]
    for each in documents:
        if each["kind"] in ("ServiceAccount", "Role", "RoleBinding"):
            kube.run("apply", "-f", "-", given=each)
    return documents


@pytest.fixture
def allowed(kube: Any, namespace: str, roles: list[dict[str, Any]], tmp_path: Path) -> list[str]:
    """Arguments of an operator process that is this ServiceAccount and watches this namespace."""
    account = next(d["metadata"]["name"] for d in roles if d["kind"] == "ServiceAccount")
    token = kube.run("-n", namespace, "create", "token", account, "--duration=1h").stdout.strip()
    (tmp_path / "token").write_text(token)
    config = json.loads(kube.run("config", "view", "--raw", "--flatten", "--minify", "-o", "json").stdout)
    cluster = config["clusters"][0]["cluster"]
    (tmp_path / "ca.crt").write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    return [
        *("--server", cluster["server"], "--token-file", str(tmp_path / "token")),
        *("--ca-file", str(tmp_path / "ca.crt"), "--namespace", namespace, "--watch", namespace),
    ]


def test_roles_alone_bring_a_system_up_where_pods_must_be_restricted(
    kube, namespace, roles, allowed, operator, until
) -> None:
    """No ClusterRole is rendered or needed; every pod is admitted; nodes are not seen, and it says so."""
    assert [d["kind"] for d in roles if d["kind"].startswith("Cluster")] == []
    label = "pod-security.kubernetes.io/enforce=restricted"
    kube.run("label", "namespace", namespace, label)
    account = next(d["metadata"]["name"] for d in roles if d["kind"] == "ServiceAccount")
    who = f"system:serviceaccount:{namespace}:{account}"
    for verb, resource in (("list", "nodes"), ("list", "pods"), ("get", "customresourcedefinitions")):
        answer = kube.run("auth", "can-i", verb, resource, "--as", who, "-n", "default", check=False)
        assert answer.stdout.strip() == "no", f"{verb} {resource}"
    running = operator(*allowed)
    kube.system(namespace, "desk", {"agents": {"quasar": {"gpu": {"mode": "Required"}}}})
    until(lambda: kube.applied(namespace), "applied")
    agents = {"pads", "qbmia", "quasar", "amos", "market", "redis"}

    def admitted() -> bool:
        pods = kube.get("-n", namespace, "pods")["items"]
        return {p["metadata"]["labels"]["app.kubernetes.io/component"] for p in pods} == agents

    until(admitted, "a pod of each workload")
    # unknown at first; then what the scheduler says of nodes that the operator may not see
    until(lambda: kube.condition(namespace, "desk", "GPUAvailable")[1] == "Unschedulable", "GPUAvailable")
    assert kube.condition(namespace, "desk", "Degraded")[:2] == ("False", "Healthy")
    assert "qts_reflector_denied_total{" not in running.told()
    kube.run("-n", namespace, "delete", "qts", "desk", "--timeout=60s")
    until(lambda: not kube.get("-n", namespace, "deployments")["items"], "nothing left")


def test_with_roles_alone_an_older_definition_is_told_by_the_schema_that_is_published(
    kube, namespace, allowed, operator, until, tmp_path
) -> None:
    """The definition itself may not be read."""
    status_of_old(kube, namespace, tmp_path, lambda: operator(*allowed), until)


def test_events_that_may_not_be_written_are_told_until_they_may(
    kube, namespace, roles, allowed, operator, until
) -> None:
    """Restricted names the right and hinders nothing; asking for it keeps no Event, and it goes by itself."""
    role = next(d for d in roles if d["kind"] == "Role" and "events" in str(d["rules"]))
    less = role | {"rules": [rule for rule in role["rules"] if "events" not in rule["resources"]]}
    kube.run("replace", "-f", "-", given=less)
    operator(*allowed)
    kube.system(namespace, "desk", {"agents": {"quasar": {"gpu": {"mode": "Required"}}}})

    def told() -> str:
        found = kube.get("-n", namespace, "qts", "desk").get("status", {}).get("conditions", [])
        return next((c["message"] for c in found if c["type"] == "Restricted"), "")

    until(lambda: 'cannot create resource "events"' in told(), "Restricted")
    until(lambda: kube.applied(namespace), "applied")
    assert kube.condition(namespace, "desk", "Degraded")[:2] == ("False", "Healthy")
    kube.run("replace", "-f", "-", given=role)
    until(lambda: not told(), "no Restricted")
    events = kube.get("-n", namespace, "events.events.k8s.io")["items"]
    assert not [e for e in events if e["reason"] == "Rehearsal"]


def test_systems_that_may_not_be_listed_say_so(
    kube, namespace, roles, access, allowed, operator, until, tmp_path
) -> None:
    """An operator that starts without the right knows them by what they own, and is not ready."""
    role = next(d for d in roles if d["kind"] == "Role" and "events" in str(d["rules"]))
    first = operator(*allowed)
    kube.system(namespace, "desk")
    until(lambda: kube.applied(namespace), "applied")
    first.stop()
    less = [rule for rule in role["rules"] if "quantumtradingsystems" not in rule["resources"]]
    kube.run("replace", "-f", "-", given=role | {"rules": less})
    blind = Operator(access, tmp_path, *allowed)  # which is not ready
    try:
        until(lambda: kube.condition(namespace, "desk", "Degraded")[1] == "AccessDenied", "AccessDenied")
        assert ' resource "quantumtradingsystems"' in kube.condition(namespace, "desk", "Degraded")[2]
        assert not blind.ready()
        kube.run("replace", "-f", "-", given=role)
        until(lambda: kube.condition(namespace, "desk", "Degraded")[1] == "Healthy", "Healthy")
    finally:
        blind.stop()
    assert "Traceback" not in blind.log()
