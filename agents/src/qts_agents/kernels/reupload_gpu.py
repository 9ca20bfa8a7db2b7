"""Forecasts of the re-uploading circuit on a GPU: one thread a row, from the CPU kernel's own source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.launch import Columns, cuda, launch
from qts_agents.kernels.reupload import forecast_of

F8 = NDArray[np.float64]


@cuda.jit
def _forecast(x: Any, mirror: Any, weights: Any, joined: Any, z: Any, state: Any, turned: Any, p: Any,
              out: Any) -> None:  # fmt: skip
    """Write the forecast of each row."""
    for r in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
        forecast_of(x[r], mirror, weights, joined, z, state[r], turned[r], p[r], out[r])


def forecast(x: F8, mirror: F8, weights: F8, joined: F8, z: F8, out: Columns) -> Columns:
    """Write what `reupload.forecast` returns."""
    rows = len(x)
    room = ((rows, len(joined)), np.complex128), (x.shape, np.float64), ((rows, 2, len(z)), np.float64)
    return launch(_forecast, rows, (x, mirror, weights, joined, z), room, out)
