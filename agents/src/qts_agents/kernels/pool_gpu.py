"""The LMSR pool on a GPU: one thread a row, from the CPU kernel's own source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.launch import Columns, cuda, launch
from qts_agents.kernels.pool import pool_of

F8 = NDArray[np.float64]


@cuda.jit
def _lmsr(pi: Any, omega: Any, prior: Any, b: Any, factor: Any, clipped: Any, logs: Any, trade: Any,
          three: Any, p: Any, dissent: Any, share: Any, without: Any, q: Any) -> None:  # fmt: skip
    """Pool the opinions of each row."""
    for s in range(cuda.grid(1), pi.shape[0], cuda.gridsize(1)):
        room = clipped[s], logs[s], trade[s], three[s]
        dissent[s] = pool_of(pi[s], omega[s], prior[s], b, factor, room, p[s], share[s], without[s], q[s])


def lmsr(pi: F8, omega: F8, prior: F8, b: float, factor: float, out: Columns) -> Columns:
    """Write what `pool.lmsr_pool` returns."""
    room = *((pi.shape, np.float64),) * 3, ((len(pi), 3, 3), np.float64)
    return launch(_lmsr, len(pi), (pi, omega, prior, b, factor), room, out)
