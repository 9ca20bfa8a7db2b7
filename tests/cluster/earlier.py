"""An earlier state of this repository: its operator and charts by commit, its chart installed, and what comes of it."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qts_core import names
from qts_core.crd import ANNOTATION_SCHEMA
from qts_operator.packaging import NAME

ROOT = Path(__file__).parents[2]
PARTS = ("core/src", "messaging/src", "operator/src", "charts")


def tree_of(commit: str, folder: Path) -> Path:
    """Return the folder with a commit's operator and charts; the test is skipped where history is missing."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", commit, *PARTS]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("no git on PATH, so no earlier commit")
    if done.returncode:
        pytest.skip(f"this clone has no commit {commit[:7]}; git fetch --unshallow brings it")
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=done.stdout, check=True, timeout=60)
    return folder


def schema_in(chart: Path) -> str:
    """Return the hash of the definition's schema in a chart: a folder, or a package of helm's."""
    if chart.is_dir():
        text = (chart / "files" / "crd.json").read_bytes()
    else:
        with tarfile.open(chart) as package:
            member = package.extractfile(f"{NAME}/files/crd.json")
            assert member is not None
            text = member.read()
    return str(json.loads(text)["metadata"]["annotations"][ANNOTATION_SCHEMA])


def served(kube: Any) -> str:
    """Return the hash of the schema of the definition on the server."""
    return str(kube.get("crd", names.CRD_NAME)["metadata"]["annotations"][ANNOTATION_SCHEMA])


def bring(kube: Any, chart: Path) -> None:
    """Bring the release and the definition to a chart."""
    kube.install(chart)
    assert served(kube) == schema_in(chart)


class Story:
    """What happens to the systems of one namespace under one operator after the other."""

    def __init__(self, kube: Any, namespace: str, until: Callable[..., Any]) -> None:
        self._kube, self._namespace, self._until = kube, namespace, until

    def ready(self, *systems: str) -> None:
        """Wait until every pod of each system is ready."""
        for name in systems:
            self._until(lambda n=name: self._told(n, "Ready")[0] == "True", f"{name} Ready", 300)

    def led(self, made: Any, *systems: str) -> None:
        """Wait for a pass of each system; none may have anything to object to."""
        self._until(lambda: made.passes() >= len(systems), "a pass of each system")
        for name in systems:
            self._until(lambda n=name: self._kube.applied(self._namespace, n), f"{name} applied")
            self._until(lambda n=name: self._told(n, "Degraded")[1] == "Healthy", f"{name} healthy")

    def pods(self) -> dict[str, str]:
        """Return the uid of every pod by name."""
        found = self._kube.get("-n", self._namespace, "pods")["items"]
        return {i["metadata"]["name"]: i["metadata"]["uid"] for i in found}

    def workloads(self) -> dict[str, tuple[str, int, int]]:
        """Return uid, generation and template revision of every workload by name."""
        found = self._kube.get("-n", self._namespace, "deployments,statefulsets")["items"]
        noted = names.ANNOTATION_TEMPLATE_REVISION
        return {
            m["name"]: (m["uid"], m["generation"], int(m["annotations"][noted]))
            for m in (i["metadata"] for i in found)
        }

    def _told(self, name: str, kind: str) -> tuple[str, str, str]:
        return tuple(self._kube.condition(self._namespace, name, kind))
