"""The pairs of supports of an m×n game as tables that kernels read, and the room in which they try them.

Both are made here, by numpy, once for a size or a call: what a kernel made itself would have to be compiled.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.dominance import members
from qts_agents.kernels.vertices import numbering

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
Room = tuple[F8, F8, I8, F8, I8, I8]  # see `room_for`


@lru_cache(maxsize=64)
def supports(m: int, n: int) -> I8:
    """Return the equal-size support pairs of an m×n game as [P, 1+2k] rows: size, row ids, column ids."""
    k = min(m, n)
    table = [
        [size, *rows, *([0] * (k - size)), *columns, *([0] * (k - size))]
        for size in range(1, k + 1)
        for rows in combinations(range(m), size)
        for columns in combinations(range(n), size)
    ]
    return np.array(table, dtype=np.int64)


@lru_cache(maxsize=64)
def numbers(m: int, n: int) -> tuple[I8, I8]:
    """Return `members` (none where nothing asks for them) and `numbering` of an m×n game's pairs."""
    pairs = supports(m, n)
    index = numbering(m, n, pairs)
    return members(pairs if len(index) > 1 else pairs[:0], m), index


def room_for(m: int, n: int, pairs: I8, index: I8) -> Room:
    """Return what one kernel works in: made here, where nothing has to be compiled for it."""
    k, wide = (pairs.shape[1] - 1) // 2, max(m, n)
    vertices, sets = (len(pairs) + 1, 1 << (m + n)) if len(index) > 1 else (0, 0)
    return (
        np.empty((n, m)),  # the column player's payoffs
        np.empty((k + 1, k + 2)),  # the largest linear system
        np.empty(len(pairs), np.int64),  # pairs that are tried
        np.empty((vertices, wide, wide + 1)),  # tableaux of `candidates`
        np.empty((vertices, m + n + 1), np.int64),  # their labels
        np.zeros((2, sets), np.int64),  # which sets of labels were seen
    )
