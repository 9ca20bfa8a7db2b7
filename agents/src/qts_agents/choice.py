"""Array functions that the board calls dozens of times a round, without numpy's generality (pure).

`numpy.select` and `numpy.nan_to_num` cost ten times as much on the few symbols that most systems have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def first_of(conditions: Sequence[Any], values: Sequence[Any], otherwise: Any) -> NDArray[Any]:
    """Return by element the value of the first condition that holds, `otherwise` where none does."""
    out = np.asarray(otherwise)
    for met, value in zip(reversed(conditions), reversed(values), strict=True):
        out = np.where(met, value, out)
    return out


def known_or_zero(x: Any) -> NDArray[np.float64]:
    """Return `x` with 0 for NaN."""
    return np.where(np.isnan(x), 0.0, x)


def clipped(x: Any, low: float, high: float) -> NDArray[np.float64]:
    """Return `x` between `low` and `high`, neither of them 0, whose sign might change; NaN stays NaN."""
    return np.asarray(np.minimum(np.maximum(x, low), high))


def mean(values: NDArray[np.float64]) -> float:
    """Return the mean over symbols that are known, NaN without any."""
    if len(values) == 1:  # asked a dozen times a bar, and most systems have one symbol
        only = float(values[0])
        return only if math.isfinite(only) else math.nan
    known = np.isfinite(values)
    return float(values[known].mean()) if known.any() else math.nan
