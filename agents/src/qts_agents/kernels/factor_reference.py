"""Sentiment, correlation and cycle in plain numpy: what the compiled rows must equal (agents.md §5)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.factor_rows import CYCLE_BARS, MIN_PAIRS, PAIRS, SENTIMENT_BARS, SIGNIFICANCE
from qts_agents.kernels.rolling import SIGMA_FLOOR, TIE

F8 = NDArray[np.float64]
U1 = NDArray[np.uint8]


def reference_rows(c: F8, v: F8, valid: U1, market: F8, sigma20: F8, out: F8) -> None:
    """Write sentiment, correlation and cycle of every row to `out` [S,3]; NaN = absent."""
    for s in range(c.shape[0]):
        seen = valid[s] != 0
        if not np.isfinite(sigma20[s]):
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            r = np.where(seen[1:] & seen[:-1], np.diff(np.log(c[s])), np.nan)
        out[s, 0] = _sentiment(r[-SENTIMENT_BARS:], v[s, -SENTIMENT_BARS:], float(sigma20[s]))
        out[s, 1] = _correlation(r[-PAIRS:], market[-PAIRS - 1 : -1], float(market[-1]))
        if seen[-CYCLE_BARS:].all():
            out[s, 2] = _cycle(np.log(c[s, -CYCLE_BARS:] / c[s, -1]))


def _sentiment(r: F8, v: F8, sigma: float) -> float:
    """Return the volume-weighted bulk classification of 20 returns."""
    here = np.isfinite(r)
    r, v = r[here], v[here]
    if not (np.isfinite(v) & (v >= 0.0)).all() or v.sum() <= 0.0:
        return float("nan")
    if sigma <= 0.0:
        return 0.0
    side = np.array([math.erf(x / (sigma * math.sqrt(2.0))) for x in r])
    return float((v * side).sum() / v.sum())


def _correlation(r: F8, market: F8, last: float) -> float:
    """Return the lagged correlation with the market times the market's last move."""
    here = np.isfinite(r) & np.isfinite(market)
    x, y = r[here], market[here]
    if x.size < MIN_PAIRS or not math.isfinite(last):
        return float("nan")
    if x.std(ddof=1) <= SIGMA_FLOOR or y.std(ddof=1) <= SIGMA_FLOOR:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1] * np.tanh(last / y.std(ddof=1)))


def _cycle(y: F8) -> float:
    """Return the side and power share of the strongest significant sinusoid."""
    n, t = CYCLE_BARS, np.arange(CYCLE_BARS)
    y = y - np.polyval(np.polyfit(t, y, 1), t)
    square = float((y * y).sum())
    if math.sqrt(square / (n - 1)) <= SIGMA_FLOOR:
        return 0.0
    spectrum = np.fft.rfft(y)[1:]
    power = np.abs(spectrum) ** 2
    best = int(np.flatnonzero(power >= power.max() / (1.0 + TIE))[0])
    omega, rho = 2.0 * np.pi * (best + 1) / n, float((y[1:] * y[:-1]).sum()) / square
    level = (1.0 - rho**2) / (1.0 + rho**2 - 2.0 * rho * math.cos(omega))
    if power[best] / square <= level * SIGNIFICANCE:
        return 0.0
    step = float((spectrum[best] * (1.0 - np.exp(-1j * omega))).real)
    side = 0.0 if abs(step) <= TIE * math.sqrt(power[best]) else float(np.sign(step))
    return float(side * power[best] / power.sum())
