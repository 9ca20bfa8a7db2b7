"""The model slot: logistic regression on the ten features, learned online from outcomes (pure).

up and down share the even part and have opposite odd parts, which makes the forecast of the mirrored market
the mirrored forecast (what averaging f(x) with the mirrored f(mirror x) gives). A circuit learns beside it
and may take the slot (`circuit`, `gate`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.online import logistic_rows
from qts_agents.quasar.features import NAMES, ODD

F8 = NDArray[np.float64]
SPLIT = len(ODD)
LIMIT = 5.0  # features beyond this count as this
DECAY = 1e-4
LEAST_ROWS = 50  # learned before it speaks


class Logistic:
    """Three outcomes from one weight per feature and a constant."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self.weights: F8 = np.zeros(len(NAMES) + 1)
        self.rows = 0

    @property
    def ready(self) -> bool:
        """Tell whether it has seen enough to speak."""
        return self.rows >= LEAST_ROWS

    def predict(self, features: F8) -> F8:
        """Return x [S,3] (up, flat, down) of features [S,10]; NaN rows stay NaN."""
        odd, even = np.zeros(features.shape[0]), np.full(features.shape[0], self.weights[-1])
        for i in range(features.shape[1]):  # index order, so that a batch adds like a single row
            part = self.weights[i] * np.clip(features[:, i], -LIMIT, LIMIT)
            odd, even = (odd + part, even) if i < SPLIT else (odd, even + part)
        z = np.stack((even + odd, np.zeros_like(odd), even - odd), axis=1)
        raised = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))

    def learn(self, x: F8, y: NDArray[np.int64]) -> None:
        """Take a gradient step on the log score of each outcome `y` [R] for features [R,10], in order."""
        seen = np.clip(x, -LIMIT, LIMIT)
        self.weights = logistic_rows(self.weights, seen, y, SPLIT, self._rate, DECAY)
        self.rows += int(np.isfinite(x).all(axis=1).sum())
