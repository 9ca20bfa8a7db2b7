"""numpy arrays ↔ wire columns (pure)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_messaging.records import Column, Dtype

#: made once: numpy takes longer to read a name than to copy a short column
_DTYPES: dict[Dtype, np.dtype[Any]] = {
    name: np.dtype(f"<{name}") for name in ("f8", "f4", "i8", "u8", "u4", "u2", "u1")
}


def column(array: Any, dtype: Dtype = "f8") -> Column:
    """Return `array` as a wire column of `dtype` (f8, f4, i8, u8, u4, u2, u1), little-endian, C order."""
    values = np.ascontiguousarray(array, dtype=_DTYPES[dtype])
    return Column(dtype, values.shape, values.tobytes())


def array(col: Column) -> NDArray[Any]:
    """Return a read-only view of a column's bytes; ValueError when bytes, dtype and shape disagree."""
    kind = _DTYPES.get(col.dtype)
    if kind is None:
        raise ValueError(f"column dtype {col.dtype!r} is not one of {', '.join(_DTYPES)}")
    return np.frombuffer(col.data, dtype=kind).reshape(col.shape)
