"""Component machiavellian: how much recent orders look like manipulation. Detection only, never an order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.pool import belief_map
from qts_agents.qbmia import orders
from qts_agents.qbmia.layering import layering
from qts_agents.qbmia.orders import SIGNIFICANT, WEIGHTS, OrderEvents

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]


class Evidence(msgspec.Struct, frozen=True):
    """What the tests of one symbol look at."""

    recent: OrderEvents
    baseline: OrderEvents  # one day
    returns: F8  # [T] of bars
    moves_ns: I8  # times of moves above the 90th percentile
    draws: F8  # [P,n] uniforms of the permutations


class Finding(msgspec.Struct, frozen=True):
    """p-values in the order of `orders.NAMES`, their combination, and the score."""

    p: F8
    combined: float
    score: float  # NaN: no test could be made


def examine(evidence: Evidence) -> Finding:
    """Run the five tests on one symbol."""
    p = np.array(
        [
            orders.spoofing(evidence.recent, evidence.baseline),
            layering(evidence.recent, evidence.baseline),
            orders.wash(evidence.recent, evidence.draws),
            orders.pump_dump(evidence.returns),
            orders.front_running(evidence.recent, evidence.moves_ns),
        ]
    )
    return Finding(p, orders.cauchy(p, WEIGHTS), score(p))


def score(p: F8) -> float:
    """Return Σ weight·(1−p)·[p < 0.05] / Σ weights of the tests that could be made; NaN without any."""
    known = np.isfinite(p)
    if not known.any():
        return math.nan
    counted = np.where(p[known] < SIGNIFICANT, 1.0 - p[known], 0.0)
    return float((WEIGHTS[known] * counted).sum() / WEIGHTS[known].sum())


def scores(evidence: Sequence[Evidence | None]) -> F8:
    """Return the score [S] of each symbol; NaN where there are no order events."""
    found = [math.nan if e is None else examine(e).score for e in evidence]
    return np.array(found, dtype=np.float64)


def distribution(score_: F8) -> F8:
    """Return x [S,3]: the likelier manipulation, the surer that nothing should be done; NaN where unknown."""
    return belief_map(np.zeros(len(score_)), score_)


def alarm(combined: Sequence[float], alpha: float) -> bool:
    """Tell whether at least 2 of the last 3 windows are below the level `alpha`."""
    return sum(p < alpha for p in list(combined)[-3:]) >= 2
