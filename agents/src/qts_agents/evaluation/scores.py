"""How far forecasts are ahead of others, and how often right, with errors that know outcomes overlap (pure).

Cells are (round, symbol) pairs with a forecast and a resolved outcome: 0 up, 1 flat, 2 down.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.outcomes import UNRESOLVED
from qts_agents.overlap import Mean, mean_of, overlap_factor, variance_of

F8 = NDArray[np.float64]
PSEUDO = 10.0  # outcomes that a base rate counts as, as in the board's own frequencies


class Rate(msgspec.Struct, frozen=True):
    """A hit rate with its 95 % interval; `n` rows count as `effective`."""

    rate: float
    low: float
    high: float
    n: int
    effective: float


def usable(p: F8, outcome: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which (round, symbol) cells [R,S] have both a forecast `p` [R,S,3] and an outcome."""
    return np.asarray(np.isfinite(p).all(axis=2) & (outcome != UNRESOLVED))


def by_round(values: F8, used: NDArray[np.bool_]) -> F8:
    """Return the sum over symbols of each round [R'] that has a used cell, in order, over their mean number.

    So the mean of the series is that over all cells, also where fewer symbols resolve in some rounds.
    """
    count = used.sum(axis=1)
    total = np.where(used, values, 0.0).sum(axis=1)
    return np.asarray(total[count > 0] / count[count > 0].mean()) if used.any() else np.zeros(0)


def log_gain(p: F8, u: F8, outcome: NDArray[np.uint8], overlap: float) -> Mean:
    """Return the mean over cells of ln p_y − ln u_y: what a forecast knows beyond the base rate, in nats."""
    used = usable(p, outcome)
    y = np.where(used, outcome, 0).astype(np.int64)[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.log(np.take_along_axis(p, y, 2) / np.take_along_axis(u, y, 2))[..., 0]
    return mean_of(by_round(gain, used), overlap)


def past_frequencies(u: F8, outcome: NDArray[np.uint8], known: NDArray[np.int64]) -> F8:
    """Return what the outcomes so far would forecast [R,S,3]: it knows the market's drift and nothing else.

    `known` [R]: how many rounds had resolved when each was decided. u, in which up and down are equal, counts
    as `PSEUDO` outcomes.
    """
    counts = (outcome[..., None] == np.arange(3)).sum(axis=1)  # of all symbols together [R,3]
    before = np.concatenate([np.zeros((1, 3)), np.cumsum(counts, axis=0)])[known][:, None]
    return np.asarray((PSEUDO * u + before) / (PSEUDO + before.sum(axis=2, keepdims=True)))


def hit_rate(p: F8, ret: F8, outcome: NDArray[np.uint8], overlap: float) -> Rate:
    """Return how often the likelier side was the side of the return; rows without a side do not count.

    The effective number of rows is the smaller of n over `overlap_factor` and what the hits' own variance
    between rounds supports, as of `mean_of`, which also knows that symbols move together. Where that tells
    nothing (no round differed from another, or hardly one is there), symbols may be copies of
    one another: a round counts once.
    """
    side = np.sign(p[..., 0] - p[..., 2])
    used = usable(p, outcome) & (side != 0.0) & (ret != 0.0)
    n = int(used.sum())
    if n == 0:
        return Rate(math.nan, math.nan, math.nan, 0, 0.0)
    hits = np.where(used, side == np.sign(ret), 0.0)
    rate = float(hits[used].mean())
    series, factor = by_round(hits - rate, used), overlap_factor(overlap)
    rounds, spare = series.size / factor, series.size - factor
    if spare > 0.0 and np.ptp(series) > 1e-9:
        rounds = rate * (1.0 - rate) * spare / variance_of(series, overlap)
    effective = min(n / factor, rounds)
    return Rate(rate, *wilson(rate, max(1.0, effective)), n, effective)


def wilson(rate: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a share `rate` of `n` trials (Wilson 1927)."""
    z = NormalDist().inv_cdf(0.5 + level / 2.0)
    centre = rate + z * z / (2.0 * n)
    half = z * math.sqrt(rate * (1.0 - rate) / n + z * z / (4.0 * n * n))
    return max(0.0, (centre - half) / (1.0 + z * z / n)), min(1.0, (centre + half) / (1.0 + z * z / n))
