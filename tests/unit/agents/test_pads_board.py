"""decide: the worked pool, styles, overrides, gates, every action, caps."""

import msgspec
import numpy as np
import pytest
from tests.unit.agents.board_script import FIELDS, act, ballot, calm, said, situation, verdict, view

from qts_agents.kernels.indicators import Indicators
from qts_agents.pads import sizing, styles, veto
from qts_agents.pads.board import hedging
from qts_agents.pads.members import Ballot
from qts_agents.pads.tables import (
    BUY,
    CALCULATED,
    CONSENSUS,
    CONTRARIAN,
    DECREASE,
    DEFENSIVE,
    EXIT,
    GROWTH,
    HEDGE,
    HOLD,
    MOMENTUM,
    OPPORTUNISTIC,
    REASONS,
    REORGANIZATION,
    ROWS,
    SELL,
    UNKNOWN,
)
from qts_messaging.messages import ACTIONS


def test_the_worked_pool_through_the_board():
    """Three opinions at weights .30, .25, .20 with the other seats masked give the p, s*, D, q of §10."""
    weights = {"qar": 0.30, "qstar": 0.25, "antifragility": 0.20, "market_maker": 0.25}
    now = situation(weights=weights, reputation=dict.fromkeys(weights, 0.7))
    made = verdict(ballot([[0.5, 0.3, 0.2], [0.4, 0.35, 0.25], [0.2, 0.5, 0.3]]), now)
    expected = [0.3664170062, 0.3651833868, 0.2683996070]
    assert np.allclose(expected, made.pool.p[0], rtol=0, atol=5e-11)
    assert made.signal[0] == pytest.approx(0.0980173992, abs=5e-11)
    assert made.information[0] == pytest.approx(0.0089622440, abs=5e-11)
    assert made.pool.dissent[0] == pytest.approx(0.0126172285, abs=5e-11)
    q = [-51.6778745895, -51.8464940351, -67.2426298521]
    assert np.allclose(q, made.pool.q[0], rtol=0, atol=1e-9)
    assert pytest.approx(made.pool.share[0].tolist()) == [0.30, 0.25, 0.20, 0.0]


def test_an_absent_agent_leaves_its_share_to_the_prior():
    """Ω falls by what the silent seat would have had."""
    both = verdict(ballot(said(0.4)), situation()).omega.sum()
    one_less = verdict(ballot([*said(0.4, 2), [np.nan] * 3]), situation()).omega.sum()
    assert pytest.approx(both) == 1.0
    assert pytest.approx(one_less) == 0.8


def test_under_two_agents_a_row_holds_with_no_quorum():
    """Quorum counts agents by row; derived seats do not count, and nothing overrides it."""
    rows = ballot([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [np.nan] * 3], S=2)
    rows.p[1, 1] = np.nan
    rows.voted[1, 1] = False
    ended = np.full(2, 99)
    made = verdict(rows, situation(2, exposure=np.full(2, 0.01), bars_since_entry=ended))
    assert [ACTIONS[a] for a in made.action] == ["EXIT", "HOLD"]
    assert [REASONS[r] for r in made.reason] == ["HORIZON_ENDED", "NO_QUORUM"]
    assert made.quorum.tolist() == [2, 1]
    assert made.size[1] == 0.0


LONG = {"exposure": np.array([0.02])}
NERVOUS = LONG | {"ind": calm(tail=0.6)}


@pytest.mark.parametrize(
    ("action", "b", "changes"),
    [
        ("BUY", ballot(said(0.45)), {}),
        ("SELL", ballot(said(0.21)), {}),
        ("HOLD", ballot(said(0.33)), {}),
        ("INCREASE", ballot(said(0.45)), LONG),
        ("DECREASE", ballot(said(0.319)), LONG),
        ("EXIT", ballot(said(0.21)), LONG),
        ("HEDGE", ballot(said(0.34)), NERVOUS),
    ],
)
def test_every_action_is_reached(action, b, changes):
    """Scripted voters lead the board to each of the seven actions, with the right side of the size."""
    made = verdict(b, situation(**changes))
    assert action == ACTIONS[made.action[0]]
    assert {"BUY": 1, "INCREASE": 1, "HOLD": 0}.get(action, -1) == np.sign(made.size[0])
    if action == "EXIT":
        assert made.size[0] == -0.02
    if action in ("DECREASE", "HEDGE"):
        assert made.size[0] == -0.01


@pytest.mark.parametrize(
    ("style", "appetite", "ind", "af"),
    [
        (DEFENSIVE, 0.1, {"tail": 0.51, "trend": 0.9}, np.nan),
        (MOMENTUM, 0.8, {"trend": -0.71, "volatility": 0.59, "anomaly": 0.9}, np.nan),
        (DEFENSIVE, 0.6, {"volatility": 0.71, "whale": 0.9}, np.nan),
        (OPPORTUNISTIC, 0.9, {"whale": 0.71, "anomaly": 0.9}, np.nan),
        (DEFENSIVE, 0.5, {"anomaly": 0.71}, 0.9),
        (CALCULATED, 0.8, {}, 0.71),
        (CALCULATED, 0.7, {"tail": 0.5, "trend": 0.7, "whale": 0.7, "anomaly": 0.7}, 0.7),
        (CALCULATED, 0.7, {"tail": np.nan, "volatility": np.nan, "whale": np.nan}, np.nan),
    ],
)
def test_style_table(style, appetite, ind, af):
    """Each row of the table in growth, in order; at the limit or masked a condition is not met."""
    nan = np.array([np.nan])
    asked = calm(**ind), np.array([af]), nan, nan, GROWTH
    assert styles.select(*asked)[0] == style
    assert styles.appetite(*asked)[0] == pytest.approx(appetite)


def test_the_market_maker_makes_an_opportunity():
    """abs(s) > 0.6 and c > 0.7 choose the opportunistic style without a whale."""
    chosen = styles.select(calm(), np.array([np.nan]), np.array([-0.8]), np.array([0.75]), UNKNOWN)
    assert chosen[0] == OPPORTUNISTIC


def test_each_phase_has_its_own_style():
    """Rows of the phase table: style, set point, threshold."""
    rows = [(r.style, r.appetite, r.threshold) for r in ROWS]
    expected = [
        (CALCULATED, 0.7, 0.55),
        (CONSENSUS, 0.5, 0.65),
        (DEFENSIVE, 0.3, 0.75),
        (CONTRARIAN, 0.6, 0.60),
        (CONSENSUS, 0.5, 0.60),
    ]
    assert expected == rows


@pytest.mark.parametrize(
    ("function", "seen", "action", "score"),
    [
        (styles.consensus, view(mean_vote=0.6, agreement=0.8), BUY, 0.8),
        (styles.consensus, view(mean_vote=0.4, agreement=0.9), HOLD, 0.72),
        (styles.opportunistic, view(ind={"whale": 0.8, "whale_side": -1.0}), SELL, 0.8),
        (styles.opportunistic, view(maker_s=0.7, maker_c=0.75), BUY, 0.75),
        (styles.defensive, view(1.0, ind={"tail": 0.7}), EXIT, 0.7),
        (styles.defensive, view(1.0, ind={"tail": 0.65}, signal=0.01), HEDGE, 0.65),
        (styles.defensive, view(1.0, ind={"tail": 0.65}, signal=-0.01), EXIT, 0.65),
        (styles.defensive, view(-1.0, ind={"anomaly": 0.8}), DECREASE, 0.8),
        (styles.defensive, view(1.0, ind={"volatility": 0.85}, stopped=False), DECREASE, 0.85),
        (
            styles.calculated_risk,
            view(af=0.8, ind={"trend": 0.9, "momentum": 0.8, "volatility": 0.2}),
            BUY,
            0.8 * (0.27 + 0.24 + 0.36),
        ),
        (styles.contrarian, view(phase=REORGANIZATION, ind={"ews": 0.8, "rsi": 24.0}), BUY, 0.7),
        (styles.contrarian, view(phase=REORGANIZATION, ind={"ews": 0.8, "rsi": 95.0}), SELL, 1.0),
        (
            styles.momentum_following,
            view(ind={"trend": -0.8, "momentum": -0.6, "adx": 30.0}),
            SELL,
            0.32 + 0.18 + 0.09,
        ),
    ],
)
def test_styles_fire(function, seen, action, score):
    """Each style fires on its condition with its action and score."""
    stance = function(seen)
    assert (True, action) == (bool(stance.fires[0]), stance.action[0])
    assert stance.confidence[0] == pytest.approx(score)


@pytest.mark.parametrize(
    ("function", "seen"),
    [
        (styles.consensus, view(mean_vote=0.6, agreement=0.69)),
        (styles.consensus, view(mean_vote=0.29, agreement=0.9)),
        (styles.opportunistic, view(ind={"whale": 0.8, "whale_side": 0.0})),
        (styles.defensive, view(0.0, ind={"tail": 0.9, "anomaly": 0.9})),
        (styles.defensive, view(1.0, ind={"volatility": 0.85})),
        (styles.calculated_risk, view(af=0.6, ind={"trend": 0.9, "momentum": 0.8, "volatility": 0.2})),
        (styles.contrarian, view(phase=GROWTH, ind={"ews": 0.8, "rsi": 24.0})),
        (styles.contrarian, view(1.0, phase=REORGANIZATION, ind={"ews": 0.8, "rsi": 24.0})),
        (styles.momentum_following, view(ind={"trend": 0.8, "momentum": -0.6, "adx": 30.0})),
    ],
)
def test_styles_stay_silent(function, seen):
    """A style does not fire beside its condition."""
    assert not function(seen).fires[0]


def test_defensive_only_reduces():
    """Under the defensive style the pool may not open, but it may close."""
    tail = calm(tail=0.6)
    assert act(ballot(said(0.45)), situation(ind=tail)) == ("HOLD", "NO_SIGNAL")
    nervous = calm(volatility=0.75)
    assert act(ballot(said(0.21)), situation(ind=nervous, **LONG))[0] == "EXIT"


OVERRIDES = [
    ("EXIT", "HORIZON_ENDED", {}, LONG | {"bars_since_entry": np.array([30])}),
    ("EXIT", "OVERRIDE", {"tail": 0.81}, LONG),
    ("DECREASE", "OVERRIDE", {}, LONG | {"liquidation_risk": np.array([0.71])}),
    ("DECREASE", "OVERRIDE", {}, LONG | {"reduce": np.array([True])}),
    ("BUY", "OVERRIDE", {"whale": 0.95, "whale_side": 1.0, "momentum": 0.8}, {}),
    ("SELL", "OVERRIDE", {"flash": 0.9, "m5": 0.01}, {"af": np.array([0.9])}),
]


@pytest.mark.parametrize(("action", "reason", "ind", "changes"), OVERRIDES)
def test_overrides(action, reason, ind, changes):
    """Each override acts against an indifferent pool."""
    assert (action, reason) == act(ballot(said(0.33)), situation(ind=calm(**ind), **changes))


def test_reducing_overrides_pass_the_veto_and_entering_ones_do_not():
    """With a veto bit set the horizon still ends, the whale is not followed."""
    trouble = {"manipulated": np.array([True])}
    ended = LONG | {"bars_since_entry": np.array([30])}
    assert act(ballot(said(0.33)), situation(**(ended | trouble))) == ("EXIT", "HORIZON_ENDED")
    whale = calm(whale=0.95, whale_side=1.0, momentum=0.8)
    assert act(ballot(said(0.33)), situation(ind=whale, **trouble)) == ("HOLD", "VETO")


def test_a_weak_entry_is_below_the_threshold():
    """A whale that is barely sure enough for the override is too weak for the phase."""
    whale = calm(whale=0.8, whale_side=1.0, momentum=0.65)
    assert act(ballot(said(0.33)), situation(ind=whale)) == ("HOLD", "BELOW_THRESHOLD")


def test_an_entry_against_the_pool_is_held():
    """A trend against a clear pool does not enter."""
    trend = calm(trend=0.9, momentum=0.9, adx=60.0)
    assert act(ballot(said(0.21)), situation(ind=trend, phase=GROWTH)) == ("HOLD", "POOL_CONTRADICTS")


def test_regimes_touch_confidence():
    """critical_top buys nothing, black_swan weakens an entry below the threshold."""
    b = ballot(said(0.36))
    assert act(b, situation()) == ("BUY", "DECIDED")
    assert act(b, situation(regime="critical_top")) == ("HOLD", "VETO")
    sure = verdict(b, situation()).confidence[0]
    assert verdict(b, situation(regime="black_swan")).confidence[0] == pytest.approx(0.7 * sure)


def test_the_prospect_gate_is_an_option():
    """V is only reported by default; `veto` blocks an entry whose V is not positive."""
    now = situation(cost=np.array([0.02]))
    assert act(ballot(said(0.36)), now)[0] == "BUY"
    made = verdict(ballot(said(0.36)), now, prospect_gate="veto")
    assert (made.action[0], bool(made.veto[0] & veto.PROSPECT)) == (HOLD, True)


def test_caps_scale_entries_pro_rata_and_leave_positions_alone():
    """Symbol cap, net cap and gross cap bind entries only."""
    entry = np.array([True, True, False])
    limits = sizing.Limits(symbol=0.05, net=0.10, gross=0.15)
    held = np.array([0.04, 0.0, 0.08])
    change = sizing.cap(np.array([0.02, 0.02, 0.0]), held, entry, limits)
    assert change.tolist() == [0.0, 0.0, 0.0]
    change = sizing.cap(np.array([0.02, -0.02, -0.08]), held, entry, limits)
    assert pytest.approx(change.tolist()) == [0.01, -0.02, -0.08]
    tight = msgspec.structs.replace(limits, gross=0.055)
    change = sizing.cap(np.array([0.02, -0.02, -0.08]), held, entry, tight)
    assert pytest.approx(change.tolist()) == [0.005, -0.01, -0.08]


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_entries_share_the_room_that_the_net_cap_leaves(side):
    """0.3 held one way under a net cap of 0.5: an entry of 0.4 that way gets 0.2, the other way all of it."""
    limits = sizing.Limits(symbol=1.0, net=0.5, gross=2.0)
    held, entry = side * np.array([0.3, 0.0, 0.0]), np.array([False, True, True])
    change = sizing.cap(side * np.array([0.0, 0.3, 0.1]), held, entry, limits)
    assert pytest.approx((side * change).tolist()) == [0.0, 0.15, 0.05]
    change = sizing.cap(side * np.array([0.0, -0.3, -0.1]), held, entry, limits)
    assert pytest.approx((side * change).tolist()) == [0.0, -0.3, -0.1]
    change = sizing.cap(side * np.array([0.0, -0.9, -0.7]), held, entry, limits)
    assert pytest.approx((side * change).tolist()) == [0.0, -0.45, -0.35]
    beyond = sizing.cap(side * np.array([0.0, 0.3, 0.1]), side * np.array([0.6, 0.0, 0.0]), entry, limits)
    assert beyond.tolist() == [0.0, 0.0, 0.0]


def test_stops_and_the_safe_share():
    """Worked by hand: σ_day 1 %, AF masked; a large drawdown keeps more out of the market."""
    one = np.array([0.01])
    stop = sizing.stops(one, 2.5, 1.0, np.array([np.nan]), np.array([0.1]), np.array([0.5]))
    assert pytest.approx(stop[0]) == 0.025 * 0.97
    wild = sizing.stops(one, 2.5, 1.0, np.array([0.5]), np.array([0.0]), np.array([0.9]))
    assert pytest.approx(wild[0]) == 0.025 * 0.6
    calm_share = sizing.safe_share(0.85, np.array([np.nan]), np.array([0.005]), np.zeros(1), np.zeros(1), 0.0)
    assert pytest.approx(calm_share) == 0.84
    assert (
        pytest.approx(sizing.safe_share(0.85, np.array([np.nan]), one, np.zeros(1), np.zeros(1), 0.25))
        == 0.91
    )


def test_a_batch_equals_single_rows():
    """Each row of a batch has the bits of the same row alone, apart from the common caps."""
    rng = np.random.default_rng(7)
    S = 5
    p = rng.dirichlet([2, 2, 2], size=(S, 3))
    actions = rng.integers(0, 3, size=(S, 3)).astype(np.uint8)
    ind = Indicators(**{k: rng.uniform(0.05, 0.65, S) for k in FIELDS})
    returns = rng.normal(0, 0.001, (S, 120))
    b = Ballot(p=p, action=actions, confidence=np.zeros((S, 3)), voted=np.ones((S, 3), dtype=bool))
    whole = verdict(b, situation(S, ind, returns=returns), net_cap=1.0)
    for s in range(S):
        row = Indicators(**{k: getattr(ind, k)[s : s + 1] for k in FIELDS})
        alone = Ballot(
            p=p[s : s + 1], action=actions[s : s + 1], confidence=np.zeros((1, 3)), voted=b.voted[s : s + 1]
        )
        made = verdict(alone, situation(1, row, returns=returns[s : s + 1]), net_cap=1.0)
        for name in ("action", "confidence", "reason", "veto", "signal", "stop", "targets", "prospect"):
            assert getattr(whole, name)[s].tobytes() == getattr(made, name)[0].tobytes(), name
        assert whole.pool.p[s].tobytes() == made.pool.p[0].tobytes()


@pytest.mark.parametrize(
    ("tail", "held", "hedged", "changes", "size"),
    [
        (0.6, [0.02, 0.0], False, {}, [0.0, -0.01]),
        (0.6, [0.02, -0.01], True, {}, [0.0, 0.0]),  # said again: half is offset already
        (0.6, [0.03, -0.01], True, {}, [0.0, -0.005]),
        (0.6, [0.01, -0.01], True, {}, [0.0, 0.005]),
        (0.6, [0.02, 0.004], False, {}, [0.0, -0.014]),
        (0.0, [0.03, -0.01], True, {}, [0.0, 0.0]),  # no word: left alone
        (0.0, [0.02, -0.01], True, {"reduce": np.array([True, False])}, [-0.01, 0.005]),
        (0.0, [0.02, -0.01], True, {"bars_since_entry": np.array([30, 0])}, [-0.02, 0.01]),
        (0.0, [0.0, -0.01], True, {}, [0.0, 0.01]),  # stopped out since the last round
        (0.0, [0.0, -0.01], False, {}, [0.0, 0.0]),  # nobody hedges: a position of its own
    ],
)
def test_the_hedge_symbol_holds_half_of_what_is_hedged(tail, held, hedged, changes, size):
    """Of two symbols the second is the hedge; long at heavy tails says HEDGE, and what is gone is released."""
    now = situation(2, calm(2, tail=np.array([tail, 0.0])), exposure=np.array(held), hedge=1, **changes)
    now = msgspec.structs.replace(now, hedged=np.array([hedged, False]))
    made = verdict(ballot(said(0.335), S=2), now)
    assert made.action[1] == HOLD
    assert (made.action[0] == HEDGE) == (tail > 0.0)
    assert made.size == pytest.approx(size)
    gone = held[0] == 0.0
    assert hedging(made.action, now).tolist() == [not gone and (hedged or tail > 0.0), False]


def test_caps_never_keep_a_hedge_from_shrinking():
    """Nothing may be added beside what is held, and the hedge that is not needed any more goes."""
    now = situation(2, exposure=np.array([0.0, -0.9]), hedge=1, hedged=np.array([True, False]))
    assert verdict(ballot(said(0.335), S=2), now, symbol_cap=0.05).size == pytest.approx([0.0, 0.9])


@pytest.mark.parametrize(
    ("own", "changes", "held", "size"),
    [
        (EXIT, {"bars_since_entry": np.array([0, 30])}, -0.01, 0.01),
        (DECREASE, {"reduce": np.array([False, True])}, -0.01, 0.005),
        (HEDGE, {}, 0.01, -0.005),
    ],
)
def test_a_word_of_the_hedge_symbol_goes_first(own, changes, held, size):
    """The first symbol says HEDGE, the second is to go: it does, as told, and the first is halved itself."""
    tail = np.array([0.6, 0.6 if own == HEDGE else 0.0])
    now = situation(2, calm(2, tail=tail), exposure=np.array([0.02, held]), hedge=1, **changes)
    now = msgspec.structs.replace(now, hedged=np.array([True, False]))
    made = verdict(ballot(said(0.335), S=2), now)
    assert made.action.tolist() == [HEDGE, own]
    assert made.size == pytest.approx([-0.01, size])
    assert not hedging(made.action, now).any()


@pytest.mark.parametrize("sigma", [0.0, np.nan])
@pytest.mark.parametrize(("held", "size"), [(0.0, 0.0), (-0.01, 0.005)])
def test_without_a_volatility_nothing_is_hedged_with(sigma, held, size):
    """HEDGE halves its own row; a hedge that was there before shrinks with it."""
    ind = calm(2, tail=np.array([0.6, 0.0]), sigma20=np.array([0.001, sigma]))
    now = situation(2, ind, exposure=np.array([0.02, held]), hedge=1, hedged=np.array([held != 0.0, False]))
    made = verdict(ballot(said(0.335), S=2), now)
    assert made.action.tolist() == [HEDGE, HOLD]
    assert made.size == pytest.approx([-0.01, size])
