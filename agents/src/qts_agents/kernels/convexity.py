"""Antifragility: convexity of a paper profit in volatility (agents.md §1.8; Taleb & Douady 2013).

The t-statistic needs one element of the sandwich (X'X)⁻¹·M·(X'X)⁻¹, so the compiled form carries the third
row of the inverse into the residuals and sums the autocovariances of one series instead of matrices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.backend import jit_enabled, kernel, part

F8 = NDArray[np.float64]
LAGS, LEAST = 5, 100
SINGULAR = 1e-12  # share of a regressor that the others leave unexplained, below which there is none


def convexity_t(pnl: F8, sigma: F8, lags: int = LAGS, least: int = LEAST) -> F8:
    """Return the Newey–West (1987) t [S] of β₂ in π = β₀+β₁Δσ+β₂(Δσ)²+ε; NaN below `least` bars.

    `pnl` [S,n] and `sigma` [S,n+1] may begin with NaN (not known yet); such bars are left out.
    """
    run, out = _rows if jit_enabled() else rows_reference, np.empty(len(pnl))
    run(np.array(pnl, dtype=np.float64, order="C"), np.diff(sigma, axis=1), lags, least, out)
    return out


def antifragility(t: F8) -> F8:
    """Return AF = ½ + ½·tanh(t/2); NaN stays NaN (masked)."""
    return np.asarray(0.5 + 0.5 * np.tanh(t / 2.0))


@part
def _third_row(x: F8, out: F8) -> bool:
    """Write the third row of (X'X)⁻¹ for X = (1, x, x²), mean x² = 1, by Cholesky; False where singular."""
    n, one, three, four = x.shape[0], 0.0, 0.0, 0.0
    for v in x:
        one += v
        three += v * v * v
        four += v * v * v * v
    # X'X = n·[[1, a, 1], [a, 1, b], [1, b, c]]
    a, b, c = one / n, three / n, four / n
    second = 1.0 - a * a
    if second <= SINGULAR:
        return False
    low = b - a  # element (2,1) of what is left after the first column
    third = c - 1.0 - low * low / second
    if third <= SINGULAR * c:
        return False
    out[2] = 1.0 / (n * third)
    out[1] = -out[2] * low / second
    out[0] = -out[2] - a * out[1]
    return True


@kernel
def _rows(pnl: F8, change: F8, lags: int, least: int, out: F8) -> None:
    """Write t of each row."""
    room = np.empty((3, max(6, pnl.shape[1])))
    for s in range(pnl.shape[0]):
        out[s] = row_part(pnl[s], change[s], lags, least, room)


@part
def row_part(pnl: F8, change: F8, lags: int, least: int, room: F8) -> float:
    """Return t of one row; 0 where the regressors or residuals have no variance. `room` [3,n] is scratch."""
    xs, ys, inverse, total = room[0], room[1], room[2, :3], room[2, 3:6]
    n, square = 0, 0.0
    for i in range(pnl.shape[0]):
        if np.isfinite(pnl[i]) and np.isfinite(change[i]):
            xs[n], ys[n] = change[i], pnl[i]
            square += change[i] * change[i]
            n += 1
    if n < least:
        return np.nan
    if square == 0.0:
        return 0.0
    x, y, scale = xs[:n], ys[:n], np.sqrt(square / n)
    for i in range(n):
        x[i] /= scale  # the t-statistic does not depend on the unit, the conditioning does
    return _statistic(x, y, inverse, lags, total) if _third_row(x, inverse) else 0.0


@part
def _statistic(x: F8, y: F8, row: F8, lags: int, beta: F8) -> float:
    """Return β₂ over its Newey–West error, given the third row of (X'X)⁻¹; overwrites y."""
    n = x.shape[0]
    _fit(x, y, row, beta)
    for i in range(n):
        weight = row[0] + row[1] * x[i] + row[2] * x[i] * x[i]
        y[i] = weight * (y[i] - beta[0] - beta[1] * x[i] - beta[2] * x[i] * x[i])
    variance = 0.0
    for first in range(0, lags + 1, 3):  # three sums side by side: each waits for its own last step alone
        a, b, c = first, first + 1, first + 2
        one, two, three = 0.0, 0.0, 0.0
        for i in range(a, min(c, n)):
            one += y[i] * y[i - a]
            two += y[i] * y[i - b] if i >= b else 0.0
        for i in range(c, n):
            one, two, three = one + y[i] * y[i - a], two + y[i] * y[i - b], three + y[i] * y[i - c]
        variance += _share(a, lags) * one
        if b <= lags:
            variance += _share(b, lags) * two
        if c <= lags:
            variance += _share(c, lags) * three
    return beta[2] / np.sqrt(variance) if variance > 0.0 else 0.0


@part
def _share(lag: int, lags: int) -> float:
    """Return how much of an autocovariance counts (Bartlett), both ways."""
    return 1.0 if lag == 0 else 2.0 * (1.0 - lag / (lags + 1.0))


@part
def _fit(x: F8, y: F8, row: F8, beta: F8) -> None:
    """Write the coefficients of y on (1, x, x²): the third by `row`, then those of what it leaves."""
    n, mean_x, mean_y = x.shape[0], 0.0, 0.0
    third = 0.0  # not in its place: that would be written and read again at each step
    for i in range(n):
        third += (row[0] + row[1] * x[i] + row[2] * x[i] * x[i]) * y[i]
    beta[2] = third
    for i in range(n):
        mean_x += x[i] / n
        mean_y += (y[i] - third * x[i] * x[i]) / n
    top, bottom = 0.0, 0.0
    for i in range(n):
        top += (x[i] - mean_x) * (y[i] - third * x[i] * x[i] - mean_y)
        bottom += (x[i] - mean_x) * (x[i] - mean_x)
    beta[1] = top / bottom
    beta[0] = mean_y - beta[1] * mean_x


def rows_reference(pnl: F8, change: F8, lags: int, least: int, out: F8) -> None:
    """Write t of each row by LAPACK and whole matrices."""
    for s in range(len(pnl)):
        out[s] = _row(pnl[s], change[s], lags, least)


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
