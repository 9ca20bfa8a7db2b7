"""Prospect values on a GPU: one thread a row.

The CPU's form is numpy's, whose powers differ in their last bit from a compiled loop's; decisions hold
them. So the routine for one row is the device's own, and the columns are what it is tested against.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.launch import Columns, cuda, launch
from qts_agents.kernels.prospect import CURVATURE, DELTA, GAMMA, LOSS_AVERSION

F8 = NDArray[np.float64]


@cuda.jit(device=True)
def _felt(x: Any) -> Any:
    """Return v(x)."""
    return x**CURVATURE if x >= 0.0 else -LOSS_AVERSION * (-x) ** CURVATURE


@cuda.jit(device=True)
def _weight(p: Any, c: Any) -> Any:
    """Return p^c/(p^c+(1−p)^c)^(1/c)."""
    a, b = p**c, (1.0 - p) ** c
    return a / (a + b) ** (1.0 / c)


@cuda.jit
def _values(p: Any, stakes: Any, out: Any) -> None:
    """Write the value of each long; p [S,3], stakes [S,3] are gain, cost and loss."""
    for s in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        beneath = p[s, 1] + p[s, 2]
        if beneath > 1.0:
            beneath = 1.0
        worst = _weight(p[s, 2], DELTA)
        middle = _weight(beneath, DELTA) - worst
        gain = _weight(p[s, 0], GAMMA) * _felt(stakes[s, 0])
        out[s] = gain + middle * _felt(-stakes[s, 1]) + worst * _felt(-stakes[s, 2])


def values(p: F8, stakes: F8, out: Columns) -> Columns:
    """Write what `prospect.prospect_value` returns."""
    return launch(_values, len(p), (p, stakes), (), out)
