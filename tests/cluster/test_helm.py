"""Helm where something else was at work: kubectl, install.yaml, another release, as README and status say."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qts_core import names
from qts_core.crd import ANNOTATION_SCHEMA
from qts_operator.packaging import NAME, NAMESPACE
from qts_operator.restricted import GRANT

from .conftest import ACCOUNT, CHART, RELEASE

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
INSTALL = str(ROOT / "manifests" / "install.yaml")
CRD = f"crd/{names.CRD_NAME}"
FORCE = re.findall(r"--[a-z-]+(?:=\w+)?", GRANT)


@pytest.fixture
def bare(kube: Any) -> Iterator[None]:
    """A cluster without definition and release; the chart's come back for whoever is next."""
    kube.helm("uninstall", RELEASE, "--wait")
    kube.run("delete", CRD)
    yield
    kube.run("delete", CRD, "--ignore-not-found")
    kube.install(CHART)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The chart with another definition."""
    made = Path(shutil.copytree(CHART, tmp_path / NAME))
    file = made / "files" / "crd.json"
    definition = json.loads(file.read_text())
    definition["metadata"]["annotations"][ANNOTATION_SCHEMA] = "newer"
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "newer"
    file.write_text(json.dumps(definition))
    return made


def schema(kube: Any) -> str:
    return str(kube.get(CRD)["metadata"]["annotations"][ANNOTATION_SCHEMA])


def readme() -> tuple[str, list[str]]:
    """Return how README removes what install.yaml made, and the flags for the definition that is there."""
    text = (ROOT / "README.md").read_text()
    paragraph = text.partition("The definition stays after")[2].partition("\n\n")[0]
    spans = re.findall(r"`([^`]+)`", paragraph)
    remove = next(span for span in spans if span.startswith("kubectl -n qts-system delete"))
    return remove.removeprefix("kubectl "), [span for span in spans if re.fullmatch(r"--[a-z-]+", span)]


def test_helm_brings_back_what_kubectl_changed(kube: Any, newer: Path) -> None:
    """A right that was taken and a definition that was applied: the words of the status hold for both."""
    rules = kube.get("clusterrole", ACCOUNT)["rules"]
    gone = json.dumps([{"op": "remove", "path": "/rules/0"}])
    kube.run("patch", "clusterrole", ACCOUNT, "--type=json", "-p", gone)
    kube.run("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "manifests" / "crd.yaml"))
    kube.helm("upgrade", RELEASE, str(newer), "--reuse-values", *FORCE)
    assert kube.get("clusterrole", ACCOUNT)["rules"] == rules
    assert schema(kube) == "newer"
    kube.run("patch", "clusterrole", ACCOUNT, "--type=json", "-p", gone)
    kube.helm("rollback", RELEASE, *FORCE)
    assert kube.get("clusterrole", ACCOUNT)["rules"] == rules
    assert schema(kube) != "newer"


@pytest.mark.usefixtures("bare")
def test_an_installation_moves_and_takes_no_system_along(kube: Any, namespace: str, newer: Path) -> None:
    """From install.yaml to helm, on to another release, and a second one beside it, as README says."""
    kube.run("apply", "-f", INSTALL)
    kube.run("wait", "--for=condition=Established", CRD)
    kube.system(namespace, "desk")
    uid = kube.get("-n", namespace, "qts", "desk")["metadata"]["uid"]
    remove, flags = readme()

    kube.run(*shlex.split(remove))
    left = kube.run("-n", NAMESPACE, "get", remove.split()[3], "-o", "name").stdout
    assert f"/{NAME}\n" not in left
    kube.helm("install", RELEASE, str(CHART), "--set", "replicas=0", *flags)
    kube.helm("upgrade", RELEASE, str(newer), "--reuse-values", "--force-conflicts")
    assert schema(kube) == "newer"
    kube.helm("upgrade", RELEASE, str(CHART), "--reuse-values")

    kube.helm("uninstall", RELEASE, "--wait")
    kube.helm("install", "moved", str(CHART), "--set", "replicas=0", *flags)
    beside = ("--set", "crds.enabled=false", "--set", f"watch.namespaces={{{namespace}}}")
    kube.helm("install", "team", str(CHART), "--set", "replicas=0", *beside)
    kube.helm("uninstall", "moved", "--wait")
    kube.helm("upgrade", "team", str(newer), "--reuse-values", "--set", "crds.enabled=true", *flags)
    assert schema(kube) == "newer"
    kube.helm("uninstall", "team", "--wait")
    assert kube.get("-n", namespace, "qts", "desk")["metadata"]["uid"] == uid
