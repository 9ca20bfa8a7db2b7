"""Path independence on a real API server: a system that came from A to B is as one that was B from the start.

QTS_TEST_PAIRS is how many pairs of valid specs are drawn by QTS_TEST_PAIRS_SEED. Systems are suspended, so they have
every object but the agents' pods. Then something bad comes between, and nothing may be left of it (O5 to O7).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import msgspec
import pytest
from tests.control_plane_campaign.judge import opened
from tests.control_plane_campaign.oracles import Evidence
from tests.control_plane_campaign.side_by_side import columns
from tests.control_plane_campaign.stage import Stage
from tests.control_plane_campaign.workloads import REFUSED, SMALL, WORKLOADS, Plan, Workload
from tests.golden.test_templates import AGENT_CHOICES, CHOICES, GPU_CHOICES
from tests.kwok import every_pod

from qts_operator.session import from_kubeconfig

PAIRS = int(os.environ.get("QTS_TEST_PAIRS", "2"))
SEED = int(os.environ.get("QTS_TEST_PAIRS_SEED", "1"))
SIDE = 12  # pairs at once
VOTERS = ("qbmia", "quasar", "amos")
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
Tree = dict[str, Any]
POLICIES: list[Tree] = [{}, {"enabled": False}, {"metricsFrom": {"team": "monitoring"}}]


def drawn(random: Random, redis: Tree) -> Tree:
    """Return a valid spec; what a resource may not change later is given."""
    given: Tree = {
        key: random.choice(CHOICES[key]) for key in ("images", "config", "market", "observability")
    }
    agents = {"pads": random.choice(AGENT_CHOICES[:-1])}
    for name in VOTERS:
        chosen = random.choice(AGENT_CHOICES) | random.choice(GPU_CHOICES)
        agents[name] = chosen | random.choice([{}, {"replicas": 2}, {"replicas": 3}])
    policy = {"networkPolicy": random.choice(POLICIES)}
    return given | policy | {"agents": agents, "redis": redis, "suspend": True}


def towards(before: Any, after: Any) -> Any:
    """Return the merge patch that makes `after` of `before`."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return after
    gone = dict.fromkeys(before.keys() - after.keys())
    changed = {
        k: towards(before.get(k), v) for k, v in after.items() if before.get(k) != v or k not in before
    }
    return gone | changed


def end_of(seen: Evidence, other: Evidence) -> str:
    """Return the end of a system, without Secrets that the other lacks: they are never deleted."""
    mine, theirs = (msgspec.json.decode(each.end) for each in (seen, other))
    kept = {k: v for k, v in mine.items() if not k.startswith("Secret/") or k in theirs}
    return msgspec.json.format(msgspec.json.encode(kept, order="deterministic"), indent=1).decode()


class Players:
    """Two systems for each pair: one goes from A to B, the other is made as B."""

    def __init__(self, stage: Stage, patch: pytest.MonkeyPatch, spaces: list[tuple[str, str]]) -> None:
        self._stage, self._patch, self._spaces = stage, patch, spaces
        self.unlike = 0  # pairs whose A ends otherwise than their B

    async def play(self, asked: Mapping[str, Tree | None], *, applied: bool = True) -> dict[str, Evidence]:
        """Ask for one spec, or one patch, in each namespace; return what was seen at rest."""
        for namespace, each in asked.items():
            self._patch.setitem(WORKLOADS, namespace, Workload(spec=each, applied=applied))
        return await self._stage.play({namespace: Plan(workload=namespace) for namespace in asked})

    async def pairs(self, pairs: list[tuple[Tree, Tree]]) -> list[str]:
        """Play the pairs side by side; return what was wrong."""
        both = list(zip(self._spaces, pairs, strict=False))
        first = await self.play(
            {ns: spec for (one, two), (a, b) in both for ns, spec in ((one, a), (two, b))}
        )
        there = await self.play({one: towards(a, b) for (one, _), (a, b) in both})
        bad = {"agents": {"pads": {"affinity": REFUSED}}}
        await self.play(dict.fromkeys([one for (one, _), _ in both], bad), applied=False)
        good = {one: b["agents"]["pads"].get("affinity") for (one, _), (_, b) in both}
        back = await self.play(
            {one: {"agents": {"pads": {"affinity": towards(REFUSED, good[one])}}} for one in good}
        )
        wrong = []
        for (one, two), (a, b) in both:
            self.unlike += end_of(first[one], first[two]) != end_of(first[two], first[two])
            for what, seen in (("O6 A, B", there[one]), ("O7 B, bad, B", back[one])):
                mine, fresh = end_of(seen, first[two]), end_of(first[two], first[two])
                wrong += [f"{what}: {a} to {b}\n{columns(fresh, mine)}"] if mine != fresh else []
            for seen in (first[one], first[two], there[one], back[one]):
                wrong += [f"O5 {text}: {a} to {b}" for text in (*seen.by_second_pass, *seen.after_rest)]
                wrong += [f"O9 {text}: {a} to {b}" for text in seen.faults]
                wrong += [] if seen.rested else [f"no rest: {a} to {b}"]
        return wrong

    async def clear(self) -> None:
        """Delete every system."""
        await self.play(dict.fromkeys([each for pair in self._spaces for each in pair]))


@pytest.mark.usefixtures("kube", "played_nodes")
async def test_what_came_from_a_to_b_is_b(
    namespace: str, report: Callable[[str, float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    random, pairs = Random(SEED), []
    for _ in range(PAIRS):
        redis = random.choice([{"resources": SMALL}, *CHOICES["redis"][2:]])
        pairs.append((drawn(random, redis), drawn(random, redis)))
    access, wrong = from_kubeconfig(os.environ["KUBECONFIG"]), []
    async with opened(access) as judge, every_pod(judge.api):
        spaces = [(f"{namespace}-a{n}", f"{namespace}-b{n}") for n in range(min(SIDE, PAIRS))]
        every = [each for pair in spaces for each in pair]
        stage = Stage(access, judge, every, namespace)
        try:
            await judge.prepare(every)
            await stage.open()
            players = Players(stage, monkeypatch, spaces)
            for start in range(0, PAIRS, SIDE):
                if start:
                    await players.clear()
                wrong += await players.pairs(pairs[start : start + SIDE])
        finally:
            await stage.close()
            await judge.leave(every)
    report("pairs of valid specs, drawn", PAIRS)
    assert wrong == []
    assert players.unlike > PAIRS // 3, "a pair of equal ends shows nothing"
