"""Tile-coded values on a GPU: one thread a state, from the CPU kernel's own source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.launch import Columns, cuda, launch
from qts_agents.kernels.tiles import PAIRS, look

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]


@cuda.jit
def _serve(W: Any, N: Any, states: Any, rows: Any, images: Any, q: Any, values: Any, action: Any) -> None:
    """Write the values and the greedy action of each state."""
    g = cuda.grid(1)
    if g < states.shape[0]:
        look(W, N, states, g, cuda.gridsize(1), (rows[g], images[g], q[g]), values, action)


def serve(W: F8, N: F8, states: I8, out: Columns) -> Columns:
    """Write what `tiles.serve` returns to `out`, which holds NaN and HOLD for the unknown."""
    count = len(states)
    places, sums = ((count, PAIRS), np.int64), ((count, 2, 7), np.float64)
    return launch(_serve, count, (W, N, states), (places, places, sums), out)
