"""Small linear systems by elimination with partial pivoting, inside kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.backend import part

F8 = NDArray[np.float64]


@part
def solve(work: F8, n: int, sides: int, least: float) -> float:
    """Solve the n×n system in `work[:n, :n]` for the `sides` columns behind it, in place.

    Return the determinant's sign, or 0 where a pivot is below `least` or no number: the system is singular.
    """
    sign = 1.0
    for column in range(n):
        best = column
        for row in range(column + 1, n):
            if abs(work[row, column]) > abs(work[best, column]):
                best = row
        if not abs(work[best, column]) >= least:
            return 0.0
        sign = sign if work[best, column] > 0.0 else -sign
        if best != column:
            sign = -sign
            for j in range(column, n + sides):
                work[column, j], work[best, j] = work[best, j], work[column, j]
        for row in range(column + 1, n):
            factor = work[row, column] / work[column, column]
            if factor != 0.0:
                for j in range(column + 1, n + sides):
                    work[row, j] -= factor * work[column, j]
    for row in range(n - 1, -1, -1):
        for side in range(n, n + sides):
            total = work[row, side]
            for j in range(row + 1, n):
                total -= work[row, j] * work[j, side]
            work[row, side] = total / work[row, row]
    return sign
