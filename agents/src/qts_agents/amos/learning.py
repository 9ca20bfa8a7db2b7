"""What an outcome teaches beside the belief weights (`kernels.online`): surprise and desire (pure)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]


def surprise(ret: F8, sigma_h: F8, B: F8) -> F8:
    """Return e = tanh(R/(σ₁₀₀√h)) − B of each row; a return without variance counts as 0."""
    scaled = np.divide(ret, sigma_h, out=np.zeros_like(ret), where=sigma_h > 0.0)
    return np.asarray(np.tanh(scaled) - B)


def clip(value: float, limit: float) -> float:
    """Return `value` within ±`limit`."""
    return max(-limit, min(limit, value))
