"""Abstention, reliability, pending rounds, position map and the built answer."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from qts_agents import agent as bits
from qts_agents.agent import MarketWindow
from qts_agents.columns import array, column
from qts_agents.opinions import (
    BUY,
    DECREASE,
    EXIT,
    HEDGE,
    HOLD,
    INCREASE,
    MAX_PENDING,
    SELL,
    Pending,
    Reliability,
    abstentions,
    align,
    opinion,
    position_map,
)
from qts_core.spec import SYSTEM
from qts_messaging.messages import DecisionRequest
from qts_messaging.records import Position

EMPTY = column(np.zeros(0))
ACCOUNT = Position(EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, 1.0, 1.0)
REQUEST = DecisionRequest("r1", 7, 700, ("A", "B"), ACCOUNT, "growth", (1, 0, 0, 0), (0, 0, 0, 0), 1.0,
                          column([0.3, 0.3]), 30)  # fmt: skip


def held(bars: int = 512, **changes: object) -> MarketWindow:
    """Return a window of two symbols at constant price; `changes` replaces fields."""
    price, nan = np.ones((2, bars)), np.full(2, np.nan)
    window = MarketWindow(
        symbols=("A", "B"), window_seq=7, asof_ns=700, bar_s=60.0, close_ns=np.arange(bars),
        open=price, high=price, low=price, close=price.copy(), volume=price,
        valid=np.ones((2, bars), np.uint8), spread=nan, imbalance=nan, depth=nan, fee=0.0,
        spread_assumed=0.0, market_ret=np.zeros(bars),
    )  # fmt: skip
    return msgspec.structs.replace(window, **changes)


def test_a_good_row_votes() -> None:
    """Nothing wrong, no bit."""
    assert abstentions(held(), REQUEST, 1_000).tolist() == [0, 0]


def test_no_window_and_unknown_symbols_are_no_data() -> None:
    """The rows that the window does not hold abstain, the others do not."""
    assert abstentions(None, REQUEST, 0).tolist() == [bits.NO_DATA] * 2
    other = msgspec.structs.replace(REQUEST, symbols=("B", "Z"))
    assert abstentions(held(), other, 0).tolist() == [0, bits.NO_DATA]


def test_age_and_deadline() -> None:
    """An older window is stale, a newer one is not the one asked about, a late answer says so."""
    assert abstentions(held(window_seq=6), REQUEST, 0).tolist() == [bits.STALE_WINDOW] * 2
    assert abstentions(held(window_seq=8), REQUEST, 0).tolist() == [bits.NO_DATA] * 2
    due = msgspec.structs.replace(REQUEST, deadline_ns=10)
    assert abstentions(held(), due, 11).tolist() == [bits.DEADLINE] * 2
    assert abstentions(None, due, 11).tolist() == [bits.DEADLINE | bits.NO_DATA] * 2
    assert abstentions(held(), due, 10).tolist() == [0, 0]
    silent = abstentions(held(), REQUEST, 100, last_bar_ns=40, stale_after_ns=50)
    assert silent.tolist() == [bits.STALE_WINDOW] * 2


def test_a_short_window_abstains() -> None:
    """319 bars are one too few."""
    assert abstentions(held(319), REQUEST, 0).tolist() == [bits.SHORT_WINDOW] * 2
    assert abstentions(held(320), REQUEST, 0).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ([511], bits.GAP),  # the last bar
        ([500, 501, 502], 0),  # three in a row are allowed
        ([500, 501, 502, 503], bits.GAP),
        ([450, 460, 470, 480], bits.GAP),  # more than 5 % of 64
        ([440, 441, 442, 443], 0),  # older than 64 bars
        (list(range(200, 240)), bits.NAN),  # too few of the needed closes are left
        (list(range(190)), 0),  # beyond the last 320
    ],
)
def test_missing_bars(missing: list[int], expected: int) -> None:
    """Only the row with the gap abstains."""
    valid, close = np.ones((2, 512), np.uint8), np.ones((2, 512))
    valid[1, missing], close[1, missing] = 0, np.nan
    assert abstentions(held(valid=valid, close=close), REQUEST, 0).tolist() == [0, expected]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 0.0, -1.0])
def test_a_needed_number_that_is_none(wrong: float) -> None:
    """A valid bar with an impossible price abstains if it is among the last 320, else not."""
    close = np.ones((2, 512))
    close[0, 192], close[1, 191] = wrong, wrong
    assert abstentions(held(close=close), REQUEST, 0).tolist() == [bits.NAN, 0]


def test_align_follows_the_request() -> None:
    """Rows come in the order asked for; an unknown symbol has no valid bar."""
    window = held(close=np.array([[1.0] * 512, [2.0] * 512]))
    assert align(window, ("A", "B")) is window
    turned = align(window, ("B", "Z"))
    assert turned.close[0, 0] == 2.0
    assert turned.valid[:, 0].tolist() == [1, 0]
    assert window.valid.all()


def test_reliability_vector() -> None:
    """Forecast, confidence and both updates are those of agents.md §10."""
    third, x = 1.0 / 3.0, np.array([[0.6, 0.3, 0.1]])
    forecast = Reliability().p(x, [third])
    np.testing.assert_allclose(forecast, [[0.4, 0.325, 0.275]], rtol=0, atol=1e-15)
    answer = opinion(REQUEST, agent="a", model_version="1", x=x, p=forecast, action=[BUY], abstain=[0],
                     backend="classical")  # fmt: skip
    np.testing.assert_allclose(array(answer.confidence), [0.0107390612], rtol=0, atol=5e-11)
    for outcome, k in ((0, 0.2566666667), (2, 0.2415151515)):
        learner = Reliability()
        learner.learn(x[0], third, outcome)
        assert learner.k == pytest.approx(k, abs=5e-11)


def test_reliability_stays_in_range_and_ignores_what_is_unresolved() -> None:
    """A useless agent falls to 0, a perfect one stops at 0.9, 255 teaches nothing."""
    bad, good = Reliability(), Reliability()
    for _ in range(5_000):
        bad.learn([0.0, 0.0, 1.0], 0.3, 0)
        good.learn([1.0, 0.0, 0.0], 0.3, 0)
    assert (bad.k, good.k) == (0.0, 0.9)
    good.learn([1.0, 0.0, 0.0], 0.3, 255)
    assert good.updates == 5_000


def test_pending_hands_out_once_and_forgets_the_oldest() -> None:
    """Feedback twice is feedback once; 512 rounds are held."""
    pending: Pending[int] = Pending()
    for i in range(556):
        pending.put(f"r{i}", i)
    assert len(pending) == 512
    assert pending.take("r43") is None
    assert pending.take("r44") == 44
    assert pending.take("r44") is None
    assert pending.ignored == 2
    assert pending.take("r45") == 45
    assert len(pending) == 510


def test_no_horizon_outlasts_what_is_remembered() -> None:
    """With a round at every bar, its outcome told when the next was asked, none is forgotten."""
    with pytest.raises(msgspec.ValidationError, match="horizon_bars"):
        msgspec.convert({"horizon_bars": MAX_PENDING - 1}, SYSTEM)


def test_position_map() -> None:
    """Every branch, and both sides of each threshold."""
    s = [0.51, 0.5, -0.51, 0.51, 0.5, -0.51, -0.5, -0.31, -0.3, 0.2, np.nan]
    d = [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    expected = [BUY, HOLD, SELL, INCREASE, HOLD, EXIT, DECREASE, DECREASE, HOLD, HOLD, HOLD]
    assert position_map(s, d).tolist() == expected
    short = {BUY: SELL, SELL: BUY}
    mirrored = position_map(np.negative(s), np.negative(d)).tolist()
    assert mirrored == [short.get(a, a) for a in expected]
    assert position_map([0.2, 0.2, 0.2], [1, 1, 0], [0.6, 0.5, 0.9]).tolist() == [HEDGE, HOLD, HOLD]


def test_an_answer_hides_rows_that_abstain() -> None:
    """p NaN, HOLD, confidence 0; a broken row becomes an internal error; the mark 1024 still votes."""
    p = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [np.nan, 0.3, 0.2], [0.5, 0.3, 0.2]])
    answer = opinion(REQUEST, agent="a", model_version="1", x=p, p=p, action=[BUY] * 4,
                     abstain=[0, bits.GAP, 0, bits.ACTION_NEEDS_POSITION], backend="classical",
                     contrib=np.ones((4, 2)), contrib_names=("u", "v"))  # fmt: skip
    assert array(answer.abstain).tolist() == [0, bits.GAP, bits.INTERNAL_ERROR, bits.ACTION_NEEDS_POSITION]
    assert array(answer.action).tolist() == [BUY, HOLD, HOLD, BUY]
    assert np.isnan(array(answer.p)).all(axis=1).tolist() == [False, True, True, False]
    assert (array(answer.confidence) > 0.0).tolist() == [True, False, False, True]
    assert answer.contrib is None
    told = msgspec.structs.replace(REQUEST, explain=True)
    answer = opinion(told, agent="a", model_version="1", x=p, p=p, action=[BUY] * 4, abstain=[0] * 4,
                     backend="classical", contrib=np.ones((4, 2)), contrib_names=("u", "v"))  # fmt: skip
    assert answer.contrib_names == ("u", "v")
