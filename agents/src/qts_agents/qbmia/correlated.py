"""The best a trusted adviser can do for the trader: correlated equilibria (Aumann 1974), found by pivoting.

An entangled game has correlated outcomes, so comparing it with Nash equilibria alone would be unfair: a
common classical signal correlates too. The linear programme is small and is solved in plain numpy where
somebody asks for an explanation; no decision rests on it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
ZERO = 1e-9  # of payoffs scaled to a range of 1
PIVOTS = 1_000


def incentives(a: F8, b: F8) -> F8:
    """Return what each player gains by doing k when told i [m(m−1)+n(n−1), m·n]; a, b [m,n]."""
    m, n = a.shape
    rows = []
    for i in range(m):
        for k in (k for k in range(m) if k != i):
            row = np.zeros((m, n))
            row[i] = a[k] - a[i]
            rows.append(row.ravel())
    for j in range(n):
        for k in (k for k in range(n) if k != j):
            row = np.zeros((m, n))
            row[:, j] = b[:, k] - b[:, j]
            rows.append(row.ravel())
    return np.array(rows)


def best(a: F8, b: F8) -> F8:
    """Return the joint distribution [m,n] of the correlated equilibrium that pays the row player most.

    Maximise Σ(a − min a + 1)·x under incentives·x ≤ 0, Σx ≤ 1, x ≥ 0: x = 0 is a first vertex, and as every
    game has such an equilibrium and all values are positive, the best x sums to 1.
    """
    value = _scaled(a)
    gains = incentives(value, _scaled(b))
    tableau = np.vstack((gains, np.ones(a.size), -(value.ravel() + 1.0)))
    height = len(tableau) - 1
    slack = np.vstack((np.eye(height), np.zeros(height)))
    right = np.zeros((height + 1, 1))
    right[height - 1] = 1.0
    tableau = np.hstack((tableau, slack, right))
    basis = a.size + np.arange(height)
    for _ in range(PIVOTS):
        entering = int(np.argmin(tableau[-1, :-1]))
        if tableau[-1, entering] >= -ZERO:
            break
        _pivot(tableau, basis, entering, a.size)
    x = np.zeros(tableau.shape[1] - 1)
    x[basis] = tableau[:-1, -1]
    joint = np.maximum(x[: a.size], 0.0).reshape(a.shape)
    return np.asarray(joint / joint.sum())


def _pivot(tableau: F8, basis: NDArray[np.int64], column: int, slack: int) -> None:
    """Bring `column` into the basis; ties, most right sides being 0, are broken in lexicographic order."""
    height = len(basis)
    rows = np.flatnonzero(tableau[:height, column] > ZERO)
    for by in (tableau.shape[1] - 1, *range(slack, slack + height)):
        if rows.size == 1:
            break
        ratio = tableau[rows, by] / tableau[rows, column]
        rows = rows[ratio <= ratio.min() + ZERO]
    leaving = int(rows[0])
    tableau[leaving] /= tableau[leaving, column]
    factor = tableau[:, column].copy()
    factor[leaving] = 0.0
    tableau -= factor[:, None] * tableau[leaving]
    basis[leaving] = column


def _scaled(payoffs: F8) -> F8:
    """Return payoffs moved and scaled to [0,1]; constant ones are 0."""
    span = float(np.ptp(payoffs))
    return np.asarray((payoffs - payoffs.min()) / span if span > 0.0 else np.zeros_like(payoffs))
