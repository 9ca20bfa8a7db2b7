"""Sentiment, correlation and cycle of each symbol, compiled (definitions: agents.md §5); NaN = absent."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.backend import kernel, part
from qts_agents.kernels.rolling import SIGMA_FLOOR, TIE

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
U1 = NDArray[np.uint8]
SENTIMENT_BARS, PAIRS, CYCLE_BARS = 20, 100, 64
MIN_PAIRS = 50
SIGNIFICANCE = -math.log(0.05)  # 95 % point of chi-squared with 2 degrees of freedom, halved
_COS: F8 = np.cos(2.0 * np.pi * np.arange(CYCLE_BARS) / CYCLE_BARS)
_SIN: F8 = np.sin(2.0 * np.pi * np.arange(CYCLE_BARS) / CYCLE_BARS)
CYCLES = CYCLE_BARS // 2  # whole ones in 64 bars
_TURN: I8 = np.arange(CYCLE_BARS)[:, None] * np.arange(1, CYCLES + 1) % CYCLE_BARS
_WAVES: F8 = np.stack((_COS[_TURN], _SIN[_TURN]), axis=1)  # [bar, cosine or sine, cycles − 1]


@part
def sentiment_of(c: F8, v: F8, valid: U1, sigma: float) -> float:
    """Return the volume-weighted mean of 2Φ(r/σ)−1 over 20 bars (Easley et al. 2012); NaN without volume."""
    total, weight = 0.0, 0.0
    for t in range(c.size - SENTIMENT_BARS, c.size):
        if valid[t] == 0 or valid[t - 1] == 0:
            continue
        if not (np.isfinite(v[t]) and v[t] >= 0.0):
            return np.nan
        weight += v[t]
        if sigma > 0.0:
            total += v[t] * math.erf(np.log(c[t] / c[t - 1]) / (sigma * np.sqrt(2.0)))
    return total / weight if weight > 0.0 else np.nan


@part
def correlation_of(c: F8, valid: U1, market: F8) -> float:
    """Return corr(r, market a bar earlier; 100 bars)·tanh(last market return/σ); NaN under 50 pairs."""
    count, mx, my = 0, 0.0, 0.0
    x, y = np.empty(PAIRS), np.empty(PAIRS)
    for t in range(c.size - PAIRS, c.size):
        if valid[t] != 0 and valid[t - 1] != 0 and np.isfinite(market[t - 1]):
            x[count], y[count] = np.log(c[t] / c[t - 1]), market[t - 1]
            mx, my, count = mx + x[count], my + y[count], count + 1
    if count < MIN_PAIRS or not np.isfinite(market[market.size - 1]):
        return np.nan
    mx, my, xx, yy, xy = mx / count, my / count, 0.0, 0.0, 0.0
    for i in range(count):
        xx += (x[i] - mx) ** 2
        yy += (y[i] - my) ** 2
        xy += (x[i] - mx) * (y[i] - my)
    sx, sy = np.sqrt(xx / (count - 1)), np.sqrt(yy / (count - 1))
    if sx <= SIGMA_FLOOR or sy <= SIGMA_FLOOR:
        return 0.0
    return float(xy / np.sqrt(xx * yy) * np.tanh(market[market.size - 1] / sy))


@part
def detrended(c: F8, valid: U1, y: F8) -> bool:
    """Write the last 64 log prices less their least-squares line to `y`; False if one is missing."""
    n, first = CYCLE_BARS, c.size - CYCLE_BARS
    mean, slope, norm = 0.0, 0.0, 0.0
    for i in range(n):
        if valid[first + i] == 0:
            return False
        y[i] = np.log(c[first + i] / c[c.size - 1])
        mean += y[i] / n
    for i in range(n):
        slope += (i - 0.5 * (n - 1)) * (y[i] - mean)
        norm += (i - 0.5 * (n - 1)) ** 2
    for i in range(n):
        y[i] -= mean + slope / norm * (i - 0.5 * (n - 1))
    return True


@part
def cycle_of(y: F8, waves: F8) -> float:
    """Return the side of the strongest sinusoid's next step times its share of power; `waves` [2,32] is room.

    0 unless it exceeds the 95 % level of AR(1) red noise (Torrence & Compo 1998).
    """
    n, square, lagged = CYCLE_BARS, 0.0, 0.0
    for i in range(n):
        square += y[i] * y[i]
        if i > 0:
            lagged += y[i] * y[i - 1]
    if np.sqrt(square / (n - 1)) <= SIGMA_FLOOR:
        return 0.0
    best, top, re, im, total = 0, 0.0, 0.0, 0.0, 0.0
    waves[:] = 0.0
    for i in range(n):  # all frequencies side by side, each in the order of the bars
        for k in range(CYCLES):
            waves[0, k] += y[i] * _WAVES[i, 0, k]
            waves[1, k] -= y[i] * _WAVES[i, 1, k]
    for k in range(1, CYCLES + 1):
        a, b = waves[0, k - 1], waves[1, k - 1]
        power = a * a + b * b
        total += power
        if power > top * (1.0 + TIE):
            best, top, re, im = k, power, a, b
    rho = lagged / square
    level = (1.0 - rho * rho) / (1.0 + rho * rho - 2.0 * rho * _COS[best])
    if top / square <= level * SIGNIFICANCE:
        return 0.0
    # the step from bar n−1 to bar n (which repeats bar 0) of Re X·exp(iωt)
    step = re * (1.0 - _COS[best]) - im * _SIN[best]
    return 0.0 if abs(step) <= TIE * np.sqrt(top) else np.sign(step) * top / total


@kernel
def factor_rows(c: F8, v: F8, valid: U1, market: F8, sigma20: F8, out: F8) -> None:
    """Write sentiment, correlation and cycle of every row to `out` [S,3]."""
    y, waves = np.empty(CYCLE_BARS), np.empty((2, CYCLES))
    for s in range(c.shape[0]):
        if not np.isfinite(sigma20[s]):
            continue
        out[s, 0] = sentiment_of(c[s], v[s], valid[s], sigma20[s])
        out[s, 1] = correlation_of(c[s], valid[s], market)
        if detrended(c[s], valid[s], y):
            out[s, 2] = cycle_of(y, waves)
