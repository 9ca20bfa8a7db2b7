"""What the campaign plays again, what it counts, and when no clean run is needed any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from .campaign import CLEAN, TRIES, Campaign, Options
from .oracles import Evidence
from .workloads import Plan

WRITES = ("PATCH quantumtradingsystems/desk/status",) * 2
SIDE = 4


class Stage:
    """Plays nothing: `dies` says whether the nth time that a plan is played ends in its death."""

    def __init__(self, dies: Callable[[Plan, int], bool]) -> None:
        self.namespaces = [f"n{number}" for number in range(SIDE)]
        self._dies = dies
        self.played: Counter[Plan] = Counter()

    async def play(self, plans: dict[str, Plan], *, again: bool = False) -> dict[str, Evidence]:
        seen = {}
        for namespace, plan in plans.items():
            self.played[plan] += 1
            died = int(bool(plan.crashes) and self._dies(plan, self.played[plan]))
            seen[namespace] = Evidence(plan=plan, writes=WRITES, died=died, rested=True)
        return seen


async def _campaign(dies: Callable[[Plan, int], bool], *workloads: str) -> tuple[Campaign, Stage]:
    stage = Stage(dies)
    player = Campaign(stage, Options(workloads=workloads, side=SIDE))  # type: ignore[arg-type]
    await player.run()
    return player, stage


@pytest.mark.parametrize(("first", "died", "missed"), [(1, 6, 0), (TRIES, 6, 0), (TRIES + 1, 5, 1)])
async def test_a_plan_that_passes_without_its_death_is_played_again(
    first: int, died: int, missed: int
) -> None:
    """And counted once; after the last try it is told as missed."""

    def dies(plan: Plan, nth: int) -> bool:
        return nth >= first or (plan.crashes[0].write, plan.crashes[0].point) != (2, "answered")

    player, stage = await _campaign(dies, "gpu")
    report = player.reports["gpu"]
    assert (report.plans, report.died, report.missed, report.left) == (6, died, missed, 0)
    assert max(n for plan, n in stage.played.items() if plan.crashes) == min(first, TRIES)


async def test_what_a_way_has_walked_needs_no_clean_run() -> None:
    """All systems have just done it, and what they have in common is the reference."""
    _, stage = await _campaign(lambda *_: True, "create-suspended", "gpu")
    created, there = stage.played[Plan(workload="create-suspended")], stage.played[Plan(workload="gpu")]
    assert created == SIDE
    assert there == CLEAN
