"""The figures of a steady stream: times of watches that are out of step are no times."""

from __future__ import annotations

import pytest
from bench.operator_stream import IN_STEP, _told

MS = 1_000_000


@pytest.mark.parametrize(("taken", "agrees"), [([5 * MS] * 10, True), ([-5 * MS] + [7 * MS] * 9, False)])
def test_a_write_that_is_shown_before_its_change_is_counted_and_does_not_agree(taken, agrees) -> None:
    rows = {row.figure: row for row in _told("stream", taken, 10, 4.0, (10.0, 50.0))}
    early = rows["stream, writes shown before their changes"]
    assert (early.value <= IN_STEP, early.agrees) == (agrees, agrees)
    assert all(row.agrees for row in rows.values()) is agrees
