"""Rolling moments on a GPU: one thread a row, from the CPU kernel's own source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.launch import Columns, cuda, launch
from qts_agents.kernels.rolling import moments_row

F8 = NDArray[np.float64]


@cuda.jit
def _moments(x: Any, n: Any, floor: Any, sums: Any, mean: Any, std: Any, rho: Any, skew: Any) -> None:
    """Write the moments of each row."""
    for s in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
        moments_row(x[s], n, floor, sums[s], mean[s], std[s], rho[s], skew[s])


def moments(x: F8, n: int, floor: float, out: Columns) -> Columns:
    """Write what `rolling.rolling_moments` returns to `out`, four of [S,T], from place n−1 on."""
    return launch(_moments, len(x), (x, n, floor), (((len(x), 8, n), np.float64),), out)
