"""How sure the ratio of two quantiles is that were measured in turns: turns are drawn anew, with repeats."""

from __future__ import annotations

import numpy as np
from bench.harness import Rounds

DRAWS = 200


def pooled(turns: Rounds) -> list[int]:
    """Return the latencies of all turns together."""
    return [value for turn in turns for value in turn]


def typical(turns: Rounds, share: float) -> float:
    """Return the median of the turns' quantiles: a stall of the machine falls into one turn of one kind."""
    return float(np.median([np.quantile(turn, share) for turn in turns]))


def interval(ours: Rounds, theirs: Rounds, share: float) -> tuple[float, float]:
    """Return between what the ratio of two quantiles lies for 95 of 100 draws of as many turns."""
    random, ratios = np.random.default_rng(1), []
    mine, other = ([np.asarray(turn) for turn in turns] for turns in (ours, theirs))
    for _ in range(DRAWS):
        drawn = random.integers(0, len(mine), len(mine))
        a, b = (np.quantile(np.concatenate([turns[n] for n in drawn]), share) for turns in (mine, other))
        ratios.append(a / b)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(low), float(high)
