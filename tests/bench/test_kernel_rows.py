"""The kernel benchmarks run, and their results agree with the peers'."""

from __future__ import annotations

import pytest
from bench.harness import Row
from bench.kernels import ROWS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_a_row_agrees_with_its_peer(row) -> None:
    """In smoke mode every row measures something and agrees."""
    line = row(True).line()
    assert line["agrees"]
    assert line["value"] > 0.0


def test_goal_and_ratio_of_a_row() -> None:
    """ok needs agreement and the goal; the ratio is peer over ours."""
    assert (
        Row("x", 2.0, "s", "p", 6.0, 2.0).line() | {"ratio": 3.0, "ok": True}
        == Row("x", 2.0, "s", "p", 6.0, 2.0).line()
    )
    assert Row("x", 2.1, "s", goal=2.0).line()["ok"] is False
    assert Row("x", 2.1, "s", goal=2.0, lower_is_better=False).line()["ok"] is True
    assert Row("x", 1.0, "s", "p", 1.0, 2.0, agrees=False).line()["ok"] is False
