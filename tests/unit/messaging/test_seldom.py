"""What would repeat is said once a minute."""

from __future__ import annotations

from qts_messaging.seldom import BOUND, Seldom


def test_a_repeated_line_is_held_back_and_counted() -> None:
    """The first is said, those of the next minute are counted, the one after it tells how many."""
    seldom = Seldom()
    assert [seldom.due("a", t) for t in (0.0, 1.0, 59.9)] == [0, None, None]
    assert seldom.due("b", 2.0) == 0
    assert seldom.due("a", 60.0) == 2
    assert seldom.due("a", 121.0) == 0


def test_memory_is_bounded() -> None:
    """Ever new keys push the oldest ones out."""
    seldom = Seldom()
    for n in range(10 * BOUND):
        assert seldom.due(str(n), 0.0) == 0
    assert len(seldom._said) == BOUND
