"""The shared indicators (agents.md §1.8) of every symbol at a window's last bar: causal, on log prices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import MarketWindow
from qts_agents.kernels.backend import each_part, jit_enabled
from qts_agents.kernels.indicator_reference import reference_rows
from qts_agents.kernels.indicator_rows import ANOMALY, FIELDS, LOOKBACK, TAIL, WARNING, indicator_rows
from qts_agents.newest import Newest

F8 = NDArray[np.float64]
_COLUMNS = ("open", "high", "low", "close", "volume", "valid")


class Indicators(msgspec.Struct, frozen=True):
    """One value per symbol [S]; ratios of a flat market are 0, ranks ½, RSI 50. Masked parts are 0."""

    trend: F8  # tanh(½·√20·m20/σ20), odd
    momentum: F8  # mean sign of 10 returns, odd
    volatility: F8  # rank of σ20 among 250
    rsi: F8  # Wilder, 14, on log prices
    adx: F8  # from closes alone where highs and lows are missing
    macd: F8  # in units of σ20, odd
    whale: F8  # 0 without volume
    whale_side: F8  # sign(close − open); 0 without open or volume
    anomaly: F8
    tail: F8
    flash: F8
    illiquidity: F8  # from the terms that are present; 0 without any, see liquidity_seen
    ews: F8
    crisis: F8
    sigma20: F8  # sample deviations of log returns per bar
    sigma50: F8
    sigma100: F8
    sigma100_lag5: F8  # taken five returns earlier
    m20: F8  # mean log returns per bar
    m100: F8
    rho50: F8  # lag-1 autocorrelation
    sma_gap: F8  # SMA5 − SMA20 of ln close
    m5: F8
    m10: F8
    r: F8  # last log return; 0 where the bar before is missing
    ema20_gap: F8  # ln close − EMA20 of ln close
    volume_seen: F8  # 1 where whale and the volume terms are not masked
    liquidity_seen: F8  # weight of illiquidity's terms that are present, 0 … 0.8


ALL = TAIL | WARNING | ANOMALY
_newest: Newest[tuple[int, Indicators]] = Newest()


def indicators(window: MarketWindow, extra: int = ALL) -> Indicators:
    """Return the indicators at the last bar; rows with too few or broken closes are NaN.

    Only the last 320 bars matter, so any longer window gives the same bits. Fields of EXTRAS that `extra`
    does not ask for may be NaN: an agent names what it reads, for they take half of the time.
    """
    _, found = _newest.of(
        window, lambda: (extra, _indicators(window, extra)), lambda known: extra & ~known[0] == 0
    )
    return found


def _indicators(window: MarketWindow, extra: int) -> Indicators:
    """Compute them."""
    return of_columns([getattr(window, name)[:, -LOOKBACK:] for name in _COLUMNS], window.spread, extra)


def of_columns(columns: Sequence[NDArray[Any]], spread: F8, extra: int = ALL) -> Indicators:
    """Return the same of open, high, low, close, volume and valid [S,T], the last 320 bars at most."""
    out = np.full((len(spread), len(FIELDS)), np.nan)
    if columns[0].shape[1] >= 2:
        compute: Callable[..., None] = indicator_rows if jit_enabled() else reference_rows
        each_part(lambda *rows: compute(*rows, extra), *columns, spread, out)
    return Indicators(*np.ascontiguousarray(out.T))


def warm_up() -> None:
    """Compile what serving calls."""
    if jit_enabled():
        bar, one = np.ones((1, 2)), np.ones((1, 2), dtype=np.uint8)
        indicator_rows(bar, bar, bar, bar, bar, one, bar[0, :1], np.empty((1, len(FIELDS))), ALL)
