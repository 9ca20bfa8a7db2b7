"""The ablation "phases off" is a board without phases, whoever proposes one."""

from __future__ import annotations

from tests.unit.agents.evaluation.stages import settings, source

from qts_agents.evaluation.ablations import without_phases
from qts_agents.evaluation.track import play
from qts_agents.market.datasets import load_dataset
from qts_messaging.messages import PHASES

UNKNOWN = PHASES[-1]


def test_no_phase_is_held_without_phases() -> None:
    """Daily bars of the S&P 500 with and without: in the last ones QBMIA announces release of itself."""
    system, bars = settings(pads={"surrogates": 19}), load_dataset("sp500_1d").part(700, 2500)
    assert set(play(system, source=source(bars, 1500)).phase) > {UNKNOWN}
    assert set(play(without_phases(system), source=source(bars, 1500)).phase) == {UNKNOWN}
