"""Limits of styles, overrides and sizes: a case just inside and one just outside each (agents.md §2.5, §2.6)."""

import numpy as np
import pytest
from tests.unit.agents.board_script import act, ballot, calm, said, situation, verdict, view

from qts_agents.pads import sizing, styles
from qts_agents.pads.tables import (
    CALCULATED,
    CONSENSUS,
    CONTRARIAN,
    DEFENSIVE,
    GROWTH,
    MOMENTUM,
    OPPORTUNISTIC,
    RELEASE,
    REORGANIZATION,
    ROWS,
    UNKNOWN,
)
from qts_core.sections import PadsSettings

E = 1e-9
PADS = PadsSettings()
NAN = np.nan
LONG = {"exposure": np.array([0.02])}


def chosen(phase=UNKNOWN, af=NAN, maker=(NAN, NAN), **ind):
    """Return the style and its target appetite."""
    asked = calm(**ind), np.array([af]), np.array([maker[0]]), np.array([maker[1]]), phase
    return styles.select(*asked)[0], styles.appetite(*asked)[0]


@pytest.mark.parametrize(
    ("inside", "outside", "style"),
    [
        ({"tail": 0.5}, {"tail": 0.5 + E}, DEFENSIVE),
        ({"trend": 0.7, "volatility": 0.5}, {"trend": 0.7 + E, "volatility": 0.5}, MOMENTUM),
        ({"trend": -0.7, "volatility": 0.5}, {"trend": -0.7 - E, "volatility": 0.5}, MOMENTUM),
        ({"trend": 0.9, "volatility": 0.6}, {"trend": 0.9, "volatility": 0.6 - E}, MOMENTUM),
        ({"volatility": 0.7}, {"volatility": 0.7 + E}, DEFENSIVE),
        ({"whale": 0.7}, {"whale": 0.7 + E}, OPPORTUNISTIC),
        ({"maker": (0.6, 0.9)}, {"maker": (0.6 + E, 0.9)}, OPPORTUNISTIC),
        ({"maker": (-0.6, 0.9)}, {"maker": (-0.6 - E, 0.9)}, OPPORTUNISTIC),
        ({"maker": (0.9, 0.7)}, {"maker": (0.9, 0.7 + E)}, OPPORTUNISTIC),
        ({"anomaly": 0.7}, {"anomaly": 0.7 + E}, DEFENSIVE),
        ({"af": 0.7}, {"af": 0.7 + E}, CALCULATED),
    ],
)
def test_a_style_is_chosen_beyond_its_limit(inside, outside, style):
    """At the limit the phase's own style speaks."""
    assert (chosen(**inside)[0], chosen(**outside)[0]) == (CONSENSUS, style)


#: §2.5, A* of rows 1 to 6 for A₀ = 0.7, 0.5, 0.3, 0.6, 0.5
APPETITES = [
    ({"tail": 0.6}, (0.1, 0.1, 0.1, 0.1, 0.1)),
    ({"trend": 0.8}, (0.8, 0.6, 0.4, 0.7, 0.6)),
    ({"volatility": 0.8}, (0.6, 0.4, 0.2, 0.5, 0.4)),
    ({"whale": 0.8}, (0.9, 0.7, 0.5, 0.8, 0.7)),
    ({"anomaly": 0.8}, (0.5, 0.3, 0.1, 0.4, 0.3)),
    ({"af": 0.8}, (0.8, 0.6, 0.4, 0.7, 0.6)),
    ({}, (0.7, 0.5, 0.3, 0.6, 0.5)),
]


@pytest.mark.parametrize(("seen", "wanted"), APPETITES)
def test_appetites_of_every_style_in_every_phase(seen, wanted):
    """Each row of the style table from each set point."""
    assert [chosen(phase, **seen)[1] for phase in range(5)] == pytest.approx(list(wanted))


BULL = {"trend": 0.9, "momentum": 0.9, "tail": 0.2, "volatility": 0.2}
EXTREME = {"ews": 0.8, "rsi": 20.0}
RUN = {"trend": 0.8, "momentum": 0.6, "adx": 30.0}


def opportune(trend, risk):
    """An opportunity of 0.3·trend + 0.3·trend + 0.4·(1−risk)."""
    return {"trend": trend, "momentum": trend, "tail": risk, "volatility": risk}


@pytest.mark.parametrize(
    ("function", "inside", "outside"),
    [
        (
            styles.consensus,
            view(mean_vote=0.6, agreement=0.7 - E),
            view(mean_vote=0.6, agreement=0.7),
        ),
        (
            styles.consensus,
            view(mean_vote=-0.3 + E, agreement=0.9),
            view(mean_vote=-0.3, agreement=0.9),
        ),
        (
            styles.opportunistic,
            view(ind={"whale": 0.7, "whale_side": 1.0}),
            view(ind={"whale": 0.7 + E, "whale_side": 1.0}),
        ),
        (styles.opportunistic, view(maker_s=0.6, maker_c=0.9), view(maker_s=0.6 + E, maker_c=0.9)),
        (styles.opportunistic, view(maker_s=-0.9, maker_c=0.7), view(maker_s=-0.9, maker_c=0.7 + E)),
        (styles.defensive, view(1.0, ind={"tail": 0.5}), view(1.0, ind={"tail": 0.5 + E})),
        (styles.defensive, view(1.0, ind={"anomaly": 0.7}), view(1.0, ind={"anomaly": 0.7 + E})),
        (
            styles.defensive,
            view(1.0, stopped=False, ind={"volatility": 0.8}),
            view(1.0, stopped=False, ind={"volatility": 0.8 + E}),
        ),
        (
            styles.calculated_risk,  # risk 0.5: tail and volatility count half each
            view(af=0.9, ind=BULL | {"trend": 1.0, "momentum": 1.0, "tail": 0.4, "volatility": 0.6}),
            view(af=0.9, ind=BULL | {"trend": 1.0, "momentum": 1.0, "tail": 0.4, "volatility": 0.6 - 1e-6}),
        ),
        (
            styles.calculated_risk,
            view(af=0.9, ind=BULL | {"trend": 1.0, "momentum": 1.0, "tail": 0.7, "volatility": 0.3}),
            view(af=0.9, ind=BULL | {"trend": 1.0, "momentum": 1.0, "tail": 0.7 - 1e-6, "volatility": 0.3}),
        ),
        (
            styles.calculated_risk,  # 0.6·trend + 0.4·0.8 = 0.7
            view(af=0.9, ind=opportune(0.38 / 0.6 - 1e-6, 0.2)),
            view(af=0.9, ind=opportune(0.38 / 0.6 + 1e-6, 0.2)),
        ),
        (styles.calculated_risk, view(af=0.6, ind=BULL), view(af=0.6 + E, ind=BULL)),
        (
            styles.contrarian,
            view(phase=REORGANIZATION, ind=EXTREME | {"ews": 0.7}),
            view(phase=REORGANIZATION, ind=EXTREME | {"ews": 0.7 + E}),
        ),
        (
            styles.contrarian,
            view(phase=REORGANIZATION, ind=EXTREME | {"rsi": 30.0}),
            view(phase=REORGANIZATION, ind=EXTREME | {"rsi": 30.0 - E}),
        ),
        (
            styles.contrarian,
            view(phase=REORGANIZATION, ind=EXTREME | {"rsi": 70.0}),
            view(phase=REORGANIZATION, ind=EXTREME | {"rsi": 70.0 + E}),
        ),
        (
            styles.momentum_following,
            view(ind=RUN | {"trend": 0.5}),
            view(ind=RUN | {"trend": 0.5 + E}),
        ),
        (
            styles.momentum_following,
            view(ind=RUN | {"momentum": 0.4}),
            view(ind=RUN | {"momentum": 0.4 + E}),
        ),
        (styles.momentum_following, view(ind=RUN | {"adx": 25.0}), view(ind=RUN | {"adx": 25.0 + E})),
    ],
)
def test_a_style_fires_beyond_its_limit(function, inside, outside):
    """Just inside it is silent, just outside it speaks."""
    assert (bool(function(inside).fires[0]), bool(function(outside).fires[0])) == (False, True)


def test_opportunity_is_weighed_as_designed():
    """0.3·abs(trend) + 0.3·abs(momentum) + 0.4·(1 − ½tail − ½volatility)."""
    ind = calm(trend=-0.5, momentum=0.9, tail=0.2, volatility=0.6)
    risk, chance = styles.opportunity(ind)
    assert (risk[0], chance[0]) == pytest.approx((0.4, 0.15 + 0.27 + 0.24))


def test_a_heavy_tail_is_hedged_up_to_its_limit():
    """HEDGE at a tail of 0.65, EXIT above."""
    found = [styles.defensive(view(1.0, ind={"tail": t}, signal=0.0)).action[0] for t in (0.65, 0.65 + E)]
    assert found == [5, 6]


def overridden(ind=None, **changes):
    """Return whether an override decides against an indifferent pool."""
    made = verdict(ballot(said(0.33)), situation(ind=calm(**(ind or {})), **changes))
    return styles.OVERRIDES[made.override[0]]


WHALE = {"whale": 0.9, "whale_side": 1.0, "momentum": 0.9}
FLASH = {"flash": 0.9, "m5": -0.01}


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        (
            "horizon",
            LONG | {"bars_since_entry": np.array([29])},
            LONG | {"bars_since_entry": np.array([30])},
        ),
        ("tail", LONG | {"ind": {"tail": 0.8}}, LONG | {"ind": {"tail": 0.8 + E}}),
        (
            "liquidation",
            LONG | {"liquidation_risk": np.array([0.7])},
            LONG | {"liquidation_risk": np.array([0.7 + E])},
        ),
        ("whale", {"ind": WHALE | {"whale": 0.7}}, {"ind": WHALE | {"whale": 0.7 + E}}),
        ("whale", {"ind": WHALE | {"momentum": 0.6}}, {"ind": WHALE | {"momentum": 0.6 + E}}),
        ("whale", {"ind": WHALE | {"whale_side": -1.0}}, {"ind": WHALE}),
        ("whale", {"ind": WHALE} | LONG, {"ind": WHALE}),
        (
            "flash",
            {"ind": FLASH | {"flash": 0.8}, "af": np.array([0.9])},
            {"ind": FLASH | {"flash": 0.8 + E}, "af": np.array([0.9])},
        ),
        ("flash", {"ind": FLASH, "af": np.array([0.7])}, {"ind": FLASH, "af": np.array([0.7 + E])}),
        ("flash", {"ind": FLASH, "af": np.array([0.9])} | LONG, {"ind": FLASH, "af": np.array([0.9])}),
    ],
)
def test_an_override_acts_beyond_its_limit(name, inside, outside):
    """Just inside the style has its say, just outside the override."""
    assert (overridden(**inside), overridden(**outside)) == ("", name)


def test_confidence_of_overrides():
    """0.95 where risk is reduced; whale·abs(momentum) and flash·AF, at most 0.9."""
    wanted = [
        (0.95, calm(tail=0.9), LONG),
        (0.72, calm(whale=0.8, whale_side=1.0, momentum=0.9), {}),
        (0.9, calm(whale=1.0, whale_side=-1.0, momentum=-1.0), {}),
        (0.765, calm(flash=0.85, m5=0.01), {"af": np.array([0.9])}),
        (0.9, calm(flash=1.0, m5=0.01), {"af": np.array([0.95])}),
    ]
    for score, ind, changes in wanted:
        assert verdict(ballot(said(0.33)), situation(ind=ind, **changes)).confidence[0] == pytest.approx(
            score
        )


@pytest.mark.parametrize("phase", [GROWTH, RELEASE, REORGANIZATION, UNKNOWN])
def test_an_entry_needs_the_threshold_of_its_phase(phase):
    """A hair below it holds, at it enters: a whale whose override scores so."""
    limit = ROWS[phase].threshold
    for momentum, wanted in ((limit / 0.99 - E, "BELOW_THRESHOLD"), (limit / 0.99 + E, "OVERRIDE")):
        if abs(momentum) <= 0.6:  # of growth: below what wakes the whale
            continue
        ind = calm(whale=0.99, whale_side=1.0, momentum=momentum)
        assert act(ballot(said(0.33)), situation(ind=ind, phase=phase))[1] == wanted


def test_size_chain_factor_by_factor():
    """f₀·size×·(A/A₀)·(0.5+0.8·conf)·(1−0.4·D)·max(0.3, 1−2·DD)·min(1, 0.02/σ_day)."""
    one = np.ones(1)

    def found(drawdown=0.0, sigma=0.02, confidence=1.0, dissent=0.0):
        risk = drawdown, sigma * one, PADS.calm_day
        return sizing.chain(0.02, 1.2, 0.9 * one, confidence * one, dissent * one, risk)[0]

    assert found() == pytest.approx([0.02, 1.2, 0.9, 1.3, 1.0, 1.0, 1.0])
    assert [found(confidence=c)[3] for c in (0.0, 0.5)] == pytest.approx([0.5, 0.9])
    assert [found(dissent=d)[4] for d in (0.5, 1.0)] == pytest.approx([0.8, 0.6])
    assert [found(drawdown=d)[5] for d in (0.1, 0.34, 0.35, 0.36, 0.9)] == pytest.approx(
        [0.8, 0.32, 0.3, 0.3, 0.3]
    )
    assert [found(sigma=s)[6] for s in (0.019, 0.021, 0.05)] == pytest.approx([1.0, 0.02 / 0.021, 0.4])


def safe(af=0.5, sigma=0.015, anomaly=0.0, tail=0.0, drawdown=0.0):
    return sizing.safe_share(PADS.safe_share, *(np.array([x]) for x in (af, sigma, anomaly, tail)), drawdown)


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        ({}, 0.85),
        ({"af": 0.0}, 0.88),
        ({"af": 1.0}, 0.82),
        ({"af": NAN}, 0.85),
        ({"sigma": 0.01 - E}, 0.84),
        ({"sigma": 0.01}, 0.85),
        ({"sigma": 0.02 - E}, 0.85),
        ({"sigma": 0.02}, 0.86),
        ({"sigma": 0.03 - E}, 0.86),
        ({"sigma": 0.03}, 0.87),
        ({"anomaly": 1.0}, 0.89),
        ({"anomaly": 0.5}, 0.87),
        ({"tail": 0.5}, 0.85),
        ({"tail": 0.5 + E}, 0.87),
        ({"drawdown": 0.05 - E}, 0.85),
        ({"drawdown": 0.05}, 0.865),
        ({"drawdown": 0.10 - E}, 0.865),
        ({"drawdown": 0.10}, 0.88),
        ({"drawdown": 0.15 - E}, 0.88),
        ({"drawdown": 0.15}, 0.895),
        ({"drawdown": 0.20 - E}, 0.895),
        ({"drawdown": 0.20}, 0.91),
        ({"af": 0.0, "sigma": 0.05, "anomaly": 1.0, "tail": 0.9, "drawdown": 0.5}, 0.95),
    ],
)
def test_barbell_term_by_term(seen, wanted):
    """safe = clip(0.85 + 0.06(0.5−AF) + 0.2·v + 0.2·n + 0.3·g, 0.75, 0.95)."""
    assert safe(**seen) == pytest.approx(wanted)


def test_stops_term_by_term():
    """clip(2.5·σ_day·stop×·(0.8+0.4·AF)·(1−0.3·D), 0.002, 0.25), less where it is wild."""

    def stop(sigma=0.01, factor=1.0, af=NAN, dissent=0.0, volatility=0.5):
        return sizing.stops(
            np.array([sigma]), PADS.stop_days, factor, *(np.array([x]) for x in (af, dissent, volatility))
        )[0]

    assert [stop(), stop(factor=1.1), stop(dissent=1.0)] == pytest.approx([0.025, 0.0275, 0.0175])
    assert [stop(af=a) for a in (0.0, 0.5, 1.0)] == pytest.approx([0.02, 0.025, 0.03])
    assert [stop(sigma=s) for s in (0.0005, 0.2)] == pytest.approx([0.002, 0.25])
    wild = [stop(volatility=v) for v in (0.7, 0.7 + E, 0.8, 0.9, 1.0)]
    assert wild == pytest.approx([0.025, 0.02, 0.0175, 0.015, 0.015])


def test_targets_are_five_daily_sigmas_times_the_phase():
    """5·σ_day·targets, closed by 50, 30 and 20 %; σ_day = σ₂₀·√(86400/Δ)."""
    assert sizing.targets(np.array([0.01]), PADS.target_days, (1.5, 2.0, 3.0))[0] == pytest.approx(
        [0.075, 0.1, 0.15]
    )
    assert sizing.LADDER.tolist() == [0.5, 0.3, 0.2]
    assert sizing.day_sigma(np.array([0.001]), 3600.0)[0] == pytest.approx(0.001 * np.sqrt(24.0))


def test_positions_beyond_a_cap_are_not_forced_down():
    """Without an entry, or with two that cancel out, nothing is scaled however far the net is over its cap."""
    limits = sizing.Limits(symbol=1.0, net=0.10, gross=10.0)
    open_now, nobody = np.array([0.2, 0.1]), np.zeros(2, dtype=bool)
    assert sizing.cap(np.array([0.0, -0.05]), open_now, nobody, limits).tolist() == [0.0, -0.05]
    balanced = np.array([0.03, -0.03])
    assert sizing.cap(balanced, open_now, ~nobody, limits) == pytest.approx(balanced)


@pytest.mark.parametrize("phase", range(5))
@pytest.mark.parametrize("profile", ["standard", "prospect"])
def test_a_phase_sets_stop_and_size(phase, profile):
    """The factors of the phase table reach the verdict, those of the profile that is configured."""
    row, sigma = ROWS[phase], 0.001 * np.sqrt(1440.0)
    factors = (row.stop, row.size) if profile == "standard" else (row.prospect_stop, row.prospect_size)
    made = verdict(ballot(said(0.45)), situation(phase=phase), profile=profile)
    assert made.stop[0] == pytest.approx(2.5 * sigma * factors[0] * (1.0 - 0.3 * made.pool.dissent[0]))
    assert made.factors[0, 1] == factors[1]
    assert made.targets[0] == pytest.approx([5.0 * sigma * t for t in row.targets])
    assert made.threshold == row.threshold


def test_the_phase_of_a_contrarian_is_reorganization():
    """Its own style there, with the highest set point but that of growth."""
    assert (ROWS[REORGANIZATION].style, ROWS[REORGANIZATION].appetite) == (CONTRARIAN, 0.6)
