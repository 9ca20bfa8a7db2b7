"""From an earlier commit's operator, chart and definition to ours and back: no pod is replaced, no workload changes.

No release exists yet, so commits of this repository that render older template revisions stand for it. A clone
without history leaves these tests out.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.control_plane_campaign.judge import opened
from tests.kwok import every_pod

from qts_core import names
from qts_core.crd import ANNOTATION_SCHEMA
from qts_operator.objects.revisions import LATEST_REVISION
from qts_operator.packaging import NAME
from qts_operator.session import from_kubeconfig

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
PARTS = ("core/src", "messaging/src", "operator/src", f"charts/{NAME}")
#: the last commit that renders each of these revisions as its newest
COMMITS = {
    2: "28cf88f17068f5b172d92ebe432113b1739864f0",
    3: "dd40b2458f6fc905b6bc285dc7072ba48f712e0c",
}
CALM, EAGER = ("plain", "gpu"), "eager"
#: two that stay as they were made, and one whose user asks for the newest templates at once
SYSTEMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gpu": {"agents": {"quasar": {"gpu": {"mode": "Preferred"}}, "amos": {"replicas": 2}}},
    EAGER: {"upgradePolicy": "Immediate"},
}


@pytest.fixture(params=COMMITS, ids=lambda revision: f"revision {revision}")
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[int, Path]:
    """An earlier commit's revision, and a folder with its operator and chart; skipped where history is missing."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", COMMITS[request.param], *PARTS]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("no git on PATH, so no earlier commit")
    if done.returncode:
        pytest.skip(f"this clone has no commit {COMMITS[request.param][:7]}; git fetch --unshallow brings it")
    folder = tmp_path / "earlier"
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=done.stdout, check=True, timeout=60)
    return request.param, folder


def _install(kube: Any, tree: Path) -> None:
    """Bring the release and the definition to a tree's chart, and wait until the server serves that definition."""
    chart = tree / "charts" / NAME
    kube.install(chart)
    wanted = json.loads((chart / "files" / "crd.json").read_text())
    served = kube.get("crd", names.CRD_NAME)
    key = ANNOTATION_SCHEMA
    assert served["metadata"]["annotations"][key] == wanted["metadata"]["annotations"][key]


class Story:
    """What happens to the systems of one namespace under one operator after the other."""

    def __init__(self, kube: Any, namespace: str, until: Callable[..., Any]) -> None:
        self._kube, self._namespace, self._until = kube, namespace, until

    def ready(self) -> None:
        """Wait until every pod of every system is ready."""
        for name in SYSTEMS:
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


def _of(seen: dict[str, Any], *systems: str) -> dict[str, Any]:
    """Return what belongs to some of the systems."""
    return {name: value for name, value in seen.items() if name.partition("-")[0] in systems}


@pytest.mark.usefixtures("played_nodes")
async def test_an_upgrade_from_an_earlier_commit_and_back_restarts_nothing(
    kube: Any,
    namespace: str,
    operator: Callable[..., Any],
    until: Callable[..., Any],
    earlier: tuple[int, Path],
    report: Callable[[str, float], None],
) -> None:
    """Systems are made by the earlier operator; only the one that asks for it moves to our templates."""
    revision, tree = earlier
    story = Story(kube, namespace, until)

    def there_and_back() -> None:
        _install(kube, tree)
        first = operator(source=tree)
        for name, spec in SYSTEMS.items():
            kube.system(namespace, name, spec)
        story.ready()
        pods, workloads = story.pods(), story.workloads()
        assert {noted for *_, noted in workloads.values()} == {revision}
        first.stop()
        _install(kube, ROOT)
        ours = operator()
        story.led(ours, *SYSTEMS)
        until(lambda: _revisions(story, EAGER) == {LATEST_REVISION}, "the eager one at our revision")
        assert _of(story.workloads(), *CALM) == _of(workloads, *CALM)
        assert _of(story.pods(), *CALM) == _of(pods, *CALM)
        ours.stop()
        kube.run("-n", namespace, "delete", "qts", EAGER)  # the earlier one cannot render what it is now
        _install(kube, tree)
        again = operator(source=tree)
        story.led(again, *CALM)
        assert _of(story.workloads(), *CALM) == _of(workloads, *CALM)
        assert _of(story.pods(), *CALM) == _of(pods, *CALM)
        report(
            f"pods of revision {revision}, as they were after the way there and back", len(_of(pods, *CALM))
        )

    async with opened(from_kubeconfig(os.environ["KUBECONFIG"])) as judge, every_pod(judge.api):
        try:
            await asyncio.to_thread(there_and_back)
        finally:
            _install(kube, ROOT)


def _revisions(story: Story, system: str) -> set[int]:
    return {noted for *_, noted in _of(story.workloads(), system).values()}
