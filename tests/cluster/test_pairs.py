"""Path independence on a real API server: a system that came from A to B is as one that was B from the start.

QTS_TEST_PAIRS is how many pairs of valid specs are drawn by QTS_TEST_PAIRS_SEED. Systems are suspended, so they have
every object but the agents' pods. Each is made as a spec of its own, which is what a system that was never anything
else looks like, and goes from there to the spec of another one, and on. At each something bad comes between, and
nothing may be left of it (O5 to O7).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from random import Random

import pytest
from tests.cluster.paths import SHOWN, SIDE, Players, Tree, end_of, players, towards
from tests.control_plane_campaign.workloads import REFUSED, SMALL
from tests.golden.test_templates import AGENT_CHOICES, CHOICES, GPU_CHOICES

from qts_operator.session import from_kubeconfig

PAIRS = int(os.environ.get("QTS_TEST_PAIRS", "12"))
SEED = int(os.environ.get("QTS_TEST_PAIRS_SEED", "1"))
VOTERS = ("qbmia", "quasar", "amos")
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800 + PAIRS * 3)]
POLICIES: list[Tree] = [{}, {"enabled": False}, {"metricsFrom": {"team": "monitoring"}}]
#: what a resource may not change later, so pairs have it in common
REDIS: list[Tree] = [{"resources": SMALL}, *CHOICES["redis"][2:]]
BAD: Tree = {"agents": {"pads": {"affinity": REFUSED}}}


def drawn(random: Random, redis: Tree) -> Tree:
    """Return a valid spec with this Redis."""
    given: Tree = {
        key: random.choice(CHOICES[key]) for key in ("images", "config", "market", "observability")
    }
    agents = {"pads": random.choice(AGENT_CHOICES[:-1])}
    for name in VOTERS:
        chosen = random.choice(AGENT_CHOICES) | random.choice(GPU_CHOICES)
        agents[name] = chosen | random.choice([{}, {"replicas": 2}, {"replicas": 3}])
    policy = {"networkPolicy": random.choice(POLICIES)}
    return given | policy | {"agents": agents, "redis": redis, "suspend": True}


def others(random: Random, at: dict[str, Tree], specs: dict[str, Tree], count: int) -> dict[str, str]:
    """Return for `count` systems whose spec each goes to: another one with the same Redis, drawn."""
    found = {}
    for one, spec in itertools.islice(at.items(), count):
        reach = [other for other, to in specs.items() if to["redis"] == spec["redis"] and to != spec]
        found[one] = random.choice(reach)
    return found


async def walk(player: Players, random: Random, pairs: int) -> int:
    """Play the pairs, as many at once as there are systems; return of how many A and B end unlike."""
    specs = {ns: drawn(random, REDIS[n % len(REDIS)]) for n, ns in enumerate(player.spaces)}
    fresh, at, unlike = await player.play(specs), dict(specs), 0
    while pairs > 0:
        goals = others(random, at, specs, pairs)
        there = await player.play({one: towards(at[one], specs[to]) for one, to in goals.items()})
        await player.play(dict.fromkeys(goals, BAD), applied=False)
        good = {one: specs[to]["agents"]["pads"].get("affinity") for one, to in goals.items()}
        back = await player.play(
            {one: {"agents": {"pads": {"affinity": towards(REFUSED, good[one])}}} for one in goals}
        )
        for one, to in goals.items():
            first = next(ns for ns, spec in specs.items() if spec == at[one])
            unlike += end_of(fresh[first], fresh[to]) != end_of(fresh[to], fresh[to])
            path = f"{at[one]} to {specs[to]}"
            player.like(there[one], fresh[to], f"O6 A, B: {path}")
            player.like(back[one], fresh[to], f"O7 B, bad, B: {path}")
            at[one] = specs[to]
        pairs -= len(goals)
    return unlike


@pytest.mark.usefixtures("kube", "played_nodes")
async def test_what_came_from_a_to_b_is_b(
    namespace: str, report: Callable[[str, float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    count = min(SIDE, max(PAIRS, 2 * len(REDIS)))
    access = from_kubeconfig(os.environ["KUBECONFIG"])
    async with players(access, namespace, count, monkeypatch) as player:
        unlike = await walk(player, Random(SEED), PAIRS)
    report("pairs of valid specs, drawn", PAIRS)
    report("of these with unlike ends", unlike)
    assert not player.wrong, f"{len(player.wrong)} wrong:\n" + "\n".join(player.wrong[:SHOWN])
    assert unlike > PAIRS // 3, "a pair of equal ends shows nothing"
