"""How turbulent it is, and what the regime is called (agents.md §3)."""

import numpy as np
import pytest
from tests.unit.agents.board_script import calm

from qts_agents.pads.regime import Regime, turbulence
from qts_agents.pads.tables import CONSERVATION, GROWTH, RELEASE, REORGANIZATION, UNKNOWN
from qts_messaging.messages import PHASES


def test_regime_names_and_masked_terms():
    """The first matching name wins; masked terms of the score are renormalised."""
    names = [
        Regime.name(GROWTH, GROWTH, GROWTH, 0.5, 0.1),
        Regime.name(GROWTH, CONSERVATION, GROWTH, 0.7, 0.1),
        Regime.name(GROWTH, CONSERVATION, CONSERVATION, 0.81, 0.1),
        Regime.name(RELEASE, RELEASE, UNKNOWN, 0.5, 0.6),
        Regime.name(RELEASE, RELEASE, UNKNOWN, 0.5, 0.5),
        Regime.name(GROWTH, GROWTH, REORGANIZATION, 0.5, 0.1),
        Regime.name(UNKNOWN, UNKNOWN, UNKNOWN, 0.5, 0.1),
    ]
    expected = [
        "normal_bull",
        "extended_bull",
        "critical_top",
        "black_swan",
        "correction",
        "accumulation",
        "normal",
    ]
    assert expected == names
    assert turbulence(RELEASE, float("nan"), float("nan"), float("nan"), float("nan")) == pytest.approx(90.0)
    assert turbulence(GROWTH, 0.5, 0.5, 0.5, 20.0) == pytest.approx(7.5 + 12.5 + 12.5 + 5.0 + 3.0)
    assert PHASES[UNKNOWN] == "unknown"


@pytest.mark.parametrize(
    ("micro", "meso", "macro"),
    [
        (GROWTH, RELEASE, GROWTH),
        (GROWTH, REORGANIZATION, GROWTH),
        (GROWTH, GROWTH, CONSERVATION),
        (CONSERVATION, CONSERVATION, UNKNOWN),
        (RELEASE, GROWTH, UNKNOWN),
        (GROWTH, CONSERVATION, REORGANIZATION),
        (REORGANIZATION, REORGANIZATION, UNKNOWN),
        (GROWTH, GROWTH, UNKNOWN),
    ],
)
def test_half_of_a_rule_names_no_regime(micro, meso, macro):
    """Each name needs all the scales it is about."""
    assert Regime.name(micro, meso, macro, 0.99, 0.99) == "normal"


def test_limits_between_regime_names():
    """EWS 0.7 is extended, 0.8 still mature; tail 0.5 a correction; a macro release needs nothing else."""
    bulls = [Regime.name(GROWTH, GROWTH, GROWTH, ews, 0.9) for ews in (0.699, 0.7)]
    tops = [Regime.name(GROWTH, CONSERVATION, CONSERVATION, ews, 0.9) for ews in (0.8, 0.801)]
    falls = [Regime.name(GROWTH, GROWTH, RELEASE, 0.9, tail) for tail in (0.5, 0.501)]
    assert bulls + tops + falls == [
        "normal_bull", "extended_bull", "mature_bull", "critical_top", "correction", "black_swan",
    ]  # fmt: skip
    assert Regime.name(UNKNOWN, REORGANIZATION, REORGANIZATION, 0.9, 0.9) == "accumulation"
    assert np.isnan(turbulence(UNKNOWN, *[float("nan")] * 4))


@pytest.mark.parametrize(
    ("phase", "trust"),
    [(CONSERVATION, 0.9), (GROWTH, 0.8), (RELEASE, 0.7), (REORGANIZATION, 0.6), (UNKNOWN, 0.5)],
)
def test_confidence_is_of_the_phase_and_of_its_changes(phase: int, trust: float) -> None:
    """The table and both weights of agents.md §3; from five changes in 50 bars on the phase alone counts."""
    regime, bar = Regime(), calm(1)
    told = []
    for changes in (0, 2, 5, 9):
        regime.step(bar, np.array([0.5]), phase, changes)
        told.append(regime.confidence)
    assert told == pytest.approx([0.6 + 0.4 * trust, 0.36 + 0.4 * trust, 0.4 * trust, 0.4 * trust])


@pytest.mark.parametrize(("adx", "trend"), [(17.99, 70.0), (18.0, 30.0), (39.99, 30.0), (40.0, 60.0)])
def test_a_trend_is_calmest_between_18_and_40(adx: float, trend: float) -> None:
    """The last term of the score, where nothing else is known."""
    unknown = float("nan")
    assert turbulence(UNKNOWN, unknown, unknown, unknown, adx) == pytest.approx(trend)
