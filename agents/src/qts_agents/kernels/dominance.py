"""Strategies that no equilibrium plays: strictly dominated by pure ones, again and again (Moulin 1979).

What is left names few pairs of supports in most games of a market, whose drift pays for one side at most.
The margin is so wide that whatever is left out would have failed its check: equilibria stay as they are, bit
for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.backend import part

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
MARGIN = 1e-6  # of the payoff range; a thousand times what checks tolerate
FEW = 16  # pairs that are sooner tried than found by way of the vertices


def members(pairs: I8, m: int) -> I8:
    """Return the set of strategies of each pair of supports: rows are bits from 0 on, columns from m on."""
    k = (pairs.shape[1] - 1) // 2
    sets = [
        sum(1 << i for i in (*pair[1 : 1 + pair[0]], *(m + j for j in pair[1 + k : 1 + k + pair[0]])))
        for pair in pairs.tolist()
    ]
    return np.array(sets, dtype=np.int64)


@part
def _without(payoff: F8, own: int, other: int, left: int) -> int:
    """Return `left` without the rows of `payoff` that another row beats at every column that is left."""
    rows, columns = payoff.shape
    for i in range(rows):
        for k in range(rows):
            beaten = k != i and (left >> (own + i)) & 1 == 1 and (left >> (own + k)) & 1 == 1
            for j in range(columns):
                if (left >> (other + j)) & 1 == 1:
                    beaten = beaten and payoff[k, j] > payoff[i, j] + MARGIN
            if beaten:
                left ^= 1 << (own + i)
    return left


@part
def undominated(a: F8, bt: F8, sets: I8, chosen: I8) -> int:
    """Write the pairs of supports without a dominated strategy to `chosen`, ascending; −1 if more than FEW.

    a [m,n], bt [n,m] lie in 0…1; `sets` is what `members` returns.
    """
    m, n = a.shape
    left, before = (1 << (m + n)) - 1, 0
    while left != before:
        before = left
        left = _without(bt, m, 0, _without(a, 0, m, left))
    found = 0
    for p in range(sets.shape[0]):
        if sets[p] & ~left == 0:
            if found == FEW:
                return -1
            chosen[found] = p
            found += 1
    return found
