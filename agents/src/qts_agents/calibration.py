"""How good three-way forecasts are: log score, Brier score with its parts, reliability tables (pure).

Rows are forecasts `p` [N,3] with a resolved outcome `y` [N]: 0 up, 1 flat, 2 down. The running board and
`qts evaluate` both score with this.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.outcomes import CLASSES

F8 = NDArray[np.float64]
BINS = 10


class Murphy(msgspec.Struct, frozen=True):
    """Brier score = reliability − resolution + uncertainty + within (Murphy 1973; Stephenson et al. 2008).

    `within` is the variance of forecasts inside a bin less twice their covariance with the outcome there: the
    part that Murphy's three terms miss when a bin holds unequal forecasts.
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


class Bin(msgspec.Struct, frozen=True):
    """One point of a reliability diagram: n rows that said `forecast` on average and saw `observed`."""

    forecast: float
    observed: float
    n: int


class Quality(msgspec.Struct, frozen=True):
    """Everything that is published of a forecaster's rows."""

    log_score: float
    brier: Murphy
    diagram: dict[str, list[Bin]]  # class → reliability table


def quality(p: F8, y: NDArray[Any], bins: int = BINS) -> Quality:
    """Return the scores of at least one row, and the reliability table of each class."""
    parted = _parted(p, bins)
    tables = {name: _diagram(p, y, k, parted[k]) for k, name in enumerate(CLASSES)}
    return Quality(log_score(p, y), _murphy(p, y, parted), tables)


def log_score(p: F8, y: NDArray[Any]) -> float:
    """Return the mean of ln p[y] (0 best)."""
    with np.errstate(divide="ignore"):
        return float(np.log(p[np.arange(len(y)), y]).mean())


def brier(p: F8, y: NDArray[Any]) -> float:
    """Return the mean of Σₖ (pₖ − 1[y=k])² over rows `p` [N,3] (Brier 1950; 0 best, 2 worst)."""
    return float(((p - np.eye(3)[y]) ** 2).sum(axis=1).mean())


def diagram(p: F8, y: NDArray[Any], k: int, bins: int = BINS) -> list[Bin]:
    """Return the reliability diagram of class `k`."""
    return _diagram(p, y, k, bins_of(p[:, k], bins))


def bins_of(values: F8, bins: int = BINS) -> list[NDArray[np.int64]]:
    """Return the rows of each equal-count bin of `values`, lowest first; equal values never part."""
    order = np.argsort(values, kind="stable")
    edges = {round(k * values.size / bins) for k in range(1, bins)}
    ordered = values[order]
    cuts = sorted({int(np.searchsorted(ordered, ordered[e])) for e in edges if 0 < e < values.size} - {0})
    return [part.astype(np.int64) for part in np.split(order, cuts) if part.size]


def _parted(p: F8, bins: int) -> list[list[NDArray[np.int64]]]:
    """Return the bins of each class."""
    return [bins_of(p[:, k], bins) for k in range(len(CLASSES))]


def _murphy(p: F8, y: NDArray[Any], parted: list[list[NDArray[np.int64]]]) -> Murphy:
    """Return the decomposition of the Brier score over the bins of each class."""
    parts = np.zeros(4)
    for k, binned in enumerate(parted):
        said, seen = p[:, k], (y == k).astype(np.float64)
        base = float(seen.mean())
        parts[2] += base * (1.0 - base)
        for rows in binned:
            share, f, o = rows.size / y.size, said[rows].mean(), seen[rows].mean()
            parts[0] += share * (f - o) ** 2
            parts[1] += share * (o - base) ** 2
            parts[3] += share * (said[rows].var() - 2.0 * np.mean((said[rows] - f) * (seen[rows] - o)))
    return Murphy(brier(p, y), *(float(x) for x in parts))


def _diagram(p: F8, y: NDArray[Any], k: int, binned: list[NDArray[np.int64]]) -> list[Bin]:
    said, seen = p[:, k], y == k
    return [Bin(float(said[rows].mean()), float(seen[rows].mean()), int(rows.size)) for rows in binned]
