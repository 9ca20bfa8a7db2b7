"""The paper account: fills, costs, stops, targets, equity."""

import numpy as np
import pytest

from qts_agents.columns import array
from qts_agents.pads.account import Account, Bar
from qts_agents.pads.margin import Margin, margin_of
from qts_core.sections import PadsSettings

NAN = float("nan")


def bar(opened, high, low, close, valid=True, fee=0.0, half=0.0, at=1):
    cells = (np.array([float(x)]) for x in (opened, high, low, close))
    o, h, lo, c = cells
    return Bar(at, o, h, lo, c, np.ones(1), np.array([valid]), fee, np.array([half]))


def ordered(change, entry=True, stop=0.5, targets=(0.6, 0.7, 0.8), first=100.0, margin=None):
    account = Account(1, margin)
    account.on_bar(bar(first, first, first, first))
    account.order(np.array([change]), np.array([entry]), np.array([stop]), np.array([targets]))
    return account


def test_an_order_is_filled_whole_at_the_next_open():
    """10 % of equity at open 102 less fee and half the spread, valued at the close."""
    account = ordered(0.1)
    account.on_bar(bar(102, 105, 101, 104, fee=0.001, half=0.002))
    qty = 0.1 / 102
    assert account.qty[0] == pytest.approx(qty)
    assert account.equity == pytest.approx(1 - 0.1 * 0.003 + qty * 2)
    assert account.entry[0] == 102.0
    assert account.peak == max(1.0, account.equity)


def test_a_set_without_opens_fills_at_the_next_close():
    """The bar's range does not touch a position that begins at its close."""
    account = ordered(0.1, stop=0.01)
    account.on_bar(bar(NAN, 120, 80, 104))
    assert account.qty[0] == pytest.approx(0.1 / 104)


def test_an_invalid_bar_fills_nothing_and_the_order_waits():
    """The order is filled at the next valid open, equity keeps the last price."""
    account = ordered(0.1)
    account.on_bar(bar(NAN, NAN, NAN, NAN, valid=False))
    assert (account.qty[0], account.equity) == (0.0, 1.0)
    account.on_bar(bar(103, 103, 103, 103))
    assert account.qty[0] == pytest.approx(0.1 / 103)


def test_an_exit_leaves_nothing_whatever_the_open():
    """The position is closed in base units although its exposure moved over night."""
    account = ordered(-0.1)
    account.on_bar(bar(100, 101, 99, 100))
    account.order(-account.exposure(), np.array([False]), np.array([0.5]), np.ones((1, 3)))
    account.on_bar(bar(110, 110, 110, 110))
    assert account.qty[0] == 0.0
    assert np.isnan(account.stop[0])
    assert account.equity == pytest.approx(0.99)


def test_a_stop_goes_before_a_target_in_one_bar():
    """A bar that touches both closes at the stop; longs and shorts mirror each other."""
    for side, price in ((1.0, 98.0), (-1.0, 102.0)):
        account = ordered(side * 0.1, stop=0.02, targets=(0.01, 0.02, 0.03))
        account.on_bar(bar(100, 104, 96, 100))
        assert account.qty[0] == 0.0
        assert account.equity == pytest.approx(1 + side * 0.1 * (price / 100 - 1))


def test_targets_close_half_then_thirty_then_the_rest():
    """The ladder closes 50, 30 and 20 % at its prices, each once."""
    account = ordered(0.1, targets=(0.01, 0.02, 0.03))
    account.on_bar(bar(100, 101.5, 99.5, 100))
    assert account.qty[0] == pytest.approx(0.0005)
    account.on_bar(bar(100, 102.5, 99.5, 100))
    assert account.qty[0] == pytest.approx(0.0002)
    account.on_bar(bar(100, 103.5, 99.5, 100))
    assert account.qty[0] == 0.0
    assert account.equity == pytest.approx(1 + 0.1 * (0.5 * 0.01 + 0.3 * 0.02 + 0.2 * 0.03))


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_targets_close_their_shares_of_what_a_reduction_left(side):
    """Half of a position is taken off: the first target closes half of the rest, not all of it."""
    account = ordered(side * 0.1, targets=(0.01, 0.02, 0.03))
    account.on_bar(bar(100, 100, 100, 100))
    account.order(-0.5 * account.exposure(), np.array([False]), np.array([0.5]), np.ones((1, 3)))
    left = []
    for far in (0.0, 1.5, 2.5, 3.5):
        price = 100.0 + side * far
        account.on_bar(bar(100, max(100.0, price), min(100.0, price), 100))
        left.append(side * account.qty[0])
    assert left == pytest.approx([0.0005, 0.00025, 0.0001, 0.0])


def test_the_price_of_an_invalid_bar_is_not_believed():
    """It neither fills, stops nor values; a valid bar without a close keeps the last price."""
    account = ordered(0.1, stop=0.02)
    account.on_bar(bar(100, 100, 100, 100))
    account.on_bar(bar(50, 50, 50, 50, valid=False))
    assert (account.price[0], account.equity) == (100.0, 1.0)
    account.on_bar(bar(101, 101, 101, NAN))
    assert (account.price[0], account.equity) == (100.0, 1.0)


def test_an_unknown_change_orders_nothing():
    for change in (NAN, float("inf")):
        account = ordered(change)
        account.on_bar(bar(100, 100, 100, 100))
        assert (account.qty[0], account.cash) == (0.0, 1.0)


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize(("asked", "left"), [(-0.025, 0.00075), (-0.3, 0.0), (0.05, 0.001)])
def test_a_reduction_neither_turns_nor_grows_a_position(side, asked, left):
    """Of 0.1 in units of 100: a quarter goes; three times the whole leaves nothing; more is no reduction."""
    account = ordered(side * 0.1)
    account.on_bar(bar(100, 100, 100, 100))
    account.order(np.array([side * asked]), np.array([False]), np.array([0.5]), np.ones((1, 3)))
    account.on_bar(bar(100, 100, 100, 100, fee=0.01))
    assert account.qty[0] == pytest.approx(side * left, abs=1e-12)
    assert account.equity == pytest.approx(1.0 - 0.01 * (0.1 - 100.0 * left))  # and no more was traded


def test_the_stop_of_one_symbol_needs_no_other_that_is_held():
    """Two symbols, only the first is held and nothing is ordered: a bar below its stop closes it there."""
    account, ones = Account(2), np.ones(2)
    for price in (100.0, 100.0, 90.0):
        opened, cells = np.full(2, max(price, 95.0)), np.full(2, price)
        account.on_bar(Bar(1, opened, opened, cells, cells, ones, ones > 0, 0.0, 0.0 * ones))
        if not account.qty.any() and price == 100.0:
            account.order(np.array([0.1, 0.0]), np.array([True, False]), 0.02 * ones, np.full((2, 3), 0.5))
    assert account.qty.tolist() == [0.0, 0.0]
    assert account.equity == pytest.approx(1 + 0.1 * (95 / 100 - 1))  # the bar began beyond the stop of 98


def test_a_price_below_one_is_a_price():
    """0.5 opens, 0.8 closes: filled at the open; an open of 0 is none."""
    account = ordered(0.1, first=0.5, stop=0.9)
    account.on_bar(bar(0.5, 0.6, 0.5, 0.6))
    assert account.entry[0] == 0.5
    account = ordered(0.1, first=0.5, stop=0.9)
    account.on_bar(bar(0.0, 0.6, 0.5, 0.6))
    assert account.entry[0] == 0.6


def test_the_entry_of_a_position_is_the_mean_of_what_was_paid():
    """0.001 units at 100 and 0.00085 at 120, a tenth of the equity each time; turned, it is the last price."""
    account = ordered(0.1)
    account.on_bar(bar(100, 110, 100, 110))
    account.order(np.array([0.1]), np.array([True]), np.array([0.5]), np.full((1, 3), 0.9))
    account.on_bar(bar(120, 120, 120, 120))
    assert account.qty[0] == pytest.approx(0.00185)
    assert account.entry[0] == pytest.approx((0.001 * 100 + 0.00085 * 120) / 0.00185)
    account.order(np.array([-0.5]), np.array([True]), np.array([0.5]), np.full((1, 3), 0.9))
    account.on_bar(bar(125, 125, 125, 125))
    assert account.qty[0] < 0.0
    assert account.entry[0] == pytest.approx(125.0)


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize(
    ("asked", "opened", "left"),
    [
        (0.025, 100.0, 0.00075),
        (0.025, 110.0, 0.00075),  # a quarter of what is held, whatever the open
        (0.1, 110.0, 0.0),
        (0.105, 110.0, 0.00005),  # more than was held at the decision, less than at the open
    ],
)
def test_a_hedge_that_shrinks_keeps_its_prices(side, asked, opened, left):
    """Of 0.001 at 100 a planned change takes some back: entry, stop and targets are as before."""
    account = ordered(-side * 0.1, stop=0.5, targets=(0.6, 0.7, 0.8))
    account.on_bar(bar(100, 100, 100, 100))
    before = account.entry[0], account.stop[0], account.targets[0].tolist()
    account.order(side * np.array([asked]), np.array([True]), np.array([0.1]), np.full((1, 3), 0.01))
    account.on_bar(bar(opened, opened, opened, opened))
    assert -side * account.qty[0] == pytest.approx(left, abs=2e-5 if asked > 0.1 else 1e-12)
    if left:
        assert (account.entry[0], account.stop[0], account.targets[0].tolist()) == before


def test_exposure_is_the_worth_of_a_position_as_a_share_of_the_equity():
    account = ordered(-0.1)
    account.on_bar(bar(100, 120, 100, 120))
    assert account.exposure()[0] == pytest.approx(-0.12 / 0.98)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_touch_is_enough_and_a_closed_position_says_nothing(side):
    """A bar that reaches the last target and no further takes it; what travels then is as before the first."""
    account = ordered(side * 0.125, targets=(0.125, 0.25, 0.5))
    aim = 100.0 * (1.0 + side * 0.5)
    account.on_bar(bar(100, max(100, aim), min(100, aim), 100))
    assert (account.qty[0], account.equity) == (0.0, 1.0 + 0.125 * (0.5 * 0.125 + 0.3 * 0.25 + 0.2 * 0.5))
    sent = account.position()
    assert (array(sent.unrealised)[0], array(sent.opened_ns)[0]) == (0.0, 0)
    assert np.isnan([array(sent.entry_px)[0], array(sent.stop_px)[0]]).all()


def test_drawdown_and_the_position_that_travels():
    """DD is measured from the highest equity; unrealised is a fraction of equity."""
    account = ordered(0.5)
    account.on_bar(bar(100, 100, 100, 100))
    account.on_bar(bar(120, 120, 120, 120))
    account.on_bar(bar(90, 90, 90, 90))
    assert account.peak == pytest.approx(1.1)
    assert account.drawdown == pytest.approx(1 - 0.95 / 1.1)
    sent = account.position()
    assert array(sent.unrealised)[0] == pytest.approx(-0.05 / 0.95)
    assert np.isnan(array(sent.liquidation_risk)[0])
    assert array(sent.opened_ns)[0] == 1


def test_many_symbols_are_filled_and_paid_for_one_after_another():
    """Every symbol gets what it gets alone, and cash is rounded after each of them."""
    S, draws = 300, np.random.default_rng(3)
    opened, ones = 100.0 * np.exp(draws.normal(size=S)), np.ones(S)
    change = np.where(draws.random(S) < 0.5, 0.01 * draws.normal(size=S), 0.0)
    half, bars = 1e-4 * draws.random(S), [opened, opened * np.exp(0.01 * draws.normal(size=S))]
    account = Account(S)
    for price in bars:
        account.on_bar(Bar(1, price, price, price, price, ones, ones > 0, 0.001, half))
        account.order(change, change != 0.0, 0.5 * ones, np.full((S, 3), 0.6))
    price, cash = bars[1] * 1.001, account.cash
    equity = cash + float((account.qty * price).sum())
    qty = account.qty.copy()
    account.on_bar(Bar(2, price, price, price, price, ones, ones > 0, 0.001, half))
    for s in np.flatnonzero(change):
        more = float(change[s]) * equity / float(price[s])
        cash -= more * float(price[s]) + abs(more) * float(price[s]) * (0.001 + float(half[s]))
        qty[s] += more
    assert account.cash == cash
    assert (account.qty == qty).all()
    assert (account.stop[change > 0.0] == 0.5 * price[change > 0.0]).all()
    assert np.isnan(account.stop[change == 0.0]).all()


TENFOLD = Margin(leverage=10.0, maintenance=0.5)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_margined_position_is_closed_where_half_of_what_was_put_up_is_left(side):
    """10 up for 100 bought: at that price, what is left of the 10 is half of a tenth of the position's worth."""
    account = ordered(side * 0.1, margin=TENFOLD)
    account.on_bar(bar(100, 100, 100, 100))
    forced = TENFOLD.liquidation(account.entry, np.sign(account.qty))[0]
    assert 10.0 + side * (forced - 100.0) == pytest.approx(0.5 * forced / 10.0)
    near = forced + side * 0.01
    account.on_bar(bar(100, max(100, near), min(100, near), 100))
    assert account.qty[0] != 0.0
    account.on_bar(bar(100, max(100, forced), min(100, forced), 100))
    assert account.qty[0] == 0.0
    assert account.equity == pytest.approx(1 + side * 0.1 * (forced / 100 - 1))


def test_liquidation_risk_is_the_share_of_the_way():
    """0 at the entry and where nothing is held, ½ half way, 1 at the liquidation; a gain is no risk."""
    account = ordered(0.1, margin=TENFOLD)
    assert account.liquidation_risk()[0] == 0.0
    account.on_bar(bar(100, 100, 100, 100))
    forced = TENFOLD.liquidation(account.entry, np.ones(1))[0]
    for price, risk in (
        (100.0, 0.0),
        (50.0 + forced / 2.0, 0.5),
        (forced + 1e-9, 1.0),
        (90.0, 1.0),
        (130.0, 0.0),
    ):
        account.price = np.array([price])
        assert account.liquidation_risk()[0] == pytest.approx(risk)
        assert array(account.position().liquidation_risk)[0] == account.liquidation_risk()[0]


def test_a_stop_that_is_nearer_goes_first():
    """Liquidation at about −5 % is not reached by a position with a stop at −2 %."""
    account = ordered(0.1, stop=0.02, margin=TENFOLD)
    account.on_bar(bar(100, 100, 90, 100))
    assert account.equity == pytest.approx(1 + 0.1 * (98.0 / 100 - 1))


def test_a_reduction_leaves_the_price_of_liquidation():
    """Half of the position goes, and half of what was put up for it; the other half is as near as before."""
    account = ordered(0.1, margin=TENFOLD)
    account.on_bar(bar(100, 100, 97, 97))
    before = account.liquidation_risk()[0]
    account.order(-0.5 * account.exposure(), np.array([False]), np.array([0.5]), np.ones((1, 3)))
    account.on_bar(bar(97, 97, 97, 97))
    assert account.qty[0] == pytest.approx(0.0005)
    assert account.liquidation_risk()[0] == before > 0.5


def test_without_a_leverage_nothing_is_margined():
    assert margin_of(PadsSettings()) is None
    assert margin_of(PadsSettings(margin_leverage=3.0)) == Margin(3.0, 0.5)
