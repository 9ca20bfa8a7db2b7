"""No fill of the paper account lies outside its bar, and none is kinder or harsher than a resting order's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qts_agents.agent import F8
from qts_agents.pads.account import Account, Bar
from qts_agents.pads.margin import Margin

NAN = float("nan")
MARGINS = (None, Margin(leverage=10.0, maintenance=0.5))


class Watched(Account):
    """An account that tells at which prices it traded, and how much."""

    def __init__(self, margin: Margin | None) -> None:
        super().__init__(1, margin)
        self.fills: list[tuple[float, float]] = []  # price, change

    def _trade(self, rows: Any, change: F8, price: F8, bar: Bar) -> None:
        self.fills += [(float(p), float(x)) for p, x in zip(price, change, strict=True) if x != 0.0]
        super()._trade(rows, change, price, bar)


def bar(opened: float, high: float, low: float, close: float) -> Bar:
    o, h, lo, c = (np.array([x]) for x in (opened, high, low, close))
    return Bar(1, o, h, lo, c, np.ones(1), np.ones(1, bool), 0.0, np.zeros(1))


def held(side: float, margin: Margin | None = None, stop: float = 0.01) -> Watched:
    """Return an account that bought or sold short at 100, with a stop 1 % away and targets at 1, 2 and 3 %."""
    account = Watched(margin)
    account.on_bar(bar(100, 100, 100, 100))
    account.order(np.array([side * 0.1]), np.ones(1, bool), np.array([stop]), np.array([[0.01, 0.02, 0.03]]))
    account.on_bar(bar(100, 100, 100, 100))
    account.fills.clear()
    return account


@given(
    side=st.sampled_from((1.0, -1.0)),
    margin=st.sampled_from(MARGINS),
    closes=st.booleans(),
    moves=st.lists(st.lists(st.floats(0.7, 1.4), min_size=4, max_size=4), min_size=1, max_size=4),
)
def test_no_fill_lies_outside_its_bar(
    side: float, margin: Margin | None, closes: bool, moves: list[list[float]]
) -> None:
    """Whatever the bars are, a stop, a target and a liquidation pay a price that the bar has seen."""
    account, last = held(side, margin), 100.0
    for four in moves:
        prices = [last * x for x in four]
        last = prices[3]
        seen = bar(NAN, last, last, last) if closes else bar(prices[0], max(prices), min(prices), last)
        account.on_bar(seen)
        for price, _ in account.fills:
            assert seen.low[0] <= price <= seen.high[0]
        account.fills.clear()


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_stop_that_the_bar_begins_beyond_is_filled_at_the_open(side: float) -> None:
    """Stop at 99, bar from 79 to 82: 79 is paid, as no one bought at 99; a short mirrors it."""
    account = held(side)
    opened = 100.0 - 21.0 * side
    account.on_bar(bar(opened, opened + 3.0, opened - 3.0, opened))
    assert account.fills == [(opened, pytest.approx(-side * 0.001))]


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_target_that_the_bar_begins_beyond_is_filled_at_the_open(side: float) -> None:
    """A resting limit order gets the better price; rungs further off are filled at theirs."""
    account = held(side)
    prices = [100.0 + side * x for x in (1.5, 2.5, 1.2, 2.0)]
    account.on_bar(bar(prices[0], max(prices), min(prices), prices[3]))
    assert [p for p, _ in account.fills] == pytest.approx([100.0 + 1.5 * side, 100.0 + 2.0 * side])


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("close", [80.0, 120.0])
def test_in_a_set_of_closes_all_is_filled_at_the_close(side: float, close: float) -> None:
    """A bar without an open says of its prices only the close."""
    account = held(side)
    account.on_bar(bar(NAN, close, close, close))
    assert {p for p, _ in account.fills} == {close}
    assert account.qty[0] == 0.0


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_liquidation_that_the_bar_begins_beyond_is_filled_at_the_open(side: float) -> None:
    """The price at which a margined position would have been closed was jumped over."""
    account = held(side, MARGINS[1], stop=0.5)
    opened = 100.0 - 21.0 * side
    account.on_bar(bar(opened, opened, opened, opened))
    assert account.fills == [(opened, pytest.approx(-side * 0.001))]


@pytest.mark.parametrize("opened", [0.0, -1.0, float("inf")])
def test_an_open_that_is_no_price_is_none(opened: float) -> None:
    """An order waits for the close then; the equity stays a number."""
    account = Watched(None)
    account.on_bar(bar(100, 100, 100, 100))
    account.order(np.array([0.1]), np.ones(1, bool), np.array([0.01]), np.array([[0.01, 0.02, 0.03]]))
    account.on_bar(bar(opened, 101, 100, 101))
    assert [p for p, _ in account.fills] == [101.0]
    assert account.equity == 1.0


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize(("margin", "stop"), [(None, 0.01), (MARGINS[1], 0.5)])
def test_what_is_to_be_added_saves_no_position_from_a_gap(
    side: float, margin: Margin | None, stop: float
) -> None:
    """Stop or liquidation is broken at the open: all is closed there, nothing is added, no limit moves."""
    account = held(side, margin, stop)
    account.order(np.array([side * 0.1]), np.ones(1, bool), np.array([stop]), np.array([[0.5, 0.6, 0.7]]))
    opened = 100.0 - 21.0 * side
    account.on_bar(bar(opened, opened + 1.0, opened - 1.0, opened))
    account.on_bar(bar(opened, opened, opened, opened))
    assert account.fills == [(opened, pytest.approx(-side * 0.001))]


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_what_is_to_be_added_opens_no_other_position_in_a_set_of_closes(side: float) -> None:
    """The close breaks the stop: an INCREASE that would be filled at the same close is not."""
    account = held(side)
    account.order(np.array([side * 0.1]), np.ones(1, bool), np.array([0.01]), np.array([[0.5, 0.6, 0.7]]))
    close = 100.0 - 21.0 * side
    account.on_bar(bar(NAN, close, close, close))
    assert account.fills == [(close, pytest.approx(-side * 0.001))]
