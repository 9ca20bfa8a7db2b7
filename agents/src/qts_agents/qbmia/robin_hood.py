"""Component robin_hood: a monitor of liquidity and concentration. It neither trades nor redistributes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import MarketWindow
from qts_agents.kernels.pool import belief_map
from qts_agents.qbmia.game import returns

F8 = NDArray[np.float64]
VOLUME_BARS, RANK_BARS = 50, 250


def gini(volume: F8) -> F8:
    """Return the Gini index [S] of the volume over bars [S,T]: 0 even, →1 in one bar; NaN if unknown."""
    ordered = np.sort(volume, axis=1)
    n = volume.shape[1]
    total = ordered.sum(axis=1)
    place = np.arange(1, n + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        index = 2.0 * (ordered * place).sum(axis=1) / (n * total) - (n + 1.0) / n
    return np.where(total > 0.0, index, np.where(np.isfinite(total), 0.0, np.nan))


def herfindahl(volume: F8) -> F8:
    """Return the Herfindahl index [S] of the volume shares of bars [S,T]: 1/T even, 1 in one bar."""
    total = volume.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = volume / total
    index = (share * share).sum(axis=1)
    return np.where(
        total[:, 0] > 0.0, index, np.where(np.isfinite(total[:, 0]), 1.0 / volume.shape[1], np.nan)
    )


def amihud_rank(window: MarketWindow) -> F8:
    """Return the mid-rank [S] of the last bar's Amihud (2002) ratio |r|/turnover of 250; NaN if unknown."""
    r = np.abs(returns(window, RANK_BARS))
    turnover = window.close[:, -RANK_BARS:] * window.volume[:, -RANK_BARS:]
    known = np.isfinite(r) & (turnover > 0.0)
    ratio = np.where(known, r / np.where(known, turnover, 1.0), np.nan)
    last = ratio[:, -1:]
    below, equal = (ratio < last).sum(axis=1), (ratio == last).sum(axis=1)
    return np.where(np.isfinite(last[:, 0]), (below + 0.5 * equal) / np.maximum(known.sum(axis=1), 1), np.nan)


def report(window: MarketWindow) -> dict[str, F8]:
    """Return what is told of concentration where an answer is to be explained, [S] by name."""
    volume = window.volume[:, -VOLUME_BARS:]
    rank = amihud_rank(window)
    return {"gini": gini(volume), "herfindahl": herfindahl(volume), "amihud_rank": rank}


def distribution(illiquidity: F8) -> F8:
    """Return x [S,3]: the thinner the market, the surer that nothing should be done; NaN where unknown."""
    return belief_map(np.zeros(len(illiquidity)), illiquidity)
