"""Antifragility: convexity of a paper profit in volatility (agents.md §1.8; Taleb & Douady 2013)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
LAGS, LEAST = 5, 100


def convexity_t(pnl: F8, sigma: F8, lags: int = LAGS, least: int = LEAST) -> F8:
    """Return the Newey–West (1987) t [S] of β₂ in π = β₀+β₁Δσ+β₂(Δσ)²+ε; NaN below `least` bars.

    `pnl` [S,n] and `sigma` [S,n+1] may begin with NaN (not known yet); such bars are left out.
    """
    change = np.diff(sigma, axis=1)
    return np.array([_row(pnl[s], change[s], lags, least) for s in range(len(pnl))], dtype=np.float64)


def antifragility(t: F8) -> F8:
    """Return AF = ½ + ½·tanh(t/2); NaN stays NaN (masked)."""
    return np.asarray(0.5 + 0.5 * np.tanh(t / 2.0))


def _row(pnl: F8, change: F8, lags: int, least: int) -> float:
    """Return t of one row; 0 where the regressors or the residuals have no variance."""
    known = np.isfinite(pnl) & np.isfinite(change)
    y, x = pnl[known], change[known]
    n = len(y)
    if n < least:
        return float("nan")
    scale = float(np.sqrt((x * x).sum() / n))
    if scale == 0.0:
        return 0.0
    x = x / scale  # the t-statistic does not depend on the unit, the conditioning does
    design = np.stack((np.ones(n), x, x * x), axis=1)
    gram = design.T @ design
    if np.linalg.cond(gram) > 1e12:
        return 0.0
    inverse = np.linalg.inv(gram)
    beta = inverse @ (design.T @ y)
    moment = design * (y - design @ beta)[:, None]
    middle = moment.T @ moment
    for lag in range(1, lags + 1):
        cross = moment[lag:].T @ moment[:-lag]
        middle = middle + (1.0 - lag / (lags + 1.0)) * (cross + cross.T)
    variance = float((inverse @ middle @ inverse)[2, 2])
    return float(beta[2] / np.sqrt(variance)) if variance > 0.0 else 0.0
