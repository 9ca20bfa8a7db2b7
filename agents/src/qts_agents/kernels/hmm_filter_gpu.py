"""Hidden Markov models filtered on a GPU: one thread a row, from the CPU kernel's own source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.hmm_filter import filtered
from qts_agents.kernels.launch import Columns, cuda, launch

F8 = NDArray[np.float64]


@cuda.jit
def _rows(density: Any, move: Any, start: Any, out: Any) -> None:
    """Filter each row."""
    for s in range(cuda.grid(1), density.shape[0], cuda.gridsize(1)):
        filtered(density[s], move[s], start[s], out[s])


def rows(density: F8, move: F8, start: F8, out: Columns) -> Columns:
    """Write what `hmm_filter.hmm_filter` returns."""
    return launch(_rows, len(density), (density, move, start), (), out)
