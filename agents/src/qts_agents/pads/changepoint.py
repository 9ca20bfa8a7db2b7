"""Baseline: Bayesian online change points (Adams & MacKay 2007) on returns.

Normal returns of unknown mean and variance (normal-gamma prior), a constant hazard of a change; the
probability of each run length is updated a bar at a time, those beyond the longest kept are joined in it.
"""

from __future__ import annotations

import math

import numpy as np

from qts_agents.agent import F8

LONGEST = 500  # run lengths kept
RECENT = 5  # bars: a run this short means that a change has just been
WARM = 100  # returns that set the scale
#: ln Γ(α+½) − ln Γ(α) with α = 1 + n/2 after n returns
_GAMMAS: F8 = np.array([math.lgamma(1.5 + 0.5 * n) - math.lgamma(1.0 + 0.5 * n) for n in range(LONGEST + 1)])
# what depends on the run length alone, taken once: these arrays are most of a bar of one symbol
_KAPPA: F8 = 1.0 + np.arange(LONGEST + 1, dtype=np.float64)
_ALPHA: F8 = 1.0 + 0.5 * np.arange(LONGEST + 1, dtype=np.float64)
_NEXT, _WEIGHT, _FREEDOM = _KAPPA + 1.0, _ALPHA * _KAPPA, 2.0 * _ALPHA
_CIRCLE, _POWER, _STEP = _FREEDOM * math.pi, 0.5 * (_FREEDOM + 1.0), 0.5 * _KAPPA / _NEXT


class ChangePoints:
    """Run-length probabilities of one series."""

    def __init__(self, hazard: float) -> None:
        self._hazard = 1.0 / hazard  # expected bars between changes → probability a bar
        self._first: list[float] = []
        self._scale = 0.0
        self.run = np.ones(1)  # probability of run length 0, 1, …
        self._mean, self._spread = np.zeros(1), np.ones(1)  # posterior mean, β

    def step(self, ret: float) -> None:
        """Take a return; the first 100 only set the scale, a missing one is left out."""
        if not math.isfinite(ret):
            return
        if len(self._first) < WARM:
            self._first.append(ret)
            self._scale = float(np.std(self._first)) or 1.0
            return
        x = ret / self._scale
        n = len(self.run)
        away = (x - self._mean) ** 2
        predicted = self._predicted(away)
        grown = self.run * predicted * (1.0 - self._hazard)
        changed = float((self.run * predicted).sum()) * self._hazard
        spread = self._spread + _STEP[:n] * away
        mean = (_KAPPA[:n] * self._mean + x) / _NEXT[:n]
        run = np.concatenate(([changed], grown))
        self._mean, self._spread = np.concatenate(([0.0], mean)), np.concatenate(([1.0], spread))
        if len(run) > LONGEST:
            run[-2] += run[-1]
            run, self._mean, self._spread = run[:-1], self._mean[:-1], self._spread[:-1]
        self.run = run / run.sum()

    def _predicted(self, away: F8) -> F8:
        """Return the Student t density of a return whose square distances from the means are `away`."""
        n = len(away)
        scale = self._spread * _NEXT[:n] / _WEIGHT[:n]
        logs = _GAMMAS[:n] - 0.5 * np.log(_CIRCLE[:n] * scale)
        logs -= _POWER[:n] * np.log1p(away / (_FREEDOM[:n] * scale))
        return np.asarray(np.exp(logs))

    @property
    def recent(self) -> float:
        """Return the probability that the last change is under 5 bars ago, NaN before the scale is set."""
        return float(self.run[:RECENT].sum()) if len(self._first) >= WARM else math.nan

    @property
    def length(self) -> float:
        """Return the expected run length in bars, NaN before the scale is set."""
        return float(self.run @ np.arange(len(self.run))) if len(self._first) >= WARM else math.nan
