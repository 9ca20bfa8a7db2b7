"""Learning: belief weights by normalised LMS on the simplex, desire by what came of it (pure)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
REGULAR = 0.1  # keeps the step finite where beliefs are small


def simplex(v: F8) -> F8:
    """Return the point of the probability simplex nearest to `v` [N] (Duchi et al. 2008)."""
    falling = np.sort(v)[::-1]
    excess = np.cumsum(falling) - 1.0
    support = int(np.nonzero(falling * np.arange(1, v.shape[0] + 1) > excess)[0][-1])
    return np.asarray(np.maximum(v - excess[support] / (support + 1), 0.0))


def surprise(ret: float, sigma_h: float, B: float) -> float:
    """Return e = tanh(R/(σ₁₀₀√h)) − B; a return without variance counts as 0."""
    return math.tanh(ret / sigma_h if sigma_h > 0.0 else 0.0) - B


def nlms(w: F8, b: F8, e: float, rate: float) -> F8:
    """Return the weights [N] after one normalised LMS step (Nagumo & Noda 1967), back on the simplex."""
    return simplex(w + rate * e * b / (REGULAR + float(b @ b)))


def clip(value: float, limit: float) -> float:
    """Return `value` within ±`limit`."""
    return max(-limit, min(limit, value))
