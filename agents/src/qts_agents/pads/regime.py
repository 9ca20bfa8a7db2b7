"""How turbulent it is, from 0 to 100, and the regime's name (agents.md §3; pure)."""

from __future__ import annotations

import math

from qts_agents.agent import F8
from qts_agents.choice import mean
from qts_agents.kernels.indicators import Indicators
from qts_agents.pads.tables import CONSERVATION, GROWTH, RELEASE, REORGANIZATION, UNKNOWN
from qts_agents.pads.veto import fragility

SPAN = 5
PHASE_TURBULENCE: dict[int, float] = {RELEASE: 90.0, REORGANIZATION: 75.0, CONSERVATION: 50.0, GROWTH: 25.0}
PHASE_TRUST: dict[int, float] = {
    CONSERVATION: 0.9,
    GROWTH: 0.8,
    RELEASE: 0.7,
    REORGANIZATION: 0.6,
    UNKNOWN: 0.5,
}


def turbulence(phase: int, ews: float, volatility: float, fragile: float, adx: float) -> float:
    """Return the regime score before smoothing; masked (NaN) terms are renormalised, NaN without any."""
    trend = 70.0 if adx < 18.0 else 30.0 if adx < 40.0 else 60.0
    terms = (
        (0.30, PHASE_TURBULENCE.get(phase, math.nan)),
        (0.25, 100.0 * ews),
        (0.25, 100.0 * volatility),
        (0.10, 100.0 * fragile),
        (0.10, trend if math.isfinite(adx) else math.nan),
    )
    known = [(weight, value) for weight, value in terms if math.isfinite(value)]
    total = sum(weight for weight, _ in known)
    return sum(weight * value for weight, value in known) / total if total > 0.0 else math.nan


class Regime:
    """The smoothed score, and how far to trust the held phase."""

    def __init__(self) -> None:
        self.score = math.nan
        self.confidence = 0.0

    def step(self, ind: Indicators, af: F8, phase: int, changes: int) -> None:
        """Take one bar."""
        raw = turbulence(
            phase,
            mean(ind.ews),
            mean(ind.volatility),
            mean(fragility(af, ind.volatility)),
            mean(ind.adx),
        )
        if math.isfinite(raw):
            alpha = 2.0 / (SPAN + 1.0)
            self.score = raw if math.isnan(self.score) else self.score + alpha * (raw - self.score)
        self.confidence = 0.6 * (1.0 - min(1.0, changes / 5.0)) + 0.4 * PHASE_TRUST[phase]

    @staticmethod
    def name(micro: int, meso: int, macro: int, ews: float, tail: float) -> str:
        """Return the regime's name, first match."""
        if macro == GROWTH and meso in (GROWTH, CONSERVATION):
            return "normal_bull" if ews < 0.7 else "extended_bull"
        if macro == CONSERVATION and meso == CONSERVATION:
            return "critical_top" if ews > 0.8 else "mature_bull"
        if macro == RELEASE or (meso == RELEASE and micro == RELEASE):
            return "black_swan" if tail > 0.5 else "correction"
        if macro == REORGANIZATION and meso in (REORGANIZATION, GROWTH):
            return "accumulation"
        return "normal"
