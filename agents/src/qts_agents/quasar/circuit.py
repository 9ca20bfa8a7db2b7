"""The re-uploading circuit as a classifier of outcomes: weights that learn by gradient descent (pure).

It is a function of some fifty numbers, computed on a CPU (`kernels.reupload`); it speaks only where it has
beaten logistic regression (`gate`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import philox, reupload
from qts_agents.quasar.features import NAMES, ODD

F8 = NDArray[np.float64]
LAYERS = 3
PURPOSE_START = 2
MIRROR: F8 = np.array([-1.0] * len(ODD) + [1.0] * (len(NAMES) - len(ODD)))


class Reuploading:
    """The circuit with its weights; learns by gradient descent on the log score."""

    def __init__(self, qubits: int, rate: float, key: philox.Key) -> None:
        self.qubits, self._rate = qubits, rate
        self.rows = 0
        start = philox.normals(key, LAYERS * qubits * 2 * 2, PURPOSE_START, 0)
        self.weights: F8 = 0.5 * start.reshape(LAYERS, qubits, 2, 2)  # slope and constant of RY and RZ

    def predict(self, features: F8) -> F8:
        """Return x [S,3] of features [S,10]; NaN rows stay NaN."""
        return reupload.forecast(features, MIRROR, self.weights)

    def learn(self, features: F8, y: NDArray[np.int64]) -> None:
        """Take one gradient step on the mean log score of outcomes `y` [R] for features [R,10]."""
        known = np.isfinite(features).all(axis=1)
        if not known.any():
            return
        self.weights = self.weights - self._rate * self.gradient(features[known], y[known])
        self.rows += int(known.sum())

    def gradient(self, x: F8, y: NDArray[np.int64]) -> F8:
        """Return the gradient of the mean of −ln p[y] in the weights."""
        return reupload.gradient(x, y, MIRROR, self.weights)
