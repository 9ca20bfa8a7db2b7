"""The regime monitor: indicators of the adaptive cycle, and when QBMIA proposes that the phase has changed.

PADS alone holds the phase; a proposal is advice with its evidence (agents.md §2.9, §4).
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.pool import LN2, js

F8 = NDArray[np.float64]
HOLD_FOR = 3  # evaluations
MESO = 5  # bars
COOLDOWN, CRISIS_COOLDOWN = 10 * MESO, MESO  # bars after a proposal
CRISIS_EDGE = 0.7
SIGNALS, LOOKBACK = 10, 50
GROWTH, CONSERVATION, RELEASE, REORGANIZATION = "growth", "conservation", "release", "reorganization"


class Reading(msgspec.Struct, frozen=True):
    """The five indicators, each in [0,1]."""

    resource: float
    connectedness: float
    stability: float
    innovation: float
    crisis: float


def stability(signals: list[float]) -> float:
    """Return 1 − min(1, 10·variance) of the last 10 signals; 1 with fewer than two."""
    last = signals[-SIGNALS:]
    return 1.0 if len(last) < 2 else 1.0 - min(1.0, 10.0 * float(np.var(last, ddof=1)))


def innovation(now: F8, before: F8 | None) -> float:
    """Return the Jensen–Shannon divergence of two strategies in bits; 0 while there is no earlier one."""
    return 0.0 if before is None else float(js(now, before)) / LN2


def crisis(meso: float, manipulation: float, psi: float) -> float:
    """Return the meso crisis raised by manipulation and by live alerts."""
    return float(np.clip(meso + 0.2 * manipulation + (1.0 - psi), 0.0, 1.0))


def target(phase: str, reading: Reading) -> str | None:
    """Return the phase that the first matching rule leads to from `phase`, None without one."""
    r = reading
    if r.crisis > CRISIS_EDGE and phase != RELEASE:
        return RELEASE
    if phase == GROWTH and r.connectedness > 0.7 and r.resource > 0.6:
        return CONSERVATION
    if phase == CONSERVATION and (r.crisis > 0.5 or r.resource < 0.3 or r.stability < 0.4):
        return RELEASE
    if phase == RELEASE and r.crisis < 0.3 and r.connectedness < 0.4:
        return REORGANIZATION
    if phase == REORGANIZATION and r.innovation > 0.5 and r.resource > 0.4:
        return GROWTH
    return None


class Monitor(msgspec.Struct):
    """What the monitor remembers between evaluations."""

    candidate: str = ""
    held: int = 0
    evaluated: int = -1  # bar of the last evaluation
    quiet_until: int = -1  # bar
    outstanding: str = ""  # id of the proposal PADS has not answered
    asked: int = -1  # bar of that proposal

    def due(self, bar: int, seen: int) -> bool:
        """Tell whether evidence of bar `seen` is new, at most 2 bars old, and a meso bar after the last."""
        return 0 <= bar - seen <= 2 and seen - self.evaluated >= (MESO if self.evaluated >= 0 else 0)

    def step(self, phase: str, reading: Reading, bar: int) -> str | None:
        """Take one evaluation at `bar`; return the phase to propose, if any."""
        self.evaluated = bar
        wanted = target(phase, reading) or ""
        self.held = self.held + 1 if wanted and wanted == self.candidate else int(bool(wanted))
        self.candidate = wanted
        if self.outstanding and bar - self.asked >= COOLDOWN:
            self.outstanding = ""  # the answer was lost
        if not wanted or self.held < HOLD_FOR or self.outstanding or bar < self.quiet_until:
            return None
        self.held = 0
        self.asked = bar
        self.quiet_until = bar + (CRISIS_COOLDOWN if reading.crisis > CRISIS_EDGE else COOLDOWN)
        return wanted

    def answered(self, transition_id: str) -> None:
        """Take PADS' rejection of a proposal, or any announcement (empty id): the way is free again."""
        if not transition_id or transition_id == self.outstanding:
            self.outstanding = ""
