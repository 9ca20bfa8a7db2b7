"""CSV and Parquet files of order events → Orders; what is wrong is named by file, line and column.

One row an event. Columns: one of `ts`, `timestamp`, `time`, `date` (ISO 8601, or in the unit of the bars);
`side` (buy, sell), `price`, `size`, `order` (a whole number that names the order), `event` (new, cancel,
fill), and `symbol` where the bars have more than one. `bid` and `ask`, the quotes when the event happened,
tell how far from the touch it was; empty cells are unknown. Other columns are ignored; `label` says of
made-up events that they are synthetic, and is never handed on.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qts_agents.market.flow import Orders, ends_of
from qts_agents.market.tables import (
    TIME_NAMES,
    columns_of,
    first_frame,
    missing,
    numbers,
    read_file,
    read_frame,
    symbols_of,
    times,
)
from qts_core.errors import ConfigError
from qts_messaging.messages import ORDER_EVENTS

KEY = "market.replay.orders"
SIDES = ("sell", "buy")
QUOTES = ("bid", "ask")
SYNTHETIC = "synthetic"
MOST_A_BAR = 50_000  # events; more would not fit a message
WANTED = "ts, side, price, size, order, event"


def check_columns(path: str) -> None:
    """Refuse a file that is none, or lacks a column, without reading all of a long one."""
    found = first_frame(path, KEY)
    if found is not None:
        _columns(path, found[0])


def load_orders(
    path: str, symbols: tuple[str, ...], close_ns: NDArray[np.int64], ts_unit: str = "iso"
) -> tuple[Orders, str]:
    """Read and check a file beside the bars that close at `close_ns`; return its events and its name.

    ConfigError names file, line, column, what was found and the remedy. Events before the first bar's close
    belong to it; those after the last bar are left out.
    """
    data = read_file(path, KEY)
    frame, unit, first = read_frame(path, data)
    lines = np.asarray(frame.index, dtype=np.int64) + first
    names, ts_name = _columns(path, frame)
    place = f"{path}: {unit}"

    def cells(name: str) -> pd.Series[Any]:
        return frame[names[name]]

    counted = pd.to_numeric(cells(ts_name).head(1), errors="coerce").notna().all()
    time_ns = times(place, ts_name, lines, cells(ts_name), ts_unit if counted else "iso")
    _ascending(place, lines, time_ns)
    _beside(path, time_ns, close_ns)
    price, size = (numbers(place, name, lines, cells(name), False) for name in ("price", "size"))
    _positive(place, lines, {"price": price, "size": size})
    last = int(np.searchsorted(time_ns, close_ns[-1], side="right"))
    orders = Orders(
        row=_rows(place, path, unit, lines, cells("symbol") if "symbol" in names else None, symbols)[:last],
        time_ns=time_ns[:last],
        buy=_choice(place, "side", lines, cells("side"), SIDES)[:last],
        price=price[:last],
        size=size[:last],
        order=_ids(place, lines, cells("order"))[:last],
        event=_choice(place, "event", lines, cells("event"), ORDER_EVENTS)[:last],
        ends=ends_of(time_ns[:last], close_ns),
    )
    given = [name for name in QUOTES if name in names]
    quotes = {name: numbers(place, name, lines, cells(name), True) for name in given}
    if quotes:
        buy, sell = (behind[:last] for behind in _distances(place, lines, price, quotes))
        orders = msgspec.structs.replace(orders, distance=np.where(orders.buy == 1, buy, sell))
    _bounded(place, lines, orders)
    label = (
        " synthetic" if "label" in names and cells("label").astype(str).str.contains(SYNTHETIC).any() else ""
    )
    return orders, f"orders:{Path(path).name} sha256:{hashlib.sha256(data).hexdigest()}{label}"


def _columns(path: str, frame: pd.DataFrame) -> tuple[dict[str, str], str]:
    """Return the columns by name, and which is the time; ConfigError for the first that is missing."""
    names = columns_of(path, frame)
    ts_name = next((name for name in TIME_NAMES if name in names), None)
    if ts_name is None:
        raise ConfigError(missing(path, " or ".join(TIME_NAMES), names, WANTED))
    for name in ("side", "price", "size", "order", "event"):
        if name not in names:
            raise ConfigError(missing(path, name, names, WANTED))
    return names, ts_name


def _beside(path: str, time_ns: NDArray[np.int64], close_ns: NDArray[np.int64]) -> None:
    """Refuse events none of which is of the time of the bars: nothing would be found in them."""
    if not time_ns.size:
        return
    opens_ns = close_ns[0] - (close_ns[1] - close_ns[0] if close_ns.size > 1 else 0)
    if time_ns[0] > close_ns[-1] or time_ns[-1] < opens_ns:
        events, bars = _span(time_ns[0], time_ns[-1]), _span(opens_ns, close_ns[-1])
        raise ConfigError(
            f"{path}: its events are of {events}, the bars of {bars}; choose a set of that time"
        )


def _span(first_ns: np.int64, last_ns: np.int64) -> str:
    """Return two moments as people write them, in UTC."""
    first, last = (np.datetime64(int(ns), "ns").astype("datetime64[s]") for ns in (first_ns, last_ns))
    return f"{first}Z to {last}Z"


def _ascending(place: str, lines: NDArray[np.int64], time_ns: NDArray[np.int64]) -> None:
    back = np.flatnonzero(np.diff(time_ns) < 0)
    if back.size:
        raise ConfigError(
            f"{place} {lines[back[0] + 1]}: found an earlier time than the row before; sort by time"
        )


def _positive(place: str, lines: NDArray[np.int64], columns: dict[str, NDArray[np.float64]]) -> None:
    for name, values in columns.items():
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0.0)))
        if bad.size:
            raise ConfigError(
                f"{place} {lines[bad[0]]}, column {name}: found {values[bad[0]]:g}; give more than 0"
            )


def _distances(
    place: str, lines: NDArray[np.int64], price: NDArray[np.float64], quotes: dict[str, NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how far behind the touch a buy and a sell at each price are, in spreads [N]; NaN if unknown."""
    for name in QUOTES:
        if name not in quotes:
            raise ConfigError(f"{place} 1: column {name} is missing; give bid and ask, or neither")
    bid, ask = quotes["bid"], quotes["ask"]
    bad = np.flatnonzero((bid <= 0.0) | np.isinf(ask) | (bid > ask))
    if bad.size:
        at = int(bad[0])
        found = f"bid {bid[at]:g} and ask {ask[at]:g}"
        raise ConfigError(
            f"{place} {lines[at]}, column bid: found {found}; give a bid above 0 and at most the ask"
        )
    width = np.where(ask > bid, ask - bid, np.nan)
    return (bid - price) / width, (price - ask) / width


def _ids(place: str, lines: NDArray[np.int64], cells: pd.Series[Any]) -> NDArray[np.int64]:
    """Return each event's order [N]; two ids that differ in their last digit are two orders."""
    text = cells.astype(str).str.strip().str.removesuffix(".0")
    whole = text.str.fullmatch(r"[+-]?[0-9]{1,19}")
    numbers = pd.to_numeric(text.where(whole, "0"))
    # of unsigned ones some are beyond an int64, and with a negative one beside them all are floats
    outside = numbers.dtype.kind != "i" and text.where(whole, "0").map(lambda t: abs(int(str(t))) >= 2**63)
    bad = np.flatnonzero(~whole | outside)
    if bad.size:
        raise ConfigError(
            f"{place} {lines[bad[0]]}, column order: found {cells.iloc[int(bad[0])]!r};"
            " give a whole number below 2^63 that names the order, as text or integers (floats lose digits)"
        )
    return numbers.to_numpy(dtype=np.int64)


def _choice(
    place: str, name: str, lines: NDArray[np.int64], cells: pd.Series[Any], known: tuple[str, ...]
) -> NDArray[np.uint8]:
    """Return the index of each cell among `known`."""
    text = cells.astype(str).str.strip().str.lower()
    found = pd.Index(known).get_indexer(pd.Index(text))
    bad = np.flatnonzero(found < 0)
    if bad.size:
        cell = str(cells.iloc[int(bad[0])])
        raise ConfigError(
            f"{place} {lines[bad[0]]}, column {name}: found {cell!r}; allowed are {', '.join(known)}"
        )
    return np.asarray(found, dtype=np.uint8)


def _rows(
    place: str,
    path: str,
    unit: str,
    lines: NDArray[np.int64],
    cells: pd.Series[Any] | None,
    symbols: tuple[str, ...],
) -> NDArray[np.int64]:
    """Return the row of each event's symbol."""
    if cells is None:
        if len(symbols) > 1:
            raise ConfigError(f"{place} 1: column symbol is missing; the bars have {len(symbols)} symbols")
        return np.zeros(lines.size, dtype=np.int64)
    named = symbols_of(path, unit, lines, cells)
    found = pd.Index(symbols).get_indexer(pd.Index(named))
    bad = np.flatnonzero(found < 0)
    if bad.size:
        shown = ", ".join(symbols[:20])
        raise ConfigError(
            f"{place} {lines[bad[0]]}, column symbol: found {named[bad[0]]!r}; the bars hold {shown}"
        )
    return np.asarray(found, dtype=np.int64)


def _bounded(place: str, lines: NDArray[np.int64], orders: Orders) -> None:
    crowded = np.flatnonzero(np.diff(orders.ends) > MOST_A_BAR)
    if crowded.size:
        line = lines[int(orders.ends[crowded[0]]) + MOST_A_BAR]
        raise ConfigError(f"{place} {line}: more than {MOST_A_BAR} events in one bar; leave out the smallest")
