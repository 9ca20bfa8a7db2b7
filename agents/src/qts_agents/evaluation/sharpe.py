"""Sharpe ratios that know how short, how skewed and how often tried they are (pure).

Bailey and López de Prado, "The Sharpe ratio efficient frontier", Journal of Risk 15 (2012), and "The deflated
Sharpe ratio", Journal of Portfolio Management 40 (2014). Ratios here are per bar, not annualised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
EULER = 0.5772156649015329
_NORMAL = NormalDist()


class Moments(msgspec.Struct, frozen=True):
    """What a series of returns is described by: ratio per bar, skewness, kurtosis (normal: 3), length."""

    sharpe: float
    skewness: float
    kurtosis: float
    n: int


def moments(returns: Any) -> Moments:
    """Return the moments of a series; a series that never moves has ratio 0."""
    r = np.asarray(returns, dtype=np.float64)
    deviation = float(r.std()) if r.size else 0.0
    if r.size < 2 or deviation <= 1e-15:
        return Moments(0.0, 0.0, 3.0, int(r.size))
    z = (r - r.mean()) / deviation
    sharpe = float(r.mean() / r.std(ddof=1))
    return Moments(sharpe, float((z**3).mean()), float((z**4).mean()), int(r.size))


def probabilistic(found: Moments, benchmark: float = 0.0) -> float:
    """Return the probability that the true ratio exceeds `benchmark`, both per bar."""
    if found.n < 2:
        return math.nan
    sr = found.sharpe
    variance = 1.0 - found.skewness * sr + (found.kurtosis - 1.0) / 4.0 * sr * sr
    return _NORMAL.cdf((sr - benchmark) * math.sqrt(found.n - 1.0) / math.sqrt(max(variance, 1e-12)))


def expected_maximum(trials: int, variance: float) -> float:
    """Return the ratio that the best of so many worthless trials is expected to show."""
    if trials < 2 or variance <= 0.0:
        return 0.0
    first, second = _NORMAL.inv_cdf(1.0 - 1.0 / trials), _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * ((1.0 - EULER) * first + EULER * second)


def deflated(found: Moments, trials: Sequence[float]) -> float:
    """Return the probability that a ratio is above the luck of the best of `trials`.

    Those are ratios per bar on as many bars as `found` has: the paper's variance is one of estimates alike.
    """
    variance = float(np.var(trials, ddof=1)) if len(trials) > 1 else 0.0
    return probabilistic(found, expected_maximum(len(trials), variance))
