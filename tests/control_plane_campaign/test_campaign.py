"""What the campaign plays again, what it counts, and when no clean run is needed any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from .campaign import CLEAN, TRIES, Campaign, Options
from .oracles import Evidence
from .workloads import Crash, Plan, Write

STATUS = "PATCH quantumtradingsystems/desk/status"
LAST = Crash(Write(STATUS, 2), "answered")
SIDE = 4
LATER = 3  # writes of each run once it rests: no death is planned at them


class Stage:
    """Plays nothing: `dies` says whether the nth time that a plan is played ends in its death.

    `clean` are how often the status is written by the runs that ask for no death, in turn; the last stands for the rest.
    """

    def __init__(self, dies: Callable[[Plan, int], bool], clean: tuple[int, ...]) -> None:
        self.namespaces = [f"n{number}" for number in range(SIDE)]
        self._dies, self._clean = dies, clean
        self.played: Counter[Plan] = Counter()

    async def play(self, plans: dict[str, Plan], *, again: bool = False) -> dict[str, Evidence]:
        seen = {}
        for namespace, plan in plans.items():
            self.played[plan] += 1
            nth = self.played[plan]
            died = int(bool(plan.crashes) and self._dies(plan, nth))
            count = self._clean[-1 if plan.crashes else min(nth, len(self._clean)) - 1]
            seen[namespace] = Evidence(
                plan=plan, writes=(STATUS,) * (count + LATER), died=died, rested=True, rested_at=count
            )
        return seen


async def _campaign(
    dies: Callable[[Plan, int], bool], *workloads: str, clean: tuple[int, ...] = (2,)
) -> tuple[Campaign, Stage]:
    stage = Stage(dies, clean)
    player = Campaign(stage, Options(workloads=workloads, side=SIDE))  # type: ignore[arg-type]
    await player.run()
    return player, stage


@pytest.mark.parametrize(("first", "died", "missed"), [(1, 6, 0), (TRIES, 6, 0), (TRIES + 1, 5, 1)])
async def test_a_plan_that_passes_without_its_death_is_played_again(
    first: int, died: int, missed: int
) -> None:
    """And counted once; after the last try it is told as missed. Once it dies nobody plays it any more."""

    def dies(plan: Plan, nth: int) -> bool:
        return nth >= first or plan.crashes[0] != LAST

    player, stage = await _campaign(dies, "gpu")
    report = player.reports["gpu"]
    assert (report.plans, report.died, report.missed, report.left) == (6, died, missed, 0)
    assert first <= stage.played[Plan(workload="gpu", crashes=(LAST,))] + missed <= first + SIDE


async def test_a_write_that_only_some_runs_make_is_told_as_rare_when_nobody_died_at_it() -> None:
    """What one of three clean runs had, and what a later run without a death had and none before.

    Nor is a plan missed whose write all clean runs made, and not the one in which nobody died at it.
    """
    player, _ = await _campaign(lambda plan, _: plan.crashes[0].write.nth < 3, "gpu", clean=(3, 3, 3, 2))
    report = player.reports["gpu"]
    assert (report.writes, report.sometimes, report.died, report.missed, report.rare) == (3, 0, 6, 0, 3)
    player, _ = await _campaign(lambda plan, _: plan.crashes[0].write.nth < 3, "gpu", clean=(2, 3, 2))
    report = player.reports["gpu"]
    assert (report.writes, report.sometimes, report.plans) == (3, 1, 9)
    assert (report.died, report.missed, report.rare) == (6, 0, 3)
    player, _ = await _campaign(
        lambda plan, nth: nth > 1 or plan.crashes[0] != LAST, "gpu", clean=(2, 2, 2, 3)
    )
    report = player.reports["gpu"]
    assert (report.writes, report.died, report.missed, report.rare) == (3, 9, 0, 0)


async def test_what_a_way_has_walked_needs_no_clean_run() -> None:
    """All systems have just done it, and what they have in common is the reference."""
    _, stage = await _campaign(lambda *_: True, "create-suspended", "gpu")
    created, there = stage.played[Plan(workload="create-suspended")], stage.played[Plan(workload="gpu")]
    assert created == SIDE
    assert there == CLEAN
