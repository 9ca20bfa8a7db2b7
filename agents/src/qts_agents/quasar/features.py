"""The ten causal features of QUASAR (agents.md §5): eight change sign with the market, two do not (pure)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.indicators import Indicators
from qts_agents.quasar import states

F8 = NDArray[np.float64]

ODD = ("return", "return_5", "return_10", "trend", "momentum", "sma_gap", "rsi", "macd")
EVEN = ("volatility", "adx")
NAMES = ODD + EVEN


def features(ind: Indicators) -> F8:
    """Return [S,10] in the order of `NAMES`; ratios without variance are 0, broken rows NaN."""
    sigma = ind.sigma20
    columns = (
        _over(ind.r, sigma),
        _over(ind.m5 * math.sqrt(5.0), sigma),
        _over(ind.m10 * math.sqrt(10.0), sigma),
        ind.trend,
        ind.momentum,
        _over(ind.sma_gap, sigma),
        ind.rsi / 50.0 - 1.0,
        ind.macd,
        ind.volatility,
        ind.adx / 100.0,
    )
    return np.stack(columns, axis=1)


def market_code(ind: Indicators) -> NDArray[np.int64]:
    """Return the market code [S] of the state, −1 for a broken row."""
    return states.codes(ind.trend, ind.momentum, ind.rsi / 50.0 - 1.0, ind.volatility)


def _over(value: F8, sigma: F8) -> F8:
    """Return value/σ, 0 where σ is 0, NaN where either is NaN."""
    ratio = np.divide(value, sigma, out=np.zeros_like(value), where=sigma > 0.0)
    return np.where(np.isfinite(value) & np.isfinite(sigma), ratio, np.nan)
