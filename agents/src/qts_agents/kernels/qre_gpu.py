"""Quantal responses on a GPU: one thread a game, from the CPU kernel's own source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.launch import Columns, cuda, launch
from qts_agents.kernels.qre import path_of

F8 = NDArray[np.float64]


@cuda.jit
def _follow(u: Any, rates: Any, answer: Any, effect: Any, slope: Any, mix: Any, residual: Any) -> None:
    """Follow the path of each game."""
    for g in range(cuda.grid(1), u.shape[0], cuda.gridsize(1)):
        residual[g] = path_of(u[g], rates, mix[g], answer[g], effect[g], slope[g])


def follow(u: F8, rates: F8, out: Columns) -> Columns:
    """Return the mixtures [G,3,n] and residuals [G] at the paths' ends; `out` holds the mixtures before."""
    games, n = len(u), u.shape[2]
    sizes = (3, n), (2, n), (3 * n, 3 * n + 1)
    room = tuple(((games, *size), np.float64) for size in sizes)
    return launch(_follow, games, (u, rates), room, out)
