"""Sums of short rows in numpy's order, so that compiled and plain forms agree to the last bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.backend import part

F8 = NDArray[np.float64]
LANES = 8


@part
def summed(x: F8) -> float:
    """Return the sum of up to 128 values as numpy adds them."""
    n, whole = x.shape[0], x.shape[0] - x.shape[0] % LANES
    if n < LANES:
        total = 0.0
        for v in x:
            total += v
        return total
    a, b, c, d, e, f, g, h = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
    for i in range(LANES, whole, LANES):
        a, b, c, d = a + x[i], b + x[i + 1], c + x[i + 2], d + x[i + 3]
        e, f, g, h = e + x[i + 4], f + x[i + 5], g + x[i + 6], h + x[i + 7]
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for i in range(whole, n):
        total += x[i]
    return float(total)
