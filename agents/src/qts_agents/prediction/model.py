"""Quantiles of the coming return: HAR-type volatility times quantiles learned one outcome at a time (pure).

z = R/(σ₁₀₀√h) is forecast by linear quantile regression on the volatilities of three horizons (Corsi 2009)
and three odd indicators. Coefficients follow the subgradient of the pinball loss (Koenker & Bassett 1978).
Beside it stands what it must beat: the empirical quantiles of the same symbol's last returns.
"""

from __future__ import annotations

from collections import deque
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.indicators import Indicators

F8 = NDArray[np.float64]
TAUS: F8 = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95])
FEATURES = 6  # 1, ln σ₂₀/σ₁₀₀, ln σ₅₀/σ₁₀₀, trend, momentum, RSI/50 − 1
LEAST_P = 0.01  # of an outcome, so that no surprise is infinite
FORGET = 0.99


def features(ind: Indicators) -> F8:
    """Return [S,6]; volatility ratios are 0 where a σ is 0, NaN rows stay NaN."""
    columns = (
        np.ones_like(ind.trend),
        _log_ratio(ind.sigma20, ind.sigma100),
        _log_ratio(ind.sigma50, ind.sigma100),
        ind.trend,
        ind.momentum,
        ind.rsi / 50.0 - 1.0,
    )
    return np.stack(columns, axis=1)


def _log_ratio(a: F8, b: F8) -> F8:
    fine = (a > 0.0) & (b > 0.0)
    ratio = np.clip(np.log(np.where(fine, a, 1.0) / np.where(fine, b, 1.0)), -2.0, 2.0)
    return np.where(np.isfinite(a) & np.isfinite(b), ratio, np.nan)


def pinball(z: float, q: F8) -> float:
    """Return the mean over `TAUS` of the pinball loss of quantiles `q` for the outcome `z`."""
    return float(np.mean(np.where(z >= q, TAUS * (z - q), (TAUS - 1.0) * (z - q))))


def shares(q: F8, edge: float) -> F8:
    """Return (up, flat, down) of ascending quantiles `q`: P(z > edge), P(|z| ≤ edge), P(z < −edge).

    Between quantiles the distribution is linear; beyond the outer ones it goes on for twice the last step.
    """
    ends = (q[0] - 2.0 * (q[1] - q[0]) - 1e-9, q[-1] + 2.0 * (q[-1] - q[-2]) + 1e-9)
    knots, levels = np.concatenate(([ends[0]], q, [ends[1]])), np.concatenate(([0.0], TAUS, [1.0]))
    below = float(np.interp(-edge, knots, levels))
    above = 1.0 - float(np.interp(edge, knots, levels))
    p = np.maximum(np.array([above, 1.0 - above - below, below]), LEAST_P)
    return np.asarray(p / p.sum())


class Quantiles:
    """One regression for all symbols, an empirical record for each, and the losses of both."""

    def __init__(self, kept: int) -> None:
        self.beta: F8 = np.zeros((TAUS.size, FEATURES))
        self.beta[:, 0] = [NormalDist().inv_cdf(float(tau)) for tau in TAUS]
        self.kept = kept
        self.record: dict[str, deque[float]] = {}
        self.loss = self.baseline = 0.0  # discounted means of the pinball loss on the same outcomes
        self.weight = 0.0
        self.outcomes = 0

    def forecast(self, row: Any) -> F8:
        """Return ascending quantiles of z for features `row` [6]."""
        return np.sort(self.beta @ np.asarray(row, dtype=np.float64))

    def issued(self, symbol: str, row: Any) -> F8:
        """Return both forecasts [2,9]: the model's, and the symbol's empirical quantiles, NaN while few."""
        past = self.record.get(symbol, ())
        few = len(past) < TAUS.size
        empirical = np.full(TAUS.size, np.nan) if few else np.quantile(np.array(past), TAUS)
        return np.stack((self.forecast(row), empirical))

    def score(self, z: float, issued: F8) -> None:
        """Score both forecasts as they were issued: what was learned meanwhile overlaps their outcome."""
        if not (np.isfinite(z) and np.isfinite(issued).all()):
            return
        self.loss = FORGET * self.loss + pinball(z, issued[0])
        self.baseline = FORGET * self.baseline + pinball(z, issued[1])
        self.weight = FORGET * self.weight + 1.0

    def learn(self, symbol: str, row: Any, z: float, rate: float) -> None:
        """Let both forecasts learn from an outcome."""
        f = np.asarray(row, dtype=np.float64)
        if not (np.isfinite(f).all() and np.isfinite(z)):
            return
        self.beta += rate * np.where(z < self.beta @ f, TAUS - 1.0, TAUS)[:, None] * f
        self.record.setdefault(symbol, deque(maxlen=self.kept)).append(z)
        self.outcomes += 1

    def losses(self) -> tuple[float, float]:
        """Return the discounted mean pinball loss of model and empirical quantiles; NaN before any."""
        if self.weight == 0.0:
            return float("nan"), float("nan")
        return self.loss / self.weight, self.baseline / self.weight
