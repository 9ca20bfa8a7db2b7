"""Who speaks in the model slot: the circuit only while it beats logistic regression (pure).

One-sided Diebold–Mariano test (1995) at 5 % on the difference of log scores over the last 500 resolved
decisions; the variance is Newey and West's (1987), because horizons overlap. Both forecasts are those made
when the decision was asked for, so neither knew anything of its outcome.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
QUANTILE = 1.6448536269514722  # 95 % of the normal distribution
LAGS = 5  # decisions whose horizons may overlap


def diebold_mariano(gain: F8, lags: int = LAGS) -> float:
    """Return the t statistic of the mean of `gain` [T] with Newey–West variance; 0 without variance."""
    d = gain - gain.mean()
    T = len(gain)
    variance = float(d @ d) / T
    for k in range(1, min(lags, T - 1) + 1):
        variance += 2.0 * (1.0 - k / (lags + 1.0)) * float(d[k:] @ d[:-k]) / T
    return float(gain.mean()) / math.sqrt(variance / T) if variance > 0.0 else 0.0


class Gate:
    """The difference of the two log scores, decision by decision."""

    def __init__(self, outcomes: int) -> None:
        self.gains: deque[float] = deque(maxlen=outcomes)  # ln of circuit's over regression's probability

    def learn(self, regression: F8, circuit: F8) -> None:
        """Take the probabilities [R] that both gave to the outcomes of a decision; NaN rows are left out."""
        both = np.isfinite(regression) & np.isfinite(circuit)
        if both.any():
            self.gains.append(float((np.log(circuit[both]) - np.log(regression[both])).mean()))

    @property
    def statistic(self) -> float:
        """Return the test's t, NaN before the window is full."""
        full = len(self.gains) == self.gains.maxlen
        return diebold_mariano(np.array(self.gains)) if full else math.nan

    @property
    def open(self) -> bool:
        """Tell whether the circuit speaks."""
        return self.statistic > QUANTILE
