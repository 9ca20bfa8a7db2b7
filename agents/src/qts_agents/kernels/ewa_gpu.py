"""Learning in games on a GPU: one thread a symbol or a game, from the CPU kernels' own source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.ewa import match_of, population
from qts_agents.kernels.launch import Columns, cuda, launch

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]


@cuda.jit
def _populations(u: Any, own: Any, seen: Any, delays: Any, memories: Any, drawn: Any, out: Any) -> None:
    """Write the mean strategy of each symbol."""
    for s in range(cuda.grid(1), u.shape[0], cuda.gridsize(1)):
        population(u[s], own[s], seen[s], delays, memories, drawn[s], out[s])


@cuda.jit
def _match(a: Any, bt: Any, draws: Any, rows: Any, columns: Any, mixes: Any, joint: Any) -> None:
    """Write the play of each game."""
    for g in range(cuda.grid(1), a.shape[0], cuda.gridsize(1)):
        match_of(a[g], bt[g], draws[g], rows[g], columns[g], mixes[g], joint[g])


def populations(u: F8, own: I8, seen: I8, delays: I8, memories: I8, out: Columns) -> Columns:
    """Write what `ewa.ewa` returns."""
    return launch(_populations, len(u), (u, own, seen, delays, memories), ((u.shape[:2], np.float64),), out)


def match(a: F8, bt: F8, draws: F8, out: Columns) -> Columns:
    """Write what `ewa.regret_match` returns."""
    games, m, n = a.shape
    room = tuple(((games, *size), np.float64) for size in ((m, m), (n, n), (3, max(m, n))))
    return launch(_match, games, (a, bt, draws), room, out)
