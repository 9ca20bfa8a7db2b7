"""The ratio of two quantiles: its interval holds 1 where both are the same, and the truth where they are not."""

from __future__ import annotations

from random import Random

from bench.harness import Rounds
from bench.operator_waits import KINDS, SHARE_GOAL, beside
from bench.ratios import interval


def _turns(seed: int, times: float = 1.0) -> Rounds:
    random = Random(seed)
    return [[int(times * random.lognormvariate(17, 0.3)) for _ in range(100)] for _ in range(12)]


def test_two_runs_of_the_same_are_told_as_such() -> None:
    low, high = interval(_turns(1), _turns(2), 0.5)
    assert low < 1 < high


def test_what_takes_half_as_long_again_is_told() -> None:
    low, high = interval(_turns(1, 1.5), _turns(2), 0.5)
    assert 1 < low < 1.5 < high


def test_the_goal_is_on_the_ratio_beside_the_poison_alone() -> None:
    """The other rows say how sure it is; none of them can miss."""
    told = list(beside("changes", (_turns(1), _turns(2, 1.5), _turns(3))))
    assert {row.figure: row.line()["ok"] for row in told if row.goal is not None} == {
        f"changes {name}, {KINDS[1]} over {KINDS[0]}": False for name in ("p50", "p99")
    }
    assert all(row.goal in (None, SHARE_GOAL) for row in told)
