"""Windows: a choice of rows, the form inside a request, and closed coarser bars (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import MarketWindow
from qts_agents.columns import array, column
from qts_messaging.records import Window

F8 = NDArray[np.float64]
PRICES = ("open", "high", "low", "close", "volume")
QUOTES = ("spread", "imbalance", "depth")
MATRICES = (*PRICES, "valid")
VECTORS = ("close_ns", "market_ret")


def pick(window: MarketWindow, symbols: Sequence[str]) -> MarketWindow:
    """Return the rows of `symbols` in that order; KeyError names one that the window lacks."""
    at = {symbol: row for row, symbol in enumerate(window.symbols)}
    rows = [at[symbol] for symbol in symbols]
    cut = {name: frozen(getattr(window, name)[rows]) for name in (*MATRICES, *QUOTES)}
    return msgspec.structs.replace(window, symbols=tuple(symbols), **cut)


def to_wire(window: MarketWindow) -> Window:
    """Return a window as it travels inside a DECISION_REQUEST."""
    columns = {name: column(getattr(window, name)) for name in (*PRICES, *QUOTES, "market_ret")}
    return Window(
        symbols=window.symbols,
        window_seq=window.window_seq,
        asof_ns=window.asof_ns,
        bar_s=window.bar_s,
        close_ns=column(window.close_ns, "i8"),
        valid=column(window.valid, "u1"),
        fee=window.fee,
        spread_assumed=window.spread_assumed,
        **columns,
    )


def from_wire(window: Window) -> MarketWindow:
    """Return the window that a DECISION_REQUEST carries."""
    arrays: dict[str, Any] = {name: array(getattr(window, name)) for name in (*MATRICES, *QUOTES, *VECTORS)}
    return MarketWindow(
        symbols=window.symbols,
        window_seq=window.window_seq,
        asof_ns=window.asof_ns,
        bar_s=window.bar_s,
        fee=window.fee,
        spread_assumed=window.spread_assumed,
        **arrays,
    )


def resample(window: MarketWindow, k: int) -> MarketWindow:
    """Return bars of k·bar_s on the UTC grid, closed ones only; T may be 0.

    A coarse bar is closed when a bar ends on its grid line or a bar of a later one exists, so later
    bars never change it. The oldest one counts only if the window holds it from its grid line on:
    what has left the ring never changes a bar either. Invalid bars are left out of it; it is valid
    if its last bar is. Its close time is that of its last bar (before a weekend: not on the grid).
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, found {k}")
    if k == 1:
        return window
    bar_ns = round(window.bar_s * 1e9)
    group = (window.close_ns - bar_ns) // (k * bar_ns)
    starts = np.flatnonzero(np.diff(group, prepend=group[:1] - 1))
    ends = np.append(starts[1:], group.size)
    open_ended = group.size > 0 and int(window.close_ns[-1]) % (k * bar_ns) != 0
    headless = group.size > 0 and int(window.close_ns[0] - bar_ns) % (k * bar_ns) != 0
    keep = slice(1 if headless else 0, -1 if open_ended else None)
    return _coarse(window, k, starts[keep], ends[keep])


def _coarse(window: MarketWindow, k: int, starts: NDArray[np.intp], ends: NDArray[np.intp]) -> MarketWindow:
    """Aggregate the columns [starts, ends) of each coarse bar."""
    if starts.size == 0:
        empty = {name: frozen(getattr(window, name)[..., :0].copy()) for name in (*MATRICES, *VECTORS)}
        return msgspec.structs.replace(window, bar_s=window.bar_s * k, **empty)
    stop = int(ends[-1])
    known = window.valid[:, :stop] == 1
    lasts = ends - 1
    out: dict[str, NDArray[Any]] = {"valid": window.valid[:, lasts], "close_ns": window.close_ns[lasts]}
    out["open"] = _first(window.open[:, :stop], known, starts)
    out["close"] = window.close[:, lasts]
    for name, how, blank in (("high", np.fmax, np.nan), ("low", np.fmin, np.nan), ("volume", np.add, 0.0)):
        values = np.where(known, getattr(window, name)[:, :stop], blank)
        out[name] = how.reduceat(values, starts, axis=1)
    none = ~np.logical_or.reduceat(known, starts, axis=1)
    out["volume"] = np.where(none, np.nan, out["volume"])
    out["market_ret"] = np.add.reduceat(window.market_ret[:stop], starts)
    done = {name: frozen(np.ascontiguousarray(values)) for name, values in out.items()}
    return msgspec.structs.replace(
        window, bar_s=window.bar_s * k, asof_ns=int(window.close_ns[stop - 1]), **done
    )


def _first(values: F8, known: NDArray[np.bool_], starts: NDArray[np.intp]) -> F8:
    """Return each coarse bar's first known value, NaN if it has none."""
    columns = np.arange(values.shape[1])
    at = np.minimum.reduceat(np.where(known, columns, values.shape[1]), starts, axis=1)
    lasts = np.append(starts[1:], values.shape[1])
    rows = np.arange(values.shape[0])[:, None]
    taken: F8 = values[rows, np.minimum(at, values.shape[1] - 1)]
    return np.where(at < lasts, taken, np.nan)


def frozen(values: NDArray[Any]) -> NDArray[Any]:
    """Make `values` read-only and return it."""
    values.flags.writeable = False
    return values
