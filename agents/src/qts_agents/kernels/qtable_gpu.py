"""The mirror-tied table on a GPU: one thread a state, from the CPU kernel's own source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.launch import Columns, cuda, launch
from qts_agents.kernels.qtable import Frame, look

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
I1 = NDArray[np.int8]


@cuda.jit
def _serve(Q: Any, N: Any, row: Any, kind: Any, states: Any, mean: Any, values: Any, action: Any) -> None:
    """Write the values and the greedy action of each state."""
    g = cuda.grid(1)
    if g < states.shape[0]:
        look(Q, N, Frame(row, kind), states, g, cuda.gridsize(1), mean[g], values, action)


def serve(Q: F8, N: F8, row: I8, kind: I1, states: I8, out: Columns) -> Columns:
    """Write what `qtable.serve` returns to `out`, which holds NaN and HOLD for the unknown."""
    room = (((len(states), 7), np.float64),)
    return launch(_serve, len(states), (Q, N, row, kind, states), room, out)
