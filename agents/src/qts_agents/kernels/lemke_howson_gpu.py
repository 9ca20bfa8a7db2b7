"""Lemke–Howson on a GPU: one thread a game, from the CPU kernel's own source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.launch import Columns, cuda, launch
from qts_agents.kernels.lemke_howson import path_of

F8 = NDArray[np.float64]


@cuda.jit
def _batch(a: Any, bt: Any, label: Any, first: Any, second: Any, bases: Any, others: Any, alive: Any,
           x: Any, y: Any) -> None:  # fmt: skip
    """Solve each game."""
    for g in range(cuda.grid(1), a.shape[0], cuda.gridsize(1)):
        path_of(a[g], bt[g], label, (first[g], second[g], bases[g], others[g], alive[g]), x[g], y[g])


def batch(a: F8, bt: F8, label: int, out: Columns) -> Columns:
    """Write the equilibria that `lemke_howson.nash_one` returns."""
    games, m, n = a.shape
    tableaux = tuple(((games, rows, m + n + 1), np.float64) for rows in (n, m))
    rest = tuple(((games, rows), np.int64) for rows in (n, m, max(m, n)))
    return launch(_batch, games, (a, bt, label), tableaux + rest, out)
