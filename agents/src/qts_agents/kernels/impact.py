"""Kyle's (1985) λ of every symbol: how far a trade moves the price, in the root of its volume.

Sums go in numpy's order, by eight running sums, so that both forms agree to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.backend import each_part, floats, jit_enabled, kernel
from qts_agents.kernels.sums import summed

F8 = NDArray[np.float64]
BP = 1e4
ORDER_SHARE = 0.01  # of the mean bar volume


def impact(returns: Any, opened: Any, closed: Any, volume: Any) -> F8:
    """Return the price impact [S] in bp of an order of 1 % of the mean volume of these bars, each [S,T].

    Slope of r on sign(close−open)·√volume times the order's root; NaN where volume is missing in half of the
    bars or the slope is not positive. T at most 128.
    """
    out, columns = np.empty(len(returns)), (returns, opened, closed, volume)
    ready = [floats(x) for x in columns]
    each_part(_rows if jit_enabled() else rows_reference, *ready, out)
    return out


@kernel
def _rows(returns: F8, opened: F8, closed: F8, volume: F8, out: F8) -> None:
    """Write the impact of each row."""
    length = returns.shape[1]
    x, y, v, products = np.empty(length), np.empty(length), np.empty(length), np.empty(length)
    known = np.empty(length, np.bool_)
    for s in range(returns.shape[0]):
        count = 0
        for i in range(length):
            r, bar, traded = returns[s, i], opened[s, i], volume[s, i]
            side = np.sign(closed[s, i] - bar) if np.isfinite(bar) else np.sign(r)
            x[i] = side * np.sqrt(max(traded, 0.0)) if np.isfinite(traded) else np.nan
            known[i] = np.isfinite(x[i]) and np.isfinite(r)
            count += known[i]
            x[i], y[i], v[i] = (x[i], r, traded) if known[i] else (0.0, 0.0, 0.0)
        n = max(count, 1)
        mean = summed(x) / n
        for i in range(length):
            x[i] = x[i] - mean if known[i] else 0.0
            products[i] = x[i] * y[i]
        top = summed(products)
        for i in range(length):
            products[i] = x[i] * x[i]
        bottom = summed(products)
        slope = top / bottom if bottom != 0.0 else 0.0
        usable = count >= length // 2 and slope > 0.0
        out[s] = BP * slope * np.sqrt(ORDER_SHARE * summed(v) / n) if usable else np.nan


def rows_reference(returns: F8, opened: F8, closed: F8, volume: F8, out: F8) -> None:
    """Write the impact of each row by whole arrays."""
    direction = np.where(np.isfinite(opened), np.sign(closed - opened), np.sign(returns))
    x = direction * np.sqrt(np.maximum(volume, 0.0))
    known = np.isfinite(x) & np.isfinite(returns)
    n = np.maximum(known.sum(axis=1), 1)
    x, y, v = (np.where(known, values, 0.0) for values in (x, returns, volume))
    dx = np.where(known, x - (x.sum(axis=1) / n)[:, None], 0.0)
    top, bottom = (dx * y).sum(axis=1), (dx * dx).sum(axis=1)
    slope = np.divide(top, bottom, out=np.zeros(top.shape), where=bottom != 0.0)
    usable = (known.sum(axis=1) >= returns.shape[1] // 2) & (slope > 0.0)
    out[:] = np.where(usable, BP * slope * np.sqrt(ORDER_SHARE * v.sum(axis=1) / n), np.nan)
