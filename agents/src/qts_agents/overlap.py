"""Variances of means whose neighbours share returns, as horizons overlap (pure)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qts_core.spec import System

F8 = NDArray[np.float64]


def overlap_of(system: System) -> float:
    """Return how many decisions share a bar's return: the horizon over their distance, both in bars."""
    every = max(1, round(system.decision_interval / system.market_update_interval))
    return max(1.0, system.horizon_bars / every)


def variance_of(series: F8, overlap: float) -> float:
    """Return n times the variance of a mean: Newey and West's (lag ⌈overlap⌉), at least γ₀·`overlap_factor`.

    Their falling weights count but a part of the covariances that the overlap itself makes, 2.33γ₀ of 3γ₀ at
    an overlap of 3: alone they call luck significant more often than they say.
    """
    floor = overlap_factor(overlap) * float(series.var())
    return max(long_run_variance(series, math.ceil(overlap)), floor)


def long_run_variance(series: F8, lags: int) -> float:
    """Return γ₀ + 2Σ(1 − l/(L+1))γₗ of a series (Newey & West 1987)."""
    e, n = series - series.mean(), series.size
    total = float(e @ e) / n
    for lag in range(1, min(lags, n - 1) + 1):
        total += 2.0 * (1.0 - lag / (lags + 1.0)) * float(e[lag:] @ e[:-lag]) / n
    return max(total, 0.0)


def overlap_factor(overlap: float) -> float:
    """Return how much overlap inflates a mean's variance: 1 + 2Σ(1 − k/m), m = horizon/distance."""
    return 1.0 + 2.0 * sum(1.0 - k / overlap for k in range(1, math.ceil(overlap)) if k < overlap)
