"""Component temporal_nash: experience-weighted attraction on the market game, from bars and quotes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.ewa import HISTORY, ewa
from qts_agents.qbmia.game import BUY, SELL, SKEW_DOWN, SKEW_UP, TIGHT, WAIT, WIDE

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
MOVE, SPREAD_CHANGE, LEAN = 0.5, 0.1, 0.2


def trader_actions(r: F8, sigma: F8) -> I8:
    """Return the trader's observed action [S,≤150] of each bar with a return r; −1 where it is unknown."""
    r = r[:, -HISTORY:]
    limit = MOVE * sigma[:, None]
    action = np.where(r > limit, BUY, np.where(r < -limit, SELL, WAIT))
    return np.where(np.isfinite(r), action, -1).astype(np.int64)


def maker_actions(spread: F8, imbalance: F8) -> I8:
    """Return the maker's action [S,150] seen in spreads [S,151] and imbalances [S,150]; tight if unknown."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change = spread[:, 1:] / spread[:, :-1] - 1.0
    skew = np.where(imbalance > LEAN, SKEW_UP, np.where(imbalance < -LEAN, SKEW_DOWN, TIGHT))
    moved = np.where(change > SPREAD_CHANGE, WIDE, np.where(change < -SPREAD_CHANGE, TIGHT, skew))
    return moved.astype(np.int64)


def strategy(u: F8, own: I8, seen: I8) -> F8:
    """Return the learned strategy [S,4] for payoffs u [S,4,4]."""
    return ewa(u, own, seen)
