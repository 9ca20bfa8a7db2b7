"""The natural logarithm of many numbers at once, as the vector unit of a CPU takes it (fdlibm, Sun 1993).

x = 2^k·(1+f) with 1+f in [√½, √2); ln(1+f) is an odd series in f/(2+f). No step branches, so that
four numbers go side by side; the library's logarithm takes one at a time, and three times as long. Within two
units of the last place of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel, part

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
SERIES = (
    6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
    1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01,
)  # fmt: skip
ROOT_HALF = 0x3FE6A09E667F3BCD  # the bits of √½
SHIFT = 0x3FF0000000000000 - ROOT_HALF
FRACTION = 0x000FFFFFFFFFFFFF
WHOLE = 0x4330000000000000  # the bits of 2^52: what is below them is read as a whole number
BIAS = 2.0**52 + 1023.0
LEAST = 2.3e-308  # smaller ones have no leading bit; they, NaN and infinity are left to the library


def log(x: Any) -> F8:
    """Return ln of each of `x` [N]; −∞ at 0, NaN below."""
    values = np.array(x, dtype=np.float64, order="C")
    if not backend.jit_enabled():
        return log_reference(values)
    out = np.empty(values.shape[0])
    _log(values, out, np.empty((2, values.shape[0]), np.int64))
    return out


def log_reference(x: F8) -> F8:
    """Return the library's logarithm."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(x))


@kernel
def _log(x: F8, out: F8, bits: I8) -> None:
    """Write the logarithms."""
    log_part(x, out, bits)


@part
def log_part(x: F8, out: F8, bits: I8) -> None:
    """Write ln x [N] to `out` [N]; both contiguous, `bits` [2,N] is room."""
    n = x.shape[0]
    whole, mantissa, exponent = x.view(np.int64), bits[0, :n], bits[1, :n]
    for i in range(n):
        moved = whole[i] + SHIFT
        mantissa[i] = (moved & FRACTION) + ROOT_HALF
        exponent[i] = ((moved >> 52) & 0x7FF) | WHOLE
    ones, powers = mantissa.view(np.float64), exponent.view(np.float64)
    for i in range(n):
        f, k = ones[i] - 1.0, powers[i] - BIAS
        s = f / (2.0 + f)
        z = s * s
        tail = SERIES[5] + z * SERIES[6]
        tail = SERIES[3] + z * (SERIES[4] + z * tail)
        tail = SERIES[1] + z * (SERIES[2] + z * tail)
        half = 0.5 * f * f
        rest = z * (SERIES[0] + z * tail)
        out[i] = k * LN2_HIGH - ((half - (s * (half + rest) + k * LN2_LOW)) - f)
    for i in range(n):
        if not LEAST <= x[i] < np.inf:
            out[i] = np.log(x[i])
