"""Component temporal_nash: experience-weighted attraction on the market game, from bars and quotes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.ewa import HISTORY, ewa
from qts_agents.kernels.market_game import BUY, SELL, SKEW_DOWN, SKEW_UP, TIGHT, WAIT, WIDE

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
MOVE, SPREAD_CHANGE, LEAN = 0.5, 0.1, 0.2
#: what a return says by `_code`: none of much, up, down; of one that is not finite nothing is known
OF_TRADER: I8 = np.array([WAIT, BUY, SELL, -1, -1, -1])
#: what quotes say, by three of the spread's change: as the imbalance leans, wider, narrower
OF_MAKER: I8 = np.array([TIGHT, SKEW_UP, SKEW_DOWN, WIDE, WIDE, WIDE, TIGHT, TIGHT, TIGHT])


def trader_actions(r: F8, sigma: F8) -> I8:
    """Return the trader's observed action [S,≤150] of each bar with a return r; −1 where it is unknown."""
    r = r[:, -HISTORY:]
    limit = MOVE * sigma[:, None]
    return np.take(OF_TRADER, _code(r > limit, r < -limit, ~np.isfinite(r)))


def maker_actions(spread: F8, imbalance: F8) -> I8:
    """Return the maker's action [S,150] seen in spreads [S,151] and imbalances [S,150]; tight if unknown."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change = spread[:, 1:] / spread[:, :-1] - 1.0
    moved = _code(change > SPREAD_CHANGE, change < -SPREAD_CHANGE)
    return np.take(OF_MAKER, 3 * moved + _code(imbalance > LEAN, imbalance < -LEAN))


def _code(*true: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a small number of what is true, 1, 2, 3 … each, to look actions up by."""
    code = np.zeros(true[0].shape, np.uint8)
    for number, which in enumerate(true, 1):
        code += np.uint8(number) * which.view(np.uint8)
    return code


def strategy(u: F8, own: I8, seen: I8) -> F8:
    """Return the learned strategy [S,4] for payoffs u [S,4,4]."""
    return ewa(u, own, seen)
