"""Rows of a table in long format → Bars; the first thing that is wrong is named by line and column (pure)."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.market.bars import Bars, market_return
from qts_agents.market.windows import F8, PRICES
from qts_core.errors import ConfigError

MAX_SYMBOLS = 1000
DAY_NS = 86_400_000_000_000
SUFFIXES = (".csv", ".csv.gz", ".parquet")  # files of rows


class Costs(msgspec.Struct, frozen=True):
    """What a side of a trade costs where the data say nothing, as fractions of price."""

    fee: float = 0.001
    spread: float = 0.0005


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """A table's columns as arrays [n]; absent optional columns are missing from `quotes`."""

    file: str
    unit: str  # what `lines` count: line (text) or row (Parquet)
    lines: NDArray[np.int64]
    symbol: NDArray[Any]
    ts_ns: NDArray[np.int64]
    ts_name: str
    days: bool = False  # times are dates alone
    values: dict[str, F8]  # open, high, low, close, volume
    quotes: dict[str, F8]  # bid, ask, bid_size, ask_size; NaN = none

    def refuse(self, bad: NDArray[np.bool_], column: str, found: str, remedy: str) -> None:
        """Raise ConfigError naming the first bad row, if any; `found` may use {column names}."""
        at = np.flatnonzero(bad)
        if not at.size:
            return
        row = int(at[0])
        facts = {name: f"{values[row]:.10g}" for name, values in (self.values | self.quotes).items()}
        facts["ts"] = str(np.datetime64(int(self.ts_ns[row]), "ns"))
        facts["symbol"] = str(self.symbol[row])
        more = f" ({at.size - 1} more like it)" if at.size > 1 else ""
        place = f"{self.file}: {self.unit} {int(self.lines[row])}, column {column}"
        raise ConfigError(f"{place}: found {found.format(**facts)}{more}; {remedy}")


def check_rows(rows: Rows) -> None:
    """Refuse what no market prints: NaN, prices not above 0, crossed highs and lows, disorder in time."""
    for name, values in rows.values.items():
        remedy = "give a finite number in every row, or leave the whole row out"
        rows.refuse(~np.isfinite(values), name, f"{{{name}}}", remedy)
    for name in ("open", "high", "low", "close"):
        rows.refuse(rows.values[name] <= 0, name, f"{{{name}}}", "prices must be above 0")
    rows.refuse(rows.values["volume"] < 0, "volume", "{volume}", "volumes must not be negative")
    _check_order(rows)
    v = rows.values
    rows.refuse(
        v["low"] > np.minimum(v["open"], v["close"]),
        "low",
        "low {low} above open {open} or close {close}",
        "low must be at most open and close",
    )
    rows.refuse(
        v["high"] < np.maximum(v["open"], v["close"]),
        "high",
        "high {high} below open {open} or close {close}",
        "high must be at least open and close",
    )
    _check_quotes(rows)


def _check_order(rows: Rows) -> None:
    """Each symbol's rows must ascend in time, each time once."""
    order = np.argsort(_codes(rows.symbol)[1], kind="stable")
    same = rows.symbol[order][1:] == rows.symbol[order][:-1]
    step = np.diff(rows.ts_ns[order])
    for bad, found, remedy in (
        (same & (step == 0), "{ts} twice for {symbol}", "keep one row per symbol and time"),
        (same & (step < 0), "{ts} after a later time for {symbol}", "sort the rows by time"),
    ):
        marks = np.zeros(rows.ts_ns.size, dtype=bool)
        marks[order[1:][bad]] = True
        rows.refuse(marks, rows.ts_name, found, remedy)


def _check_quotes(rows: Rows) -> None:
    """Quotes may be absent (NaN), but not crossed, not above reason, not negative."""
    for name, values in rows.quotes.items():
        least = values <= 0 if name in ("bid", "ask") else values < 0
        rows.refuse(
            least | np.isinf(values), name, f"{{{name}}}", "quotes must be above 0 and sizes not negative"
        )
    if "bid" in rows.quotes and "ask" in rows.quotes:
        crossed = rows.quotes["bid"] > rows.quotes["ask"]
        rows.refuse(crossed, "bid", "bid {bid} above ask {ask}", "a bid must be at most the ask")


def series_of(rows: Rows, stamp: str, costs: Costs, source: str, bar_s: float | None = None) -> Bars:
    """Put checked rows on one time axis, the union over symbols; a symbol without a row is invalid there.

    `stamp` says whether a row's time opens or closes its bar; a date alone is the whole day, whose end closes
    it. Without `bar_s` the bar length is the most frequent step of the axis.
    """
    symbols, codes = _codes(rows.symbol)
    if len(symbols) > MAX_SYMBOLS:
        raise ConfigError(f"{rows.file}: found {len(symbols)} symbols; give a file of at most {MAX_SYMBOLS}")
    times, columns = np.unique(rows.ts_ns, return_inverse=True)
    if bar_s is None:
        bar_s = _bar_seconds(rows.file, times)
    grid = {name: _spread_out(values, codes, columns, len(symbols)) for name, values in rows.values.items()}
    valid = np.zeros((len(symbols), times.size), dtype=np.uint8)
    valid[codes, columns] = 1
    quotes = {name: _spread_out(values, codes, columns, len(symbols)) for name, values in rows.quotes.items()}
    return Bars(
        symbols=symbols,
        close_ns=times + (round(bar_s * 1e9) if stamp == "open" else DAY_NS if rows.days else 0),
        valid=valid,
        market_ret=market_return(grid["close"], valid),
        bar_s=bar_s,
        fee=costs.fee,
        spread_assumed=costs.spread,
        source=source,
        **cast(dict[str, Any], {name: grid[name] for name in PRICES}),
        **_quote_columns(quotes, valid.shape),
    )


def _quote_columns(quotes: dict[str, F8], shape: tuple[int, ...]) -> dict[str, Any]:
    """Return spread, imbalance and depth [S,T]; without a book the depth is NaN, never guessed."""
    blank = np.full(shape, np.nan)
    bid, ask = quotes.get("bid", blank), quotes.get("ask", blank)
    bids, asks = quotes.get("bid_size", blank), quotes.get("ask_size", blank)
    total = bids + asks
    imbalance = np.divide(bids - asks, total, out=np.full(shape, np.nan), where=total > 0)
    return {"spread": (ask - bid) / ((ask + bid) / 2.0), "imbalance": imbalance, "depth": blank}


def _codes(symbol: NDArray[Any]) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Return the symbols in order of first appearance and each row's index into them."""
    names, first, inverse = np.unique(symbol, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(order.size, dtype=np.intp)
    rank[order] = np.arange(order.size)
    return tuple(str(name) for name in names[order]), rank[inverse]


def _spread_out(values: F8, codes: NDArray[np.intp], columns: NDArray[np.intp], symbols: int) -> F8:
    out = np.full((symbols, int(columns.max()) + 1), np.nan)
    out[codes, columns] = values
    return out


def _bar_seconds(file: str, times: NDArray[np.int64]) -> float:
    """Return the most frequent step of the time axis in seconds, the smaller one on a tie."""
    if times.size < 2:
        raise ConfigError(
            f"{file}: found bars of one time only; at least 2 are needed to know how long a bar is"
        )
    steps, counts = np.unique(np.diff(times), return_counts=True)
    return float(steps[np.argmax(counts)]) / 1e9
