"""One equilibrium of a bimatrix game by Lemke–Howson (1964) with a lexicographic ratio test.

The lexicographic test (von Stengel 2002, §2.6) makes every pivot unique, so degenerate games cannot cycle.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel, part
from qts_agents.kernels.scaling import scaled

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
EPSILON = 1e-11  # ratios closer than this are equal; payoffs are scaled to about 1
PIVOTS = 10_000
Room = tuple[F8, F8, I8, I8, I8]  # scratch of one game: both tableaux and their bases, rows that may leave


class One(msgspec.Struct, frozen=True):
    """One equilibrium of each of G games."""

    x: F8  # [G,m]
    y: F8  # [G,n]
    regret: F8  # [G] largest unilateral gain / payoff range


@part
def _least_ratio(table: F8, pivot: int, slack: int, alive: I8) -> int:
    """Return the row that leaves when column `pivot` enters; ties go by the slack columns from `slack` on."""
    rows, last = table.shape[0], table.shape[1] - 1
    left = 0
    for i in range(rows):
        if table[i, pivot] > EPSILON:
            alive[left] = i
            left += 1
    for step in range(rows + 1):
        column = last if step == 0 else slack + step - 1
        if left <= 1 or column == pivot:
            continue
        least = np.inf
        for i in range(left):
            least = min(least, table[alive[i], column] / table[alive[i], pivot])
        kept = 0
        for i in range(left):
            if table[alive[i], column] / table[alive[i], pivot] <= least + EPSILON:
                alive[kept] = alive[i]
                kept += 1
        left = kept
    return alive[0] if left > 0 else -1


@part
def _pivot(table: F8, column: int, row: int) -> None:
    """Make `column` a unit vector with its 1 in `row`."""
    width, scale = table.shape[1], table[row, column]
    for j in range(width):
        table[row, j] /= scale
    for i in range(table.shape[0]):
        factor = table[i, column]
        if i != row and factor != 0.0:
            for j in range(width):
                table[i, j] -= factor * table[row, j]


@part
def _tables(a: F8, bt: F8, first: F8, second: F8) -> None:
    """Write the tableaux of {Bᵀx ≤ 1} and {Ay ≤ 1}; payoffs in 0…1 are shifted to be positive."""
    m, n = a.shape
    for j in range(n):
        for k in range(m + n + 1):
            first[j, k] = bt[j, k] + 1.0 if k < m else 0.0
        first[j, m + j], first[j, m + n] = 1.0, 1.0
    for i in range(m):
        for k in range(m + n + 1):
            second[i, k] = a[i, k - m] + 1.0 if m <= k < m + n else 0.0
        second[i, i], second[i, m + n] = 1.0, 1.0


@part
def _read(table: F8, basis: I8, start: int, mix: F8) -> None:
    """Read the labels from `start` on off a solved tableau and scale them to a mixture."""
    total = 0.0
    for j in range(mix.shape[0]):
        mix[j] = 0.0
    for i in range(table.shape[0]):
        if start <= basis[i] < start + mix.shape[0]:
            weight = max(0.0, table[i, table.shape[1] - 1])  # a tie leaves 0, or −1e-16 of rounding
            mix[basis[i] - start] = weight
            total += weight
    for j in range(mix.shape[0]):
        mix[j] /= total


@part
def transpose(payoff: F8, out: F8) -> None:
    """Write payoff [m,n] to out [n,m]."""
    for i in range(payoff.shape[0]):
        for j in range(payoff.shape[1]):
            out[j, i] = payoff[i, j]


@part
def path_of(a: F8, bt: F8, label: int, room: Room, x: F8, y: F8) -> bool:
    """Drop `label`, follow the path, write the equilibrium of the scaled game a [m,n], bt [n,m]."""
    m, n = a.shape
    first, second, basis_first, basis_second, alive = room
    _tables(a, bt, first, second)
    for j in range(n):
        basis_first[j] = m + j
    for i in range(m):
        basis_second[i] = i
    entering, turn = label, label < m
    for _ in range(PIVOTS):
        if turn:
            row = _least_ratio(first, entering, m, alive)
            _pivot(first, entering, row)
            entering, basis_first[row] = basis_first[row], entering
        else:
            row = _least_ratio(second, entering, 0, alive)
            _pivot(second, entering, row)
            entering, basis_second[row] = basis_second[row], entering
        if entering == label:
            break
        turn = not turn
    _read(first, basis_first, 0, x)
    _read(second, basis_second, m, y)
    return entering == label


@part
def _room(m: int, n: int) -> Room:
    """Return what the path of one m×n game is followed in."""
    first, second = np.empty((n, m + n + 1)), np.empty((m, m + n + 1))
    return first, second, np.empty(n, np.int64), np.empty(m, np.int64), np.empty(max(m, n), np.int64)


@part
def lemke_howson(a: F8, bt: F8, label: int, x: F8, y: F8) -> bool:
    """Solve one game as `path_of` does, for a kernel that rarely has to."""
    return path_of(a, bt, label, _room(a.shape[0], a.shape[1]), x, y)


@kernel
def _batch(a: F8, bt: F8, label: int, x: F8, y: F8) -> None:
    """Solve G scaled games a [G,m,n], bt [G,n,m]."""
    room = _room(a.shape[1], a.shape[2])
    for g in range(a.shape[0]):
        path_of(a[g], bt[g], label, room, x[g], y[g])


def nash_one(a: F8, b: F8, label: int = 0) -> One:
    """Return the equilibrium that dropping `label` (0…m+n−1) leads to, in each game a, b [G,m,n]."""
    from qts_agents.kernels.nash import regret  # it builds on this module

    games = scaled(a), scaled(b).transpose(0, 2, 1).copy(), label
    x, y = np.empty(a.shape[:2]), np.empty(a.shape[::2])
    backend.fill("lemke_howson_gpu.batch", (x, y), games, _batch, batch_reference)
    return One(x, y, regret(a, b, x, y))


def batch_reference(a: F8, bt: F8, label: int, x: F8, y: F8) -> None:
    """Do what `_batch` does, one game after the other."""
    for g in range(len(a)):
        x[g], y[g] = lemke_howson_reference(a[g], bt[g].T, label)


def lemke_howson_reference(a: F8, b: F8, label: int) -> tuple[F8, F8]:
    """Return one equilibrium of the scaled game a, b [m,n] by whole-tableau numpy pivoting."""
    m, n = a.shape
    tables = [
        np.hstack([b.T + 1.0, np.eye(n), np.ones((n, 1))]),
        np.hstack([np.eye(m), a + 1.0, np.ones((m, 1))]),
    ]
    bases, slack = [np.arange(m, m + n), np.arange(m)], (m, 0)
    entering, side = label, 0 if label < m else 1
    for _ in range(PIVOTS):
        table, start = tables[side], slack[side]
        order = [m + n, *(c for c in range(start, start + len(table)) if c != entering)]
        rows = np.flatnonzero(table[:, entering] > EPSILON)
        for column in order:
            ratios = table[rows, column] / table[rows, entering]
            rows = rows[ratios <= ratios.min() + EPSILON]
        row = int(rows[0])
        table[row] /= table[row, entering]
        others = np.arange(len(table)) != row
        table[others] -= np.outer(table[others, entering], table[row])
        entering, bases[side][row] = int(bases[side][row]), entering
        if entering == label:
            break
        side = 1 - side
    full = [np.zeros(m + n), np.zeros(m + n)]
    for point, table, basis in zip(full, tables, bases, strict=True):
        point[basis] = np.maximum(table[:, -1], 0.0)
    x, y = full[0][:m], full[1][m:]
    return x / x.sum(), y / y.sum()
