"""Does following the trend gain from jumps in volatility? From returns to the statistic in one pass.

The paper profit of a bar is sign(mean of the `span` returns before)·return; `convexity` measures how it
curves in the change of the deviation of `span` returns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.backend import each_part, floats, jit_enabled, kernel
from qts_agents.kernels.convexity import LAGS, LEAST, convexity_t, row_part
from qts_agents.kernels.rolling import SIGMA_FLOOR, TIE, levels_row, rolling_moments

F8 = NDArray[np.float64]


def trend_convexity(returns: Any, span: int) -> F8:
    """Return the t [S] of the profits from the returns [S,T] that follow the first `span`; NaN if too few."""
    r, out = floats(returns), np.empty(len(returns))
    each_part(_rows if jit_enabled() else rows_reference, r, out, np.full(len(r), span))
    return out


@kernel
def _rows(r: F8, out: F8, spans: NDArray[np.int64]) -> None:
    """Write t of each row, which never leaves the cache."""
    length = r.shape[1]
    levels, pnl, change, room = (
        np.empty((2, length)),
        np.empty(length),
        np.empty(length),
        np.empty((3, length)),
    )
    for s in range(r.shape[0]):
        n = spans[s]
        count = length - n
        if count < LEAST:
            out[s] = np.nan
            continue
        levels_row(r[s], n, SIGMA_FLOOR, room, levels[0], levels[1])
        for i in range(count):
            mean, sigma = levels[0, i], levels[1, i]
            # a price that came back has no trend, whichever side rounding leaves it on. NaN stays NaN
            side = np.sign(mean) if abs(mean) > TIE * sigma else 0.0 * sigma
            pnl[i], change[i] = side * r[s, n + i], levels[1, i + 1] - sigma
        out[s] = row_part(pnl[:count], change[:count], LAGS, LEAST, room)


def rows_reference(r: F8, out: F8, spans: NDArray[np.int64]) -> None:
    """Write t of each row by whole arrays."""
    span = int(spans[0])
    if r.shape[1] - span < LEAST:
        out[:] = np.nan
        return
    known = rolling_moments(r, span)
    mean, sigma = known.mean[:, span - 1 :], known.std[:, span - 1 :]
    side = np.where(np.abs(mean) > TIE * sigma, np.sign(mean), 0.0 * sigma)
    out[:] = convexity_t(side[:, :-1] * r[:, span:], sigma)
