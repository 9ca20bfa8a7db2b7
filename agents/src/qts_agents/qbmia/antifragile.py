"""Component antifragile: does following the trend gain from jumps in volatility?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import MarketWindow
from qts_agents.kernels.convexity import convexity_t
from qts_agents.kernels.pool import belief_map
from qts_agents.kernels.rolling import TIE, rolling_moments
from qts_agents.qbmia.game import returns

F8 = NDArray[np.float64]
BARS, SPAN, FULL = 250, 20, 3.0


def trend_profit(window: MarketWindow) -> tuple[F8, F8]:
    """Return the paper profit sign(trendₜ₋₁)·rₜ [S,250] and σ₂₀ [S,251] that ends with the present bar."""
    r = returns(window, BARS + SPAN)
    known = rolling_moments(r, SPAN)
    mean, sigma = known.mean[:, SPAN - 1 :], known.std[:, SPAN - 1 :]
    # a price that came back has no trend; which side rounding leaves it on says nothing. NaN stays NaN
    side = np.where(np.abs(mean) > TIE * sigma, np.sign(mean), 0.0 * sigma)
    return np.asarray(side[:, :-1] * r[:, -BARS:]), sigma


def convexity(window: MarketWindow) -> F8:
    """Return the Newey–West t [S] of the trend profit's curvature in the change of volatility."""
    return convexity_t(*trend_profit(window))


def distribution(trend: F8, t: F8) -> F8:
    """Return x [S,3]: with the trend where it gains from volatility, against it where it loses."""
    return belief_map(trend * np.clip(t / FULL, -1.0, 1.0), np.abs(t) / (np.abs(t) + FULL))
