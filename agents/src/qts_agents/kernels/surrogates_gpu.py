"""Kendall's τ of surrogates on a GPU: one thread a series, from the CPU kernel's own source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.launch import Columns, cuda, launch
from qts_agents.kernels.surrogates import taus_of

F8 = NDArray[np.float64]


@cuda.jit
def _taus(series: Any, span: Any, stride: Any, sums: Any, square: Any, pairs: Any, out: Any) -> None:
    """Write τ of each row."""
    for k in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        taus_of(series[k], span, stride, sums[k], square[k], pairs[k], out[k])


def taus(series: F8, span: int, stride: int, out: Columns) -> Columns:
    """Write what `surrogates.taus` returns."""
    rows, windows = len(series), series.shape[1] - span + 1
    room = ((rows, 4, span), np.float64), ((rows, windows), np.float64), ((rows, windows), np.float64)
    return launch(_taus, rows, (series, span, stride), room, out)
