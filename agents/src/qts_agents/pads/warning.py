"""Early warning with its uncertainty: is a rise of variance or autocorrelation more than chance? (pure)

Kendall's τ of the rolling statistic against time is compared with its τ in surrogates that have the series'
power spectrum and random phases (Theiler et al. 1992): linear noise with the same memory. Critical slowing
down (Scheffer et al. 2009) is weak in markets (Guttal et al. 2016; Diks, Hommes & Wang 2019), so an alarm
without a small p-value says little, and one with it is still no prediction.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from qts_agents.agent import F8
from qts_agents.kernels import philox

SPAN = 50  # returns of the rolling statistics
LEAST = 150  # returns without which no τ is worth testing
ALARM = 0.9  # EWS above which an alarm begins
PURPOSE = 3


class Trend(msgspec.Struct, frozen=True):
    """p-values of the rise of each statistic; NaN when the series is too short or never moves."""

    variance: float = math.nan
    autocorrelation: float = math.nan


def phase_randomised(x: F8, uniforms: F8) -> F8:
    """Return surrogates [K,n] of a series [n] with its spectrum; `uniforms` [K,n//2+1] set the phases."""
    n = len(x)
    spectrum = np.fft.rfft(x - x.mean())
    turn = np.exp(2j * math.pi * uniforms[:, : len(spectrum)])
    turn[:, 0] = 1.0
    if n % 2 == 0:
        turn[:, -1] = 1.0  # the highest frequency has no free phase
    return np.asarray(np.fft.irfft(spectrum * turn, n, axis=1))


def rolling(x: F8, span: int = SPAN) -> tuple[F8, F8]:
    """Return variance and lag-1 autocorrelation [K,n−span+1] of windows of series [K,n]."""

    def sums(values: F8, width: int) -> F8:
        total = np.cumsum(values, axis=1)
        total = np.concatenate((np.zeros((len(values), 1)), total), axis=1)
        return np.asarray(total[:, width:] - total[:, :-width])

    x = x - x.mean(axis=1, keepdims=True)  # keeps the running sums small
    mean, square = sums(x, span) / span, sums(x * x, span)
    total = np.maximum(square - span * mean * mean, 0.0)
    cross = sums(x[:, 1:] * x[:, :-1], span - 1)
    first, last = x[:, : total.shape[1]], x[:, span - 1 :]
    inner = span * mean
    # Σ(xᵢ−m)(xᵢ₋₁−m) = Σxᵢxᵢ₋₁ − m(2Σx − first − last) + (span−1)m²
    top = cross - mean * (2.0 * inner - first - last) + (span - 1) * mean * mean
    rho = np.divide(top, total, out=np.zeros_like(top), where=total > 0.0)
    return total / (span - 1), rho


def kendall(y: F8) -> F8:
    """Return Kendall's τ [K] of each row [K,m] against time."""
    m = y.shape[1]
    score = np.zeros(len(y))
    for lag in range(1, m):
        score += np.sign(y[:, lag:] - y[:, :-lag]).sum(axis=1)
    return np.asarray(score / (0.5 * m * (m - 1)))


def trend(returns: F8, seed: int, decision: int, surrogates: int) -> Trend:
    """Return how likely linear noise shows rises as large as those of `returns` [n] (larger is likelier)."""
    x = returns[np.isfinite(returns)]
    if len(x) < LEAST or not np.any(x != x[0]):
        return Trend()
    key = philox.key_of(seed, "pads", "surrogates")
    half = len(x) // 2 + 1
    draws = philox.uniforms(key, surrogates * half, PURPOSE, decision).reshape(surrogates, half)
    series = np.concatenate((x[None] - x.mean(), phase_randomised(x, draws)))
    p = []
    for values in rolling(series):
        taus = kendall(values[:, :: max(1, values.shape[1] // 100)])
        p.append(float((1 + (taus[1:] >= taus[0]).sum()) / (1 + surrogates)))
    return Trend(*p)


class Watch:
    """Notices where an alarm of the early-warning score begins, and tests it then."""

    def __init__(self, seed: int, surrogates: int) -> None:
        self._seed, self._surrogates = seed, surrogates
        self.live = False
        self.alarms = 0
        self.bars = 0
        self.found = Trend()

    def step(self, ews: float, returns: F8, bar: int) -> bool:
        """Take the system's EWS and its newest returns; tell whether an alarm begins at `bar`."""
        if not math.isfinite(ews):
            return False
        self.bars += 1
        begins = ews > ALARM and not self.live
        self.live = ews > ALARM
        if begins:
            self.alarms += 1
            self.found = trend(returns, self._seed, bar, self._surrogates)
        return begins

    @property
    def rate(self) -> float:
        """Return alarms per 1,000 bars."""
        return 1000.0 * self.alarms / self.bars if self.bars else math.nan
