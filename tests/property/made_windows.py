"""Hypothesis strategies: windows of random walks on a price grid, with jumps, flat stretches and gaps."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import strategies as st

from qts_agents.agent import MarketWindow

PRICES = ("open", "high", "low", "close")


def made(seed: int, symbols: int, bars: int, *, tick: float = 0.0, flat: float = 0.0, gaps: float = 0.0,
         closes_only: bool = False) -> MarketWindow:  # fmt: skip
    """Return a window of heavy-tailed walks; `flat` and `gaps` are shares of bars, `tick` a price grid."""
    draws = np.random.default_rng(seed)
    steps = 0.002 * draws.standard_t(4, (symbols, bars)) * (draws.random((symbols, bars)) >= flat)
    level = 100.0 * np.exp(np.cumsum(steps, axis=1))
    close = np.maximum(np.round(level / tick), 1.0) * tick if tick else level
    opened = np.concatenate((close[:, :1], close[:, :-1]), axis=1)
    wick = 0.001 * np.abs(draws.normal(size=(2, symbols, bars))) if not tick else np.zeros((2, symbols, bars))
    high = np.maximum(opened, close) * np.exp(wick[0])
    low = np.minimum(opened, close) * np.exp(-wick[1])
    volume = np.exp(draws.normal(5.0, 1.0, (symbols, bars))) * (draws.random((symbols, bars)) >= flat)
    market = np.concatenate(([0.0], np.diff(np.log(close), axis=1).mean(axis=0)))
    valid = (draws.random((symbols, bars)) >= gaps).astype(np.uint8)
    valid[:, -1] = 1
    for column in (opened, high, low, close, volume):
        column[valid == 0] = np.nan
    if closes_only:
        for column in (opened, high, low, volume):
            column[:] = np.nan
    return MarketWindow(
        symbols=tuple(f"S{i}" for i in range(symbols)), window_seq=bars, asof_ns=bars, bar_s=60.0,
        close_ns=np.arange(bars), open=opened, high=high, low=low, close=close, volume=volume, valid=valid,
        spread=draws.uniform(0.0, 0.01, symbols), imbalance=draws.uniform(-1.0, 1.0, symbols),
        depth=np.full(symbols, np.nan), fee=1e-4, spread_assumed=1e-4, market_ret=market,
    )  # fmt: skip


@st.composite
def windows(draw: st.DrawFn, symbols: int = 2, bars: int = 340) -> MarketWindow:
    """Draw a window of any of these kinds."""
    return made(
        draw(st.integers(0, 2**32 - 1)),
        symbols,
        bars,
        tick=draw(st.sampled_from([0.0, 0.0, 0.01, 0.5])),
        flat=draw(st.sampled_from([0.0, 0.0, 0.3, 0.95, 1.0])),
        gaps=draw(st.sampled_from([0.0, 0.0, 0.01, 0.03])),
        closes_only=draw(st.sampled_from([False, False, False, True])),
    )


def mirrored(window: MarketWindow) -> MarketWindow:
    """Return the market in which every price is its inverse."""
    return msgspec.structs.replace(
        window, open=1.0 / window.open, close=1.0 / window.close, high=1.0 / window.low,
        low=1.0 / window.high, imbalance=-window.imbalance, market_ret=-window.market_ret,
    )  # fmt: skip


def scaled(window: MarketWindow, price: float, volume: float) -> MarketWindow:
    """Return the window in other units."""
    prices = {name: getattr(window, name) * price for name in PRICES}
    return msgspec.structs.replace(window, volume=window.volume * volume, **prices)


def rows(window: MarketWindow, chosen: list[int]) -> MarketWindow:
    """Return some rows of the window, in the order of `chosen`; the market stays that of all."""
    names = (*PRICES, "volume", "valid", "spread", "imbalance", "depth")
    cut = {name: np.ascontiguousarray(getattr(window, name)[chosen]) for name in names}
    return msgspec.structs.replace(window, symbols=tuple(window.symbols[i] for i in chosen), **cut)


def bars(window: MarketWindow, chosen: slice) -> MarketWindow:
    """Return some bars of the window."""
    names = (*PRICES, "volume", "valid")
    cut = {name: getattr(window, name)[:, chosen] for name in names}
    return msgspec.structs.replace(
        window, close_ns=window.close_ns[chosen], market_ret=window.market_ret[chosen], **cut
    )
