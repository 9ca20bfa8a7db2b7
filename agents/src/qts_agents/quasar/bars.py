"""Closed bars one at a time, each with the window as it was then, and what is recorded of it (pure)."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import MarketWindow
from qts_agents.choice import known_or_zero
from qts_agents.kernels.indicators import Indicators
from qts_agents.kernels.outcomes import costs
from qts_agents.opinions import NEEDED_BARS
from qts_agents.quasar.states import NONE, orientation

F8 = NDArray[np.float64]
_COLUMNS = ("open", "high", "low", "close", "volume", "valid")


def closed(window: MarketWindow, bars: int) -> Iterator[MarketWindow]:
    """Yield the window at each of its last `bars` closes, oldest first, where 320 bars stand behind it."""
    length = window.close.shape[1]
    for late in range(min(bars, length - NEEDED_BARS + 1) - 1, -1, -1):
        yield window if late == 0 else _cut(window, late)


def record(
    window: MarketWindow, ind: Indicators, code: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int8], F8, F8]:
    """Return what is recorded of the last bar, each [S], given its code.

    That is the code where the bar is whole, side, return that led here (NaN across an invalid bar) and σ₂₀.
    """
    valid = (window.valid[:, -1] != 0) & (window.valid[:, -2] != 0)
    code = np.where((window.valid[:, -1] != 0) & np.isfinite(ind.sigma20), code, NONE)
    side = orientation(ind.trend, ind.rsi - 50.0, ind.r)
    ret = np.full(len(window.symbols), np.nan)
    np.log(window.close[:, -1] / window.close[:, -2], out=ret, where=valid)
    return code, side, ret, known_or_zero(ind.sigma20)


def half_cost(window: MarketWindow) -> float:
    """Return what one side of a trade costs, as a share of the price, over all symbols."""
    return 0.5 * float(np.mean(costs(window)))


def _cut(window: MarketWindow, late: int) -> MarketWindow:
    """Return the window as it was `late` bars ago; quotes, which belong to the last bar, are masked."""
    unknown = np.full(len(window.symbols), np.nan)
    shorter = {name: np.ascontiguousarray(getattr(window, name)[:, :-late]) for name in _COLUMNS}
    return msgspec.structs.replace(
        window,
        window_seq=window.window_seq - late,
        asof_ns=int(window.close_ns[-late - 1]),
        close_ns=window.close_ns[:-late],
        market_ret=window.market_ret[:-late],
        spread=unknown,
        imbalance=unknown,
        depth=unknown,
        **shorter,
    )
