"""numpy arrays ↔ wire columns (pure)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_messaging.messages import Column, Dtype

_DTYPES = {
    "f8": np.float64,
    "f4": np.float32,
    "i8": np.int64,
    "u8": np.uint64,
    "u4": np.uint32,
    "u2": np.uint16,
    "u1": np.uint8,
}


def column(array: Any, dtype: Dtype = "f8") -> Column:
    """Return `array` as a wire column of `dtype` (f8, f4, i8, u8, u4, u2, u1), little-endian, C order."""
    values = np.ascontiguousarray(array, dtype=np.dtype("<" + dtype) if dtype != "u1" else np.uint8)
    return Column(dtype, tuple(int(n) for n in values.shape), values.tobytes())


def array(col: Column) -> NDArray[Any]:
    """Return a read-only view of a column's bytes; ValueError when bytes, dtype and shape disagree."""
    if col.dtype not in _DTYPES:
        raise ValueError(f"column dtype {col.dtype!r} is not one of {', '.join(_DTYPES)}")
    flat = np.frombuffer(col.data, dtype=np.dtype("<" + col.dtype) if col.dtype != "u1" else np.uint8)
    return flat.reshape(col.shape)
