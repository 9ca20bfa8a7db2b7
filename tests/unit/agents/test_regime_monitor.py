"""QBMIA's regime monitor: its indicators, the five rules, and when it proposes (agents.md §4)."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from qts_agents.qbmia import regime
from qts_agents.qbmia.regime import Monitor, Reading
from qts_agents.qbmia.reports import reading
from qts_agents.qbmia.state import Seen, State

MID = Reading(resource=0.5, connectedness=0.5, stability=1.0, innovation=0.0, crisis=0.4)
RULES = [
    ("growth", {"connectedness": 0.8, "resource": 0.7}, "conservation"),
    ("conservation", {"crisis": 0.6}, "release"),
    ("conservation", {"resource": 0.2}, "release"),
    ("conservation", {"stability": 0.3}, "release"),
    ("release", {"crisis": 0.2, "connectedness": 0.3}, "reorganization"),
    ("reorganization", {"innovation": 0.6}, "growth"),
    ("unknown", {"crisis": 0.75}, "release"),
    ("growth", {"crisis": 0.75, "connectedness": 0.8, "resource": 0.7}, "release"),
]
#: each condition of a rule at its threshold, which is not yet enough
EDGES = [
    ("growth", {"connectedness": 0.7, "resource": 0.7}),
    ("growth", {"connectedness": 0.8, "resource": 0.6}),
    ("conservation", {"crisis": 0.5}),
    ("conservation", {"resource": 0.3}),
    ("conservation", {"stability": 0.4}),
    ("release", {"crisis": 0.3, "connectedness": 0.3}),
    ("release", {"crisis": 0.2, "connectedness": 0.4}),
    ("reorganization", {"innovation": 0.5}),
    ("reorganization", {"innovation": 0.6, "resource": 0.4}),
    ("unknown", {"crisis": 0.7}),
]


@pytest.mark.parametrize(("phase", "change", "expected"), RULES)
def test_each_rule_is_reachable_and_needed(phase, change, expected):
    """The rule fires on its condition and not on the neutral reading."""
    assert regime.target(phase, msgspec.structs.replace(MID, **change)) == expected
    assert regime.target(phase, MID) is None


def test_a_crisis_in_release_leads_nowhere():
    """The phase that a crisis leads to is already held."""
    assert regime.target("release", msgspec.structs.replace(MID, crisis=0.9)) is None


def test_a_proposal_needs_three_evaluations_and_rests_afterwards():
    """Two are not enough, a break starts over, one is outstanding at a time, then ten meso bars of rest."""
    ready = msgspec.structs.replace(MID, connectedness=0.8, resource=0.7)
    monitor = Monitor()
    said = [
        monitor.step("growth", reading, 10 * i) for i, reading in enumerate([ready, ready, MID, ready, ready])
    ]
    assert said == [None] * 5
    assert monitor.step("growth", ready, 50) == "conservation"
    monitor.outstanding = "one"
    assert [monitor.step("growth", ready, 50 + 10 * i) for i in range(1, 4)] == [None] * 3
    monitor.answered("another")
    assert monitor.step("growth", ready, 90) is None
    monitor.answered("one")
    assert monitor.step("growth", ready, 95) is None
    assert monitor.step("growth", ready, 100) == "conservation"


def test_evidence_must_be_new_and_young():
    """Not older than 2 bars, and a meso bar after the last evaluation."""
    monitor = Monitor()
    assert monitor.due(11, 10)
    assert not monitor.due(13, 10)
    monitor.step("growth", MID, 10)
    assert not monitor.due(13, 13)
    assert monitor.due(16, 15)
    assert not monitor.due(14, 15)
    assert monitor.due(17, 15)
    assert not monitor.due(14, 14)


@pytest.mark.parametrize(("phase", "change"), EDGES)
def test_a_rule_is_met_beyond_its_thresholds_only(phase, change):
    """Every comparison of the design is strict."""
    assert regime.target(phase, msgspec.structs.replace(MID, **change)) is None


def test_indicators_by_hand():
    """1 − min(1, 10·var) of the last ten signals, bits between strategies, and what raises the crisis."""
    assert regime.stability([9.0, -9.0] + [0.0] * 9 + [0.5]) == pytest.approx(0.75)
    assert regime.stability([1.0, -1.0]) == 0.0
    assert (regime.stability([]), regime.stability([0.3])) == (1.0, 1.0)
    up, down = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
    assert regime.innovation(up, None) == 0.0
    assert regime.innovation(up, down) == pytest.approx(1.0)
    assert regime.crisis(0.3, 0.5, 0.9) == pytest.approx(0.5)
    assert (regime.crisis(0.9, 1.0, 0.5), regime.crisis(-0.5, 0.0, 1.0)) == (1.0, 0.0)


@pytest.mark.parametrize(("crisis", "rest"), [(0.6, 50), (0.7, 50), (0.71, 5)])
def test_a_monitor_rests_ten_meso_bars_and_one_in_a_crisis(crisis, rest):
    """An answered proposal is followed by another one when the rest is over, not a bar before."""
    reading, monitor = msgspec.structs.replace(MID, crisis=crisis), Monitor()
    assert [monitor.step("conservation", reading, bar) for bar in (0, 5, 10)] == [None, None, "release"]
    asked = [bar for bar in range(11, 80) if monitor.step("conservation", reading, bar)]
    assert asked[0] == 10 + rest


def test_a_proposal_whose_answer_was_lost_stands_for_ten_meso_bars():
    """Until then nothing is proposed, even in a crisis; the announcement of any change frees the way at once."""
    reading, monitor = msgspec.structs.replace(MID, crisis=0.9), Monitor()
    for bar in (0, 1, 2):
        monitor.step("conservation", reading, bar)
    monitor.outstanding = "lost"
    asked = [bar for bar in range(3, 80) if monitor.step("conservation", reading, bar)]
    assert asked[0] == 52
    monitor.outstanding = "again"
    monitor.answered("")
    assert monitor.outstanding == ""


def seen(bar, meso=(0.1, 0.6, 0.2, 0.3)):
    return Seen(
        bar=bar, asof_ns=0, phase="growth", scores=(), meso=meso, psi=0.9, symbols=(),
        illiquidity=0.25, worst=0.5, manipulation=0.5,
    )  # fmt: skip


def test_indicators_of_the_newest_request():
    """1 − illiquidity, meso C, how steady the signals are, meso crisis raised; without a meso bar the middle."""
    state = State()
    state.note(1, 0.0, (1.0, 0.0))
    state.note(2, 0.2, (1.0, 0.0))
    found = reading(state, seen(2))
    assert (found.resource, found.connectedness, found.innovation) == (0.75, 0.6, 0.0)
    assert (found.stability, found.crisis) == pytest.approx((0.8, 0.3 + 0.1 + 0.1))
    young = reading(State(), seen(0, meso=()))
    assert (young.connectedness, young.innovation, young.stability) == (0.5, 0.0, 1.0)
    assert young.crisis == pytest.approx(0.2)


def test_innovation_looks_fifty_bars_back():
    """The strategy of then, or the newest before it; nothing while there is none so old."""
    state = State()
    for bar, strategy in ((100, (1.0, 0.0)), (102, (0.0, 1.0)), (149, (0.0, 1.0))):
        state.note(bar, 0.0, strategy)
    said = [reading(state, seen(bar)).innovation for bar in (149, 150, 151, 152)]
    assert said == pytest.approx([0.0, 1.0, 1.0, 0.0])


def test_a_bar_is_noted_once_and_enough_of_them_are_kept():
    """Ten signals; of a strategy a bar those of the last fifty bars and no end more."""
    state = State()
    for bar in range(300):
        state.note(bar, float(bar), (float(bar),))
        state.note(bar, -1.0, (-1.0,))
        state.note(bar - 1, -1.0, (-1.0,))
    assert state.signals == [float(bar) for bar in range(290, 300)]
    assert state.strategy_before(299 - 50).tolist() == [249.0]
    assert len(state.strategies) < 100
