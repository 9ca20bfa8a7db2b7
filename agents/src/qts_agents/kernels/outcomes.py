"""What a forecast is scored against: cost of a trade, the flat band, and the outcome (agents.md §1.3)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import MarketWindow

F8 = NDArray[np.float64]
UP, FLAT, DOWN, UNRESOLVED = 0, 1, 2, 255
CLASSES = ("up", "flat", "down")
BAND_SIGMAS = 0.43  # keeps `flat` near a third on every data set


def costs(window: MarketWindow) -> F8:
    """Return the cost [S] of a round trip, a fraction of price: 2·fee + spread; quotes replace the spread."""
    spread = np.where(np.isfinite(window.spread), window.spread, window.spread_assumed)
    return np.asarray(2.0 * window.fee + spread)


def band(cost: Any, sigma100: Any, h: int) -> F8:
    """Return κ [S] = max(cost, 0.43·σ₁₀₀·√h): moves inside ±κ count as flat."""
    moved = BAND_SIGMAS * np.asarray(sigma100, dtype=np.float64) * np.sqrt(float(h))
    return np.asarray(np.maximum(np.asarray(cost, dtype=np.float64), moved))


def classify(R: Any, kappa: Any) -> NDArray[np.uint8]:
    """Return the outcome [S] of log returns `R`: 0 up, 1 flat, 2 down, 255 where either input is NaN."""
    ret, limit = np.broadcast_arrays(np.asarray(R, dtype=np.float64), np.asarray(kappa, dtype=np.float64))
    outcome = np.where(ret > limit, UP, np.where(ret < -limit, DOWN, FLAT))
    return np.where(np.isfinite(ret) & np.isfinite(limit), outcome, UNRESOLVED).astype(np.uint8)
