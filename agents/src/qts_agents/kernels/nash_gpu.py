"""The choice among equilibria on a GPU: one thread a game, compiled from the CPU kernels' own source.

numba.cuda compiles the functions of `nash` for the device when this kernel calls them. A game without an
equilibrium of equal support size is left to the CPU: Lemke-Howson branches too much to be worth a thread.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.nash import average, enumerate_game, largest_gain

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
Solved = tuple[F8, F8, I8, F8]
THREADS = 64
cuda: Any = importlib.import_module("numba.cuda")  # it carries no types


@cuda.jit
def _solve(a: Any, bt: Any, pairs: Any, work: Any, xs: Any, ys: Any, score: Any, x: Any, y: Any,
           count: Any, regret: Any) -> None:  # fmt: skip
    """Solve game after game, a grid apart; every array's first axis is the game."""
    for g in range(cuda.grid(1), a.shape[0], cuda.gridsize(1)):
        found = enumerate_game(a[g], bt[g], pairs, work[g], xs[g], ys[g])
        worst = 0.0
        for e in range(found):
            worst = max(worst, largest_gain(a[g], bt[g], xs[g, e], ys[g, e]))
        count[g] = found
        regret[g] = worst
        if found > 0:
            average(xs[g], ys[g], found, score[g], x[g], y[g])


def choose(a: F8, b: F8, pairs: I8, most: int, on_cpu: Callable[..., Solved]) -> Solved:
    """Return (x [G,m], y [G,n], count [G], regret [G]) of scaled games a, b [G,m,n], as `on_cpu` does."""
    games, m, n = a.shape
    k = (pairs.shape[1] - 1) // 2
    bt = np.ascontiguousarray(b.transpose(0, 2, 1))
    room = [(k + 1, k + 2), (most + 1, m), (most + 1, n), (most + 1,), (m,), (n,)]
    work, xs, ys, score, x, y = (cuda.device_array((games, *shape)) for shape in room)
    count, regret = cuda.device_array(games, np.int64), cuda.device_array(games)
    sent = [cuda.to_device(np.ascontiguousarray(part)) for part in (a, bt, pairs)]
    _solve[-(-games // THREADS), THREADS](*sent, work, xs, ys, score, x, y, count, regret)
    solved: Solved = tuple(column.copy_to_host() for column in (x, y, count, regret))
    left = np.flatnonzero(solved[2] == 0)
    if len(left):
        for column, filled in zip(solved, on_cpu(a[left], b[left], pairs, most), strict=True):
            column[left] = filled
    return solved
