"""Replicator dynamics on a GPU: one thread a game, from the CPU kernel's own source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.launch import Columns, cuda, launch
from qts_agents.kernels.replicator import flow_of

F8 = NDArray[np.float64]


@cuda.jit
def _flow(a: Any, bt: Any, steps: Any, dt: Any, here: Any, slope: Any, total: Any, x: Any, y: Any) -> None:
    """Move the shares of each game."""
    for g in range(cuda.grid(1), a.shape[0], cuda.gridsize(1)):
        flow_of(a[g], bt[g], steps, dt, x[g], y[g], here[g], slope[g], total[g])


def flow(a: F8, bt: F8, steps: int, dt: float, out: Columns) -> Columns:
    """Return the shares x [G,m], y [G,n] after `steps`; `out` holds those before."""
    place = (len(a), a.shape[1] + a.shape[2]), np.float64
    return launch(_flow, len(a), (a, bt, steps, dt), (place,) * 3, out)
