"""Component antifragile: does following the trend gain from jumps in volatility?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.pool import belief_map
from qts_agents.kernels.trend_convexity import trend_convexity

F8 = NDArray[np.float64]
BARS, SPAN, FULL = 250, 20, 3.0


def convexity(r: F8) -> F8:
    """Return the Newey–West t [S] of the trend profit's curvature in the change of volatility; r [S,≥270]."""
    return trend_convexity(r[:, -(BARS + SPAN) :], SPAN)


def distribution(trend: F8, t: F8) -> F8:
    """Return x [S,3]: with the trend where it gains from volatility, against it where it loses."""
    return belief_map(trend * np.clip(t / FULL, -1.0, 1.0), np.abs(t) / (np.abs(t) + FULL))
