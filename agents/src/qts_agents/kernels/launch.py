"""One launch on a device: columns there, a thread for each row, results back; imported where there is one."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

THREADS = 64  # of a block
cuda: Any = importlib.import_module("numba.cuda")  # it carries no types
Columns = tuple[NDArray[Any], ...]
Shape = tuple[tuple[int, ...], type]  # of memory that a kernel works in


def launch(
    kernel: Any,
    rows: int,
    sent: tuple[Any, ...],
    room: tuple[Shape, ...],
    out: Columns,
    threads: int = THREADS,
) -> Columns:
    """Run kernel(*sent, *room, *out) with a thread for each of `rows`; return what it made of `out`.

    `out` itself is left alone: when a device answers too late, the CPU's answer stands there already.
    """
    given = [
        cuda.to_device(np.ascontiguousarray(part)) if isinstance(part, np.ndarray) else part for part in sent
    ]
    places = [cuda.device_array(shape, kind) for shape, kind in room]
    written = [cuda.to_device(np.ascontiguousarray(column)) for column in out]
    kernel[-(-rows // threads), threads](*given, *places, *written)
    return tuple(column.copy_to_host() for column in written)
