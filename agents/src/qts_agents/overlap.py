"""Means of series whose neighbours share returns, as horizons overlap, and their errors (pure)."""

from __future__ import annotations

import math
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.pace import decided_every
from qts_core.spec import System

F8 = NDArray[np.float64]


class Mean(msgspec.Struct, frozen=True):
    """A mean with its standard error and one-sided p-value of being at most 0."""

    value: float
    error: float
    p_value: float


def overlap_of(system: System) -> float:
    """Return how many decisions share a bar's return: the horizon over their distance, both in bars."""
    return max(1.0, system.horizon_bars / decided_every(system))


def mean_of(series: F8, overlap: float) -> Mean:
    """Return the mean of a series whose neighbours up to `overlap` steps apart share returns.

    Student's t with n − 1 degrees, as Harvey, Leybourne and Newbold (1997) ask for the test of Diebold and
    Mariano (1995). The error is √(v/(n − f)), v = `variance_of`, f = `overlap_factor`: a sample's γ₀ is too
    small by the variance of its own mean, f/n of it. A series no longer than f says nothing of it: NaN.
    """
    value = float(series.mean()) if series.size else math.nan
    spare = series.size - overlap_factor(overlap)
    if spare <= 0.0:
        return Mean(value, math.nan, math.nan)
    error = math.sqrt(variance_of(series, overlap) / spare)
    p_value = student_above(value / error, series.size - 1) if error > 0.0 else float(value <= 0.0)
    return Mean(value, error, p_value)


def student_above(t: float, freedom: int) -> float:
    """Return the chance that Student's t is above `t` (Wallace 1959).

    At the 5 % level its error is 0.008 for one degree of freedom, 0.002 for two, 0.0003 from four on.
    """
    shrink = (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0)
    normal = shrink * math.sqrt(freedom * math.log1p(t * t / freedom))
    return NormalDist().cdf(-math.copysign(normal, t))


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
