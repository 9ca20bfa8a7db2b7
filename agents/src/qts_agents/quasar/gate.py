"""Who speaks in the model slot: the circuit only while it beats logistic regression (pure).

One-sided Diebold–Mariano test (1995) at 5 % on the difference of log scores over the last 500 resolved
decisions; its error knows how far horizons overlap (`overlap.mean_of`). Both forecasts are those made
when the decision was asked for, so neither knew anything of its outcome.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qts_agents.overlap import mean_of

F8 = NDArray[np.float64]
QUANTILE = 1.6448536269514722  # 95 % of the normal distribution


def diebold_mariano(gain: F8, overlap: float) -> float:
    """Return the t statistic of the mean of `gain` [T], of whose neighbours `overlap` share returns.

    0 without variance, and where T is too short to tell any.
    """
    mean = mean_of(gain, overlap)
    return mean.value / mean.error if mean.error > 0.0 else 0.0


class Gate:
    """The difference of the two log scores, decision by decision."""

    TRANSIENT: ClassVar[dict[str, Any]] = {"overlap": 1.0}  # of the settings, not of what was learned

    def __init__(self, outcomes: int, overlap: float) -> None:
        self.overlap = overlap
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
        return diebold_mariano(np.array(self.gains), self.overlap) if full else math.nan

    @property
    def open(self) -> bool:
        """Tell whether the circuit speaks."""
        return self.statistic > QUANTILE
