"""The choice among equilibria on a GPU: one thread a game, compiled from the CPU kernels' own source.

numba.cuda compiles the functions of `nash` for the device when this kernel calls them. Games of several
shapes go in one launch, each in the corner of the largest. A game without an equilibrium of equal support
size is left to the CPU: hardly any needs Lemke-Howson, whose tableaux would be memory for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.launch import cuda, launch
from qts_agents.kernels.nash import average, equilibria_among, largest_gain

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
Games = tuple[F8, F8, I8, int]  # a, b [G,m,n] scaled, pairs of supports, most equilibria kept
Solved = tuple[F8, F8, I8, F8]


@cuda.jit
def _solve(a: Any, bt: Any, pairs: Any, every: Any, shape: Any, work: Any, xs: Any, ys: Any, score: Any,
           x: Any, y: Any, count: Any, regret: Any) -> None:  # fmt: skip
    """Solve game after game, a grid apart; shape [G,4] says m, n and which of the pairs are a game's."""
    for g in range(cuda.grid(1), a.shape[0], cuda.gridsize(1)):
        m, n, first, behind = shape[g, 0], shape[g, 1], shape[g, 2], shape[g, 3]
        mine, theirs, rows, columns = a[g, :m, :n], bt[g, :n, :m], xs[g, :, :m], ys[g, :, :n]
        tried = pairs[first:behind]
        found = equilibria_among(mine, theirs, tried, every, behind - first, work[g], rows, columns)
        worst = 0.0
        for e in range(found):
            worst = max(worst, largest_gain(mine, theirs, rows[e], columns[e]))
        count[g] = found
        regret[g] = worst
        if found > 0:
            average(rows, columns, found, score[g], x[g, :m], y[g, :n])


def choose(batches: Sequence[Games], on_cpu: Callable[..., Solved]) -> list[Solved]:
    """Return (x [G,m], y [G,n], count [G], regret [G]) of each batch by one launch, as `on_cpu` does."""
    games = sum(len(a) for a, *_ in batches)
    m, n = (max(a.shape[side] for a, *_ in batches) for side in (1, 2))
    k, most = min(m, n), max(most for *_, most in batches)
    a_all, bt_all, shape = np.zeros((games, m, n)), np.zeros((games, n, m)), np.zeros((games, 4), np.int64)
    tables, first, pair = [], 0, 0
    for a, b, pairs, _ in batches:
        rows, own = slice(first, first + len(a)), (pairs.shape[1] - 1) // 2
        a_all[rows, : a.shape[1], : a.shape[2]] = a
        bt_all[rows, : a.shape[2], : a.shape[1]] = b.transpose(0, 2, 1)
        shape[rows] = *a.shape[1:], pair, pair + len(pairs)
        table = np.zeros((len(pairs), 1 + 2 * k), np.int64)
        table[:, : 1 + own], table[:, 1 + k : 1 + k + own] = pairs[:, : 1 + own], pairs[:, 1 + own :]
        tables.append(table)
        first, pair = first + len(a), pair + len(pairs)
    sizes = (k + 1, k + 2), (most + 1, m), (most + 1, n), (most + 1,)
    room = tuple(((games, *size), np.float64) for size in sizes)
    out = np.zeros((games, m)), np.zeros((games, n)), np.zeros(games, np.int64), np.zeros(games)
    sent = a_all, bt_all, np.concatenate(tables), np.arange(max(len(table) for table in tables)), shape
    x, y, count, regret = launch(_solve, games, sent, room, out)
    answers, first = [], 0
    for a, b, pairs, kept in batches:
        rows = slice(first, first + len(a))
        solved = x[rows, : a.shape[1]].copy(), y[rows, : a.shape[2]].copy(), count[rows], regret[rows]
        left = np.flatnonzero(solved[2] == 0)
        if len(left):
            for column, filled in zip(solved, on_cpu(a[left], b[left], pairs, kept), strict=True):
                column[left] = filled
        answers.append(solved)
        first += len(a)
    return answers
