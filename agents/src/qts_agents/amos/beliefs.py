"""Beliefs: the factors' odd part as one number, the prospect term, and the risk of the hour (pure)."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import MarketWindow
from qts_agents.kernels.factors import BASE_WEIGHTS, KINDS, Factors
from qts_agents.kernels.indicators import Indicators
from qts_agents.kernels.outcomes import costs
from qts_agents.kernels.prospect import prospect_term

F8 = NDArray[np.float64]

#: columns of the odd factors: trend, momentum, sentiment, correlation, cycle
ODD: tuple[int, ...] = tuple(i for i, kind in enumerate(KINDS) if kind == "odd")
NEEDED = 3
RISK_WEIGHTS = (0.5, 0.3, 0.2)  # tail, volatility, illiquidity


class Beliefs(msgspec.Struct, frozen=True):
    """What the market suggests, [S] each unless said otherwise; odd parts change sign with the market."""

    b: F8  # [S,5] odd factors, 0 where absent
    present: NDArray[np.bool_]  # [S,5]
    B: F8
    prospect: F8
    hazard: F8  # in [0,1], before the alert factor
    situation: F8  # 1 − half a round trip in units of the horizon's σ, at least 0
    sigma_h: F8  # σ₁₀₀√h


def base_weights() -> F8:
    """Return the odd factors' prior weights, scaled to sum 1."""
    odd = np.asarray(BASE_WEIGHTS, dtype=np.float64)[list(ODD)]
    return np.asarray(odd / odd.sum())


def belief(b: F8, present: NDArray[np.bool_], w: F8) -> F8:
    """Return Σwb/Σw over the present factors [S]; 0 where none is present or none has weight."""
    total = np.zeros(b.shape[0])
    held = np.zeros(b.shape[0])
    for i in range(b.shape[1]):  # index order, so that a batch adds like a single row
        total += np.where(present[:, i], w[i] * b[:, i], 0.0)
        held += np.where(present[:, i], w[i], 0.0)
    return np.divide(total, held, out=np.zeros_like(total), where=held > 0.0)


def win_probability(m100: F8, sigma100: F8, h: int) -> F8:
    """Return Φ(μ̂h/(σ₁₀₀√h)) with μ̂ = m₁₀₀ shrunk by t²/(t²+1); ½ where σ is 0."""
    ratio = np.divide(m100, sigma100, out=np.zeros_like(m100), where=sigma100 > 0.0)
    t = math.sqrt(100.0) * ratio
    z = ratio * (t * t / (t * t + 1.0)) * math.sqrt(float(h))
    return np.array([0.5 * math.erfc(-v / math.sqrt(2.0)) for v in z.tolist()], dtype=np.float64)


def hazard(tail: F8, volatility: F8, illiquidity: F8) -> F8:
    """Return clip(0.5·tail + 0.3·volatility + 0.2·illiquidity, 0, 1); missing parts give weight away."""
    total = np.zeros_like(tail)
    held = np.zeros_like(tail)
    for part, weight in zip((tail, volatility, illiquidity), RISK_WEIGHTS, strict=True):
        known = np.isfinite(part)
        total += np.where(known, weight * np.where(known, part, 0.0), 0.0)
        held += np.where(known, weight, 0.0)
    ratio = np.divide(total, held, out=np.zeros_like(total), where=held > 0.0)
    return np.clip(ratio, 0.0, 1.0)


def form(window: MarketWindow, ind: Indicators, factors: Factors, w: F8, h: int) -> Beliefs:
    """Return the beliefs of every row of `window`."""
    columns = list(ODD)
    present = np.ascontiguousarray(factors.present[:, columns])
    b = np.where(present, factors.b[:, columns], 0.0)
    sigma_h = ind.sigma100 * math.sqrt(float(h))
    half = 0.5 * costs(window)
    cost = np.divide(half, sigma_h, out=np.zeros_like(half), where=sigma_h > 0.0)
    return Beliefs(
        b=b,
        present=present,
        B=belief(b, present, w),
        prospect=prospect_term(win_probability(ind.m100, ind.sigma100, h)),
        hazard=hazard(ind.tail, ind.volatility, np.where(ind.liquidity_seen > 0.0, ind.illiquidity, np.nan)),
        situation=1.0 - np.minimum(1.0, cost),
        sigma_h=sigma_h,
    )
