"""Permutation tests on a GPU: one thread a draw, from the CPU kernels' own source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.launch import Columns, cuda, launch
from qts_agents.kernels.permutation import trips

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]


@cuda.jit
def _trips(side: Any, soon: Any, size: Any, draws: Any, order: Any, out: Any) -> None:
    """Write the statistic of each draw."""
    for p in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        out[p] = trips(side, soon, size, draws[p], order[p])


def round_trips(side: I8, soon: NDArray[np.uint8], size: F8, draws: F8, out: Columns) -> Columns:
    """Write what `permutation.round_trips` returns."""
    return launch(_trips, len(draws), (side, soon, size, draws), ((draws.shape, np.int64),), out)
