"""From an earlier commit's operator, chart and definition to ours and back: no pod is replaced, no workload changes.

The commits are those that render older template revisions; what was released is proved by test_releases.py. A clone
without history leaves these tests out.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.earlier import ROOT, Story, bring, tree_of
from tests.control_plane_campaign.judge import opened
from tests.kwok import every_pod

from qts_operator.objects.revisions import LATEST_REVISION
from qts_operator.packaging import NAME
from qts_operator.session import from_kubeconfig

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
CHART = f"charts/{NAME}"
#: the last commit that renders each of these revisions as its newest: an old one, and the one before ours
COMMITS = {
    2: "28cf88f17068f5b172d92ebe432113b1739864f0",
    4: "a4180cbe9af14e6b378577759ad21f7fc4556ef9",
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
    return request.param, tree_of(COMMITS[request.param], tmp_path / "earlier")


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
        bring(kube, tree / CHART)
        first = operator(source=tree)
        for name, spec in SYSTEMS.items():
            kube.system(namespace, name, spec)
        story.ready(*SYSTEMS)
        pods, workloads = story.pods(), story.workloads()
        assert {noted for *_, noted in workloads.values()} == {revision}
        first.stop()
        bring(kube, ROOT / CHART)
        ours = operator()
        story.led(ours, *SYSTEMS)
        until(lambda: _revisions(story, EAGER) == {LATEST_REVISION}, "the eager one at our revision")
        assert _of(story.workloads(), *CALM) == _of(workloads, *CALM)
        assert _of(story.pods(), *CALM) == _of(pods, *CALM)
        ours.stop()
        kube.run("-n", namespace, "delete", "qts", EAGER)  # the earlier one cannot render what it is now
        bring(kube, tree / CHART)
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
            bring(kube, ROOT / CHART)


def _revisions(story: Story, system: str) -> set[int]:
    return {noted for *_, noted in _of(story.workloads(), system).values()}
