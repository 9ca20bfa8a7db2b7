"""Causal rolling statistics over [S,T] arrays: two passes per window, sums in index order.

Every output depends only on its own window, so deleting later bars changes nothing. Outputs are NaN
before a window is full and wherever it holds a NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.backend import jit_enabled, kernel

F8 = NDArray[np.float64]
#: standard deviations of log returns at or below this are rounding noise of float64 and count as 0
SIGMA_FLOOR = 1e-9
#: values that differ by less than this share of themselves are ties: equal windows in another order
TIE = 1e-9


def rolling_mean(x: Any, n: int) -> F8:
    """Return the mean [S,T] of the last `n` values."""
    values = _rows(x)
    if jit_enabled():
        return _moments_kernel(values, n, SIGMA_FLOOR)[0]
    return _filled(values, n, _windows(values, n).mean(axis=2))


def rolling_std(x: Any, n: int, floor: float = SIGMA_FLOOR) -> F8:
    """Return the sample standard deviation [S,T] (divisor n−1); 0 at or below `floor`."""
    values = _rows(x)
    if jit_enabled():
        return _moments_kernel(values, n, floor)[1]
    std = _windows(values, n).std(axis=2, ddof=1)
    return _filled(values, n, np.where(std <= floor, 0.0, std))


def rolling_rho(x: Any, n: int, floor: float = SIGMA_FLOOR) -> F8:
    """Return the lag-1 autocorrelation [S,T] (Box–Jenkins); 0 where the deviation is at or below `floor`."""
    values = _rows(x)
    if jit_enabled():
        return _moments_kernel(values, n, floor)[2]
    windows = _windows(values, n)
    centred = windows - windows.mean(axis=2, keepdims=True)
    square = (centred**2).sum(axis=2)
    lagged = (centred[:, :, 1:] * centred[:, :, :-1]).sum(axis=2)
    quiet = np.sqrt(square / (n - 1)) <= floor
    rho = np.divide(lagged, square, out=np.zeros_like(lagged), where=~quiet)
    return _filled(values, n, rho)


def rolling_rank(x: Any, n: int, tie: float = TIE, tie_absolute: float = 0.0) -> F8:
    """Return the causal mid-rank [S,T] in (0,1] of each value among the last `n` including itself.

    Values within `tie`·|x| or `tie_absolute` of the newest count as equal to it; both 0 ranks exactly.
    """
    values = _rows(x)
    if jit_enabled():
        return _rank_kernel(values, n, tie, tie_absolute)
    windows = _windows(values, n)
    newest = windows[:, :, -1:]
    margin = np.maximum(tie * np.abs(newest), tie_absolute)
    less, more = windows < newest - margin, windows > newest + margin
    rank = (less.sum(axis=2) + 0.5 * (n - less.sum(axis=2) - more.sum(axis=2))) / n
    return _filled(values, n, np.where(np.isnan(windows).any(axis=2), np.nan, rank))


@kernel
def _moments_kernel(x: F8, n: int, floor: float) -> tuple[F8, F8, F8]:
    S, T = x.shape
    mean, std, rho = np.full((S, T), np.nan), np.full((S, T), np.nan), np.full((S, T), np.nan)
    # the inner loops run over windows, which the compiler vectorises; each sum stays in index order
    for s in range(S):
        row, m, square, lagged = x[s], mean[s], std[s], rho[s]
        for t in range(n - 1, T):
            m[t], square[t], lagged[t] = 0.0, 0.0, 0.0
        for j in range(n):
            for t in range(n - 1, T):
                m[t] += row[t - n + 1 + j]
        for t in range(n - 1, T):
            m[t] /= n
        for j in range(n):
            for t in range(n - 1, T):
                d = row[t - n + 1 + j] - m[t]
                square[t] += d * d
                if j > 0:
                    lagged[t] += d * (row[t - n + j] - m[t])
        for t in range(n - 1, T):
            sigma = np.sqrt(square[t] / (n - 1))
            lagged[t] = 0.0 if sigma <= floor else lagged[t] / square[t]
            square[t] = 0.0 if sigma <= floor else sigma
    return mean, std, rho


@kernel
def _rank_kernel(x: F8, n: int, tie: float, tie_absolute: float) -> F8:
    S, T = x.shape
    out = np.full((S, T), np.nan)
    for s in range(S):
        for t in range(n - 1, T):
            newest = x[s, t]
            margin = max(tie * abs(newest), tie_absolute)
            less, more, missing = 0, 0, 0
            for i in range(t - n + 1, t + 1):
                less += x[s, i] < newest - margin
                more += x[s, i] > newest + margin
                missing += np.isnan(x[s, i])
            if missing == 0:
                out[s, t] = (less + 0.5 * (n - less - more)) / n
    return out


def warm_up() -> None:
    """Compile what serving calls."""
    if jit_enabled():
        zeros = np.zeros((1, 3))
        rolling_rho(zeros, 2)
        rolling_rank(zeros, 2)


def _rows(x: Any) -> F8:
    """Return `x` as writable C-ordered float64 [S,T]: one layout is one compiled signature."""
    return np.require(np.atleast_2d(x), dtype=np.float64, requirements=["C", "W"])


def _windows(x: F8, n: int) -> F8:
    """Return all full windows [S,T−n+1,n]; none when T < n."""
    if x.shape[1] < n:
        return np.empty((x.shape[0], 0, n))
    return np.lib.stride_tricks.sliding_window_view(x, n, axis=1)


def _filled(x: F8, n: int, values: Any) -> F8:
    """Return `values` [S,T−n+1] behind n−1 columns of NaN."""
    out = np.full(x.shape, np.nan)
    if x.shape[1] >= n:
        out[:, n - 1 :] = values
    return out
