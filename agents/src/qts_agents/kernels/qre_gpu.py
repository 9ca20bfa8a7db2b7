"""Quantal responses on a GPU: one thread a game, from the CPU kernel's own source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.launch import Columns, cuda, launch
from qts_agents.kernels.qre import LINES, path_of

F8 = NDArray[np.float64]


@cuda.jit
def _follow(u: Any, targets: Any, lines: Any, work: Any, mix: Any, residual: Any) -> None:
    """Follow the branch of each game."""
    for g in range(cuda.grid(1), u.shape[0], cuda.gridsize(1)):
        residual[g] = path_of(u[g], targets[g], mix[g], lines[g], work[g])


def follow(u: F8, targets: F8, out: Columns) -> Columns:
    """Return the mixtures [G,3,n] and residuals [G] where the branches reach their targets [G]."""
    games, size = len(u), 3 * u.shape[2] + 1
    room = ((games, LINES, size), np.float64), ((games, size, size + 2), np.float64)
    return launch(_follow, games, (u, targets), room, out)
