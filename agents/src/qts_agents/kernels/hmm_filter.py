"""Hidden Markov models filtered: each state's probability given all that was seen so far (Hamilton 1989).

Rows are models of their own, a symbol each. What a state says of an observation comes in as its density, in
any unit that the states of a bar share; a bar that no state can explain leaves them all equally likely.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel, part

F8 = NDArray[np.float64]


def hmm_filter(density: F8, move: F8, start: F8) -> F8:
    """Return the filtered probabilities [S,T,K] of densities [S,T,K].

    `move` [S,K,K] are the transitions, whose rows sum to 1; `start` [S,K] is expected of the first bar.
    """
    given = tuple(np.array(column, np.float64, order="C") for column in (density, move, start))
    out = np.zeros(given[0].shape)
    backend.fill("hmm_filter_gpu.rows", (out,), given, _rows, rows_reference)
    return out


@part
def filtered(density: F8, move: F8, start: F8, out: F8) -> None:
    """Write the filtered probabilities [T,K] of one row."""
    T, K = density.shape
    for t in range(T):
        total = 0.0
        for j in range(K):
            prior = start[j]
            if t > 0:
                prior = 0.0
                for i in range(K):
                    prior += out[t - 1, i] * move[i, j]
            out[t, j] = prior * density[t, j]
            total += out[t, j]
        for j in range(K):
            out[t, j] = out[t, j] / total if total > 0.0 else 1.0 / K


@kernel
def _rows(density: F8, move: F8, start: F8, out: F8) -> None:
    """Filter each row."""
    for s in range(density.shape[0]):
        filtered(density[s], move[s], start[s], out[s])


def rows_reference(density: F8, move: F8, start: F8, out: F8) -> None:
    """Filter each row by vectors."""
    for s, row in enumerate(density):
        ahead = start[s]
        for t, seen in enumerate(row):
            joint = ahead * seen
            out[s, t] = joint / joint.sum() if joint.sum() > 0.0 else 1.0 / row.shape[1]
            ahead = out[s, t] @ move[s]
