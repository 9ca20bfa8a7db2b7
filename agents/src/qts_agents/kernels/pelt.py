"""Change points of mean and variance, all at once and exactly: PELT (Killick, Fearnhead & Eckley 2012).

The segments minimise Σ[n·ln σ² + SS/σ²] + penalty·(segments − 1) with the mean and variance of each; σ² has a
floor, so that a flat stretch costs something finite. A start that cannot become best again is dropped, which
keeps the search linear in the number of change points found. It sees the whole series: a judge afterwards,
nothing to decide by.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel, part

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
FLOOR = 1e-12  # of a segment's variance, as a share of the whole series'


def pelt(x: F8, least: int = 20, penalty: float | None = None) -> I8:
    """Return where new segments begin [K], ascending, in the finite series x [T]; none before `least` values.

    `penalty` of a change point: 3·ln T unless given, the Schwarz criterion for mean, variance and place.
    ValueError when x holds something that is not finite or `least` is below 2.
    """
    series = np.array(x, dtype=np.float64, order="C")
    if series.ndim != 1 or not np.isfinite(series).all() or least < 2:
        raise ValueError("pelt: expected a finite series of one dimension and segments of at least 2 values")
    T = len(series)
    if 2 * least > T:
        return np.empty(0, np.int64)
    spread = float(series.std()) or 1.0
    series = (series - series.mean()) / spread  # sums of squares of what is near 0 lose no digits
    beta = 3.0 * math.log(T) if penalty is None else penalty
    sums = np.zeros((2, T + 1))
    sums[0, 1:], sums[1, 1:] = np.cumsum(series), np.cumsum(series**2)
    last = np.zeros(T + 1, np.int64)
    search = _search if backend.jit_enabled() else search_reference
    search(sums, least, beta, last)
    return _path(last, T)


def _path(last: I8, end: int) -> I8:
    """Return the change points that lead to `end`."""
    found = []
    while last[end] > 0:
        end = int(last[end])
        found.append(end)
    return np.array(found[::-1], np.int64)


@part
def _cost(sums: F8, a: int, b: int) -> float:
    """Return what the segment [a,b) costs: twice its negative log-likelihood but for a constant."""
    n = b - a
    total = sums[0, b] - sums[0, a]
    squares = max(sums[1, b] - sums[1, a] - total * total / n, 0.0)
    variance = max(squares / n, FLOOR)
    return float(n * math.log(variance) + squares / variance)


@kernel
def _search(sums: F8, least: int, penalty: float, last: I8) -> None:
    """Write to `last` [T+1] where the last segment of the best division of the first t values begins.

    A start that is dominated at t is so for every end from t + `least` on, as t must be a start itself.
    """
    T = sums.shape[1] - 1
    best = np.full(T + 1, np.inf)
    best[0] = -penalty
    starts, until = np.zeros(T + 1, np.int64), np.full(T + 1, T + 1)
    count = 1
    for t in range(least, T + 1):
        if t - least >= least:
            starts[count] = t - least
            count += 1
        kept = 0
        for k in range(count):
            s = starts[k]
            if until[s] <= t:
                continue
            starts[kept] = s
            kept += 1
            value = best[s] + _cost(sums, s, t) + penalty
            if value < best[t]:
                best[t], last[t] = value, s
        count = kept
        for k in range(count):
            s = starts[k]
            if until[s] > T and best[s] + _cost(sums, s, t) >= best[t]:
                until[s] = t + least


def search_reference(sums: F8, least: int, penalty: float, last: I8) -> None:
    """Do what `_search` does without dropping anything: optimal partitioning (Jackson et al. 2005)."""
    T = sums.shape[1] - 1
    best = np.full(T + 1, np.inf)
    best[0] = -penalty
    for t in range(least, T + 1):
        s = np.concatenate(([0], np.arange(least, t - least + 1)))
        n, total = t - s, sums[0, t] - sums[0, s]
        squares = np.maximum(sums[1, t] - sums[1, s] - total * total / n, 0.0)
        variance = np.maximum(squares / n, FLOOR)
        value = best[s] + n * np.log(variance) + squares / variance + penalty
        at = int(value.argmin())
        best[t], last[t] = value[at], s[at]
