"""Every valid change of one field on a real API server: there, back, and there again, each as if made so (O5, O6).

QTS_TEST_TRANSITIONS is how many are played, drawn by a seed; "all" plays all that the server takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest
from tests.cluster.paths import SHOWN, SIDE, Players, Tree, players, towards
from tests.cluster.trial import refusals_of
from tests.control_plane_campaign.oracles import Evidence
from tests.control_plane_campaign.workloads import SMALL
from tests.transitions import Transition, transitions

from qts_core.crd import spec_schema
from qts_operator.session import from_kubeconfig

COUNT = os.environ.get("QTS_TEST_TRANSITIONS", "12")
SEED = 1
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]
BASE: Tree = {"suspend": True, "redis": {"resources": SMALL}}
#: what has tests of its own: a resource may not change it there and back (`test_invalid_resources.py`), or pods start or
#: nothing is applied (the campaign's cycles of suspend and pause)
ELSEWHERE = (
    "redis.mode",
    "redis.storage",
    "redis.credentialsGeneration",
    "messaging.credentialsGeneration",
    "suspend",
    "paused",
)


async def taken(player: Players, every: list[Transition]) -> list[Transition]:
    """Return the transitions of which the server takes both ends."""
    told = await refusals_of(player.judge, [spec for each in every for spec in (each.before, each.after)])
    return [each for each, one, other in zip(every, told[::2], told[1::2], strict=True) if not one + other]


async def made(player: Players, specs: list[Tree]) -> list[Evidence]:
    """Return how systems end that are made as these specs, and leave none of them."""
    found: list[Evidence] = []
    for asked in player.turns(specs):
        found += (await player.play(asked)).values()
        await player.play(dict.fromkeys(asked))
    return found


async def there_and_back(player: Players, every: list[Transition], before: dict[str, Evidence]) -> None:
    """Play transitions side by side; `before` are the ends of their first specs."""
    for each in player.turns(every):
        fresh = await player.play({ns: one.after for ns, one in each.items()})
        back = await player.play({ns: towards(one.after, one.before) for ns, one in each.items()})
        there = await player.play({ns: towards(one.before, one.after) for ns, one in each.items()})
        for ns, one in each.items():
            player.like(back[ns], before[_key(one.before)], f"O6 back from {one.path}: {one.after}")
            player.like(there[ns], fresh[ns], f"O6 to {one.path}: {one.after}")
        await player.play(dict.fromkeys(each))


def _key(spec: Any) -> str:
    return msgspec.json.encode(spec, order="deterministic").decode()


@pytest.mark.usefixtures("kube", "played_nodes")
async def test_every_valid_change_of_one_field_there_and_back(
    namespace: str, report: Callable[[str, float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [t for t in transitions(spec_schema(), BASE) if not f"{t.path}.".startswith(ELSEWHERE)]
    count = SIDE if COUNT == "all" else min(SIDE, int(COUNT))
    async with players(from_kubeconfig(os.environ["KUBECONFIG"]), namespace, count, monkeypatch) as player:
        valid = await taken(player, every)
        chosen = valid if COUNT == "all" else Random(SEED).sample(valid, int(COUNT))
        firsts = {_key(each.before): each.before for each in chosen}
        ends = await made(player, list(firsts.values()))
        await there_and_back(player, chosen, dict(zip(firsts, ends, strict=True)))
    report("changes of one field that the server takes", len(valid))
    report("of these played there and back", len(chosen))
    report("fields of the changes played", len({each.path for each in chosen}))
    assert len(valid) > len(every) // 2
    assert not player.wrong, f"{len(player.wrong)} wrong:\n" + "\n".join(player.wrong[:SHOWN])
