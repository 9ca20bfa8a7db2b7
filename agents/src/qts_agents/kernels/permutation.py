"""A permutation test on the order of events: what a pattern is worth when chance has shuffled them.

The volume of round trips is computed for fills in many random orders (Fisher 1935; shuffled as Durstenfeld
1964 does). A p-value is the share of orders that reach what was seen, itself included (Phipson & Smyth 2010).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend, gpu
from qts_agents.kernels.backend import kernel, part

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
U1 = NDArray[np.uint8]
ENTRY = "permutation.round_trips"
EVEN = 1e-12  # sums of the same sizes in another order differ by less than this share


def p_value(seen: float, by_chance: F8) -> float:
    """Return (1 + draws [P] that reach `seen`) / (1 + P)."""
    return float((1 + (by_chance >= seen - EVEN * abs(seen)).sum()) / (1 + len(by_chance)))


def round_trips(side: I8, soon: U1, size: F8, draws: F8) -> F8:
    """Return the round-trip volume [P] of fills [n] in random orders; `draws` [P,n] are uniform.

    A round trip is a fill followed by one of the opposite side and equal size. `soon` [n−1] tells which
    places are close enough in time to the one after; places keep their times, what is filled there changes.
    """
    out = np.zeros(len(draws))
    run = _trips if backend.jit_enabled() else trips_reference
    if not gpu.runs("permutation_gpu.round_trips", len(out), side, soon, size, draws, out=(out,)):
        backend.each_part(lambda some, part_: run(side, soon, size, some, part_), draws, out, entry=ENTRY)
    return out


@part
def trips(side: I8, soon: U1, size: F8, draws: F8, order: I8) -> float:
    """Shuffle the fills by `draws` [n] and return the volume of their round trips; `order` [n] is scratch."""
    n = order.shape[0]
    total: float = 0.0
    for i in range(n):
        order[i] = i
    for i in range(n - 1, 0, -1):
        j = min(int(draws[i] * (i + 1)), i)
        order[i], order[j] = order[j], order[i]
    for i in range(1, n):
        one, two = order[i - 1], order[i]
        if soon[i - 1] != 0 and side[one] == -side[two] and size[one] == size[two]:
            total += float(size[two])
    return total


@kernel
def _trips(side: I8, soon: U1, size: F8, draws: F8, out: F8) -> None:
    """Write the statistic of each draw."""
    order = np.empty(side.shape[0], np.int64)
    for p in range(draws.shape[0]):
        out[p] = trips(side, soon, size, draws[p], order)


def trips_reference(side: I8, soon: U1, size: F8, draws: F8, out: F8) -> None:
    """Do what `_trips` does, all draws at once."""
    count, n = draws.shape
    order, rows = np.tile(np.arange(n), (count, 1)), np.arange(count)
    for i in range(n - 1, 0, -1):
        j = np.minimum((draws[:, i] * (i + 1)).astype(np.int64), i)
        order[rows, i], order[rows, j] = order[rows, j], order[rows, i]
    sides, sizes = side[order], size[order]
    pair = (sides[:, :-1] == -sides[:, 1:]) & (sizes[:, :-1] == sizes[:, 1:]) & (soon != 0)
    out[:] = (sizes[:, 1:] * pair).sum(axis=1)


def warm_up() -> None:
    """Compile what serving calls."""
    round_trips(np.zeros(1, np.int64), np.zeros(0, np.uint8), np.zeros(1), np.zeros((1, 1)))
