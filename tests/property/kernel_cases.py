"""Inputs for every row of the kernels' registry: random, degenerate, with gaps and NaN.

A case draws its inputs once and returns a function that calls the kernel on them and gives back all that it
computed; the parity tests run that function on every backend. `kind` counts up from 0: cases that have an
easy and a nasty form take the nasty one at odd numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tests.property import cases_games, cases_learning, cases_series

#: entry of the registry → its inputs
CASES: dict[str, Callable[[np.random.Generator, int], Callable[[], Any]]] = {
    **cases_games.CASES,
    **cases_learning.CASES,
    **cases_series.CASES,
}


def flat(answer: Any) -> list[np.ndarray]:
    """Return every number of an answer, as arrays in a fixed order."""
    if hasattr(answer, "__struct_fields__"):
        return [a for name in answer.__struct_fields__ for a in flat(getattr(answer, name))]
    if isinstance(answer, tuple):
        return [a for part in answer for a in flat(part)]
    return [] if isinstance(answer, str) else [np.asarray(answer)]
