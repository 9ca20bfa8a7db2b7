"""Eisert–Wilkens–Lewenstein games on a GPU: one thread a game, from the CPU kernels' own source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.ewl import Room, payoffs_of, play_of
from qts_agents.kernels.launch import Columns, Shape, cuda, launch

F8 = NDArray[np.float64]


@cuda.jit
def _games(payoffs: Any, gamma: Any, starts: Any, moves: Any, chances: Any, regrets: Any, form: Any,
           vectors: Any, sides: Any, states: Any, joint: Any, regret: Any) -> None:  # fmt: skip
    """Play each game."""
    for g in range(cuda.grid(1), payoffs.shape[0], cuda.gridsize(1)):
        room = Room(moves[g], chances[g], regrets[g], form[g], vectors[g], sides[g], states[g])
        regret[g] = play_of(payoffs[g], gamma, starts, room, joint[g])


@cuda.jit
def _payoffs(moves: Any, gamma: Any, a: Any, b: Any, sides: Any, state: Any, out: Any, probs: Any) -> None:
    """Write payoffs and probabilities of each pair of moves."""
    for k in range(cuda.grid(1), moves.shape[0], cuda.gridsize(1)):
        payoffs_of(moves[k], gamma, a, b, sides[k], state[k], out[k], probs[k])


def games(payoffs: F8, gamma: float, starts: F8, out: Columns) -> Columns:
    """Write where `ewl.play` settles, and the regrets."""
    count, size, (runs, _, q, _) = len(payoffs), payoffs.shape[2], starts.shape
    real = (3, 2, q, 3), (runs, size, size), (runs,), (4, 3), (4, 3)
    turned = (2, 2, size), (4, size, size)
    room: tuple[Shape, ...] = (
        *(((count, *shape), np.float64) for shape in real),
        *(((count, *shape), np.complex128) for shape in turned),
    )
    return launch(_games, count, (payoffs, gamma, starts), room, out)


def payoffs(moves: F8, gamma: float, a: F8, b: F8, out: Columns) -> Columns:
    """Write what `ewl.ewl` returns."""
    rows, size = len(moves), len(a)
    room = ((rows, 2, 2, size), np.complex128), ((rows, size, size), np.complex128)
    return launch(_payoffs, rows, (moves, gamma, a, b), room, out)
