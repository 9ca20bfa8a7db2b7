"""Bars in memory: series, updates, and each agent's ring (pure).

Rows are symbols, columns are bars. A row that is missing is NaN with valid = 0; nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import MarketWindow
from qts_agents.columns import array, column
from qts_agents.market.flow import Orders, flow_of, joined
from qts_agents.market.windows import F8, MATRICES, PRICES, QUOTES, VECTORS, frozen, pick, resample
from qts_messaging.messages import MarketUpdate

__all__ = ["Bars", "Gap", "Ring", "concat", "market_return", "pick", "resample", "update_of"]


class Bars(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """T closed bars of S symbols with the costs and the origin of their source."""

    symbols: tuple[str, ...]
    close_ns: NDArray[np.int64]  # [T] ascending
    open: F8  # [S,T], NaN where lacking
    high: F8
    low: F8
    close: F8
    volume: F8
    valid: NDArray[np.uint8]  # [S,T] 1 observed, 0 missing
    spread: F8  # [S,T] fraction of mid, NaN without quotes
    imbalance: F8
    depth: F8
    market_ret: F8  # [T]
    bar_s: float
    fee: float
    spread_assumed: float
    source: str
    orders: Orders | None = None  # events of these bars, where the source has any

    def part(self, start: int, stop: int) -> Bars:
        """Return the bars [start, stop) as views."""
        cut = {name: getattr(self, name)[:, start:stop] for name in (*PRICES, "valid", *QUOTES)}
        close_ns, orders = self.close_ns[start:stop], self.orders
        return msgspec.structs.replace(
            self,
            close_ns=close_ns,
            market_ret=self.market_ret[start:stop],
            orders=orders.part(start, start + close_ns.size) if orders is not None else None,
            **cut,
        )

    def choose(self, symbols: Sequence[str]) -> Bars:
        """Return the rows of `symbols` in that order; the market return is recomputed over them."""
        rows = [self.symbols.index(symbol) for symbol in symbols]
        cut = {name: getattr(self, name)[rows] for name in (*PRICES, "valid", *QUOTES)}
        ret = market_return(cut["close"], cut["valid"])
        orders = self.orders.choose(rows) if self.orders is not None else None
        return msgspec.structs.replace(self, symbols=tuple(symbols), market_ret=ret, orders=orders, **cut)


def market_return(close: F8, valid: NDArray[np.uint8], before: F8 | None = None) -> F8:
    """Return the equal-weight mean log return of all symbols [T] of closes [S,T].

    No return spans an invalid bar; NaN where no symbol has one (the first bar, unless `before` [S]
    holds the closes of the bar ahead of it, NaN where that was invalid).
    """
    lead = np.full((close.shape[0], 1), np.nan) if before is None else before[:, None]
    logs = np.log(np.concatenate([lead, np.where(valid == 1, close, np.nan)], axis=1))
    returns = np.diff(logs, axis=1)
    known = ~np.isnan(returns)
    counts = known.sum(axis=0)
    sums = np.where(known, returns, 0.0).sum(axis=0)
    mean: F8 = np.divide(sums, counts, out=np.full(close.shape[1], np.nan), where=counts > 0)
    return mean


def update_of(bars: Bars, seq: int, kind: str = "delta", epoch: int = 0, ended: bool = False) -> MarketUpdate:
    """Return all columns of `bars` as one update; `seq` is that of the last one."""
    last = {name: column(getattr(bars, name)[:, -1]) for name in QUOTES}
    return MarketUpdate(
        seq=seq,
        kind=kind,
        source=bars.source,
        asof_ns=int(bars.close_ns[-1]),
        bar_s=bars.bar_s,
        symbols=bars.symbols,
        close_ns=column(bars.close_ns, "i8"),
        open=column(bars.open),
        high=column(bars.high),
        low=column(bars.low),
        close=column(bars.close),
        volume=column(bars.volume),
        valid=column(bars.valid, "u1"),
        fee=bars.fee,
        spread_assumed=bars.spread_assumed,
        market_ret=column(bars.market_ret),
        epoch=epoch,
        ended=ended,
        orders=flow_of(bars.orders),
        **last,
    )


def concat(updates: Sequence[MarketUpdate]) -> MarketUpdate:
    """Join consecutive updates of one epoch and symbol set into one; ValueError when they are not."""
    if not updates:
        raise ValueError("concat needs at least one update")
    first, last = updates[0], updates[-1]
    expected = first.seq
    for update in updates[1:]:
        expected += update.close_ns.shape[0]
        if (update.seq, update.epoch, update.symbols) != (expected, first.epoch, first.symbols):
            raise ValueError(
                f"update {update.seq} does not follow: expected seq {expected} of the same epoch"
            )
    columns: dict[str, Any] = {
        name: column(np.concatenate([array(getattr(u, name)) for u in updates], axis=1)) for name in PRICES
    }
    columns["valid"] = column(np.concatenate([array(u.valid) for u in updates], axis=1), "u1")
    columns["close_ns"] = column(np.concatenate([array(u.close_ns) for u in updates]), "i8")
    columns["market_ret"] = column(np.concatenate([array(u.market_ret) for u in updates]))
    return msgspec.structs.replace(last, orders=joined([u.orders for u in updates]), **columns)


class Gap(msgspec.Struct, frozen=True):
    """What a push found: bars that are missing before it, and whether the ring began anew."""

    missing: int = 0  # bars between the newest held (or the start of the feed) and this update
    reset: str = ""  # "" | first | epoch | symbols: everything held before was dropped
    stale: bool = False  # nothing in it was new; ignored

    @property
    def found(self) -> bool:
        """Tell whether the snapshot stream should be read."""
        return self.missing > 0


class Ring:
    """The last `capacity` bars of all symbols; one push costs O(S), amortised.

    Columns are written into buffers of twice the capacity; when they are full the newest bars move
    to new ones. So a column once written stays, and a window is a view of it and not a copy. Bars that never
    came are held as invalid columns until `fill` brings them.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.clear()

    def __len__(self) -> int:
        return self._held

    def clear(self) -> None:
        """Forget all bars."""
        self.symbols: tuple[str, ...] = ()
        self.seq = self.epoch = -1
        self._held = self._end = 0
        self._holes: set[int] = set()
        self._data: dict[str, NDArray[Any]] = {}
        self._last: MarketUpdate | None = None
        self._cached: MarketWindow | None = None

    def push(self, update: MarketUpdate) -> Gap:
        """Append the bars of `update` that are newer than the newest held; say what was missing.

        An older epoch or sequence is stale; a newer epoch, or another symbol set, drops all that is held.
        """
        count = update.close_ns.shape[0]
        if self._held and (update.epoch, update.seq) <= (self.epoch, self.seq):
            return Gap(stale=True)
        first = update.seq - count + 1
        reset = self._reset_reason(update)
        if reset:
            self._allocate(update.symbols)
            missing, fresh = min(self.capacity, first), count
        else:
            missing, fresh = max(0, first - self.seq - 1), min(count, update.seq - self.seq)
            self._append_holes(min(missing, self.capacity), update)
        self._append(update, min(fresh, self.capacity))
        return Gap(missing=missing, reset=reset)

    def fill(self, updates: Iterable[MarketUpdate]) -> list[MarketUpdate]:
        """Merge a snapshot with what is held; return the updates that were new, oldest first.

        Only the newest epoch counts; held bars that follow the snapshot are kept.
        """
        given = list(updates)
        epoch = max([self.epoch, *(u.epoch for u in given)])
        by_seq = {u.seq: u for u in given if u.epoch == epoch}
        given = [by_seq[seq] for seq in sorted(by_seq)]
        new = [u for u in given if epoch > self.epoch or not self._holds(u.seq)]
        if not new:
            return []
        held, holes = self._as_update(), self._holes
        self.clear()
        for update in given:
            self.push(update)
        if held is not None and held.epoch == epoch:
            follow = {seq for seq in holes if seq > self.seq}
            self.push(held)
            self._holes |= follow
        return new

    def window(self, symbols: Sequence[str] | None = None) -> MarketWindow | None:
        """Return the held bars as [S,T] arrays, T = min(held, capacity); None when nothing is held.

        With `symbols` only those rows in that order; KeyError names one that the feed does not send.
        """
        if self._last is None:
            return None
        if self._cached is None:
            self._cached = self._whole(self._last)
        if symbols is None or tuple(symbols) == self.symbols:
            return self._cached
        return pick(self._cached, symbols)

    def _holds(self, seq: int) -> bool:
        return self.seq - self._held < seq <= self.seq and seq not in self._holes

    def _reset_reason(self, update: MarketUpdate) -> str:
        if not self._held:
            return "first"
        if update.epoch != self.epoch:
            return "epoch"
        return "symbols" if update.symbols != self.symbols else ""

    def _allocate(self, symbols: tuple[str, ...]) -> None:
        width = 2 * self.capacity
        self.clear()
        self.symbols = symbols
        self._data = {name: np.empty((len(symbols), width)) for name in PRICES}
        self._data["valid"] = np.empty((len(symbols), width), dtype=np.uint8)
        self._data["close_ns"] = np.empty(width, dtype=np.int64)
        self._data["market_ret"] = np.empty(width)

    def _reserve(self, count: int) -> slice:
        """Make room for `count` more columns and return their place."""
        if self._end + count > 2 * self.capacity:
            kept = slice(self._end - self._held, self._end)
            for name, values in self._data.items():
                self._data[name] = np.empty_like(values)
                self._data[name][..., : self._held] = values[..., kept]
            self._end = self._held
        place = slice(self._end, self._end + count)
        self._end += count
        self._held = min(self._held + count, self.capacity)
        return place

    def _append(self, update: MarketUpdate, count: int) -> None:
        place = self._reserve(count)
        for name in (*MATRICES, *VECTORS):
            self._data[name][..., place] = array(getattr(update, name))[..., -count:]
        self.seq, self.epoch = update.seq, update.epoch
        self._last, self._cached = update, None
        self._holes = {seq for seq in self._holes if seq > self.seq - self._held}

    def _append_holes(self, count: int, update: MarketUpdate) -> None:
        """Hold `count` bars that never came: NaN, invalid, at times spread evenly over the hole."""
        if not count:
            return
        before = int(self._data["close_ns"][self._end - 1])
        first_ns = int(array(update.close_ns)[0])
        place = self._reserve(count)
        for name in (*PRICES, "market_ret"):
            self._data[name][..., place] = np.nan
        self._data["valid"][:, place] = 0
        self._data["close_ns"][place] = before + (first_ns - before) // (count + 1) * np.arange(1, count + 1)
        first_seq = update.seq - update.close_ns.shape[0] + 1
        self._holes |= set(range(first_seq - count, first_seq))

    def _whole(self, last: MarketUpdate) -> MarketWindow:
        cut: dict[str, Any] = {
            name: frozen(self._data[name][..., self._end - self._held : self._end])
            for name in (*MATRICES, *VECTORS)
        }
        cut |= {name: array(getattr(last, name)) for name in QUOTES}
        return MarketWindow(
            symbols=self.symbols,
            window_seq=self.seq,
            asof_ns=last.asof_ns,
            bar_s=last.bar_s,
            fee=last.fee,
            spread_assumed=last.spread_assumed,
            epoch=self.epoch,
            **cut,
        )

    def _as_update(self) -> MarketUpdate | None:
        window = self.window()
        if window is None or self._last is None:
            return None
        columns: dict[str, Any] = {name: column(getattr(window, name)) for name in (*PRICES, "market_ret")}
        columns["valid"] = column(window.valid, "u1")
        columns["close_ns"] = column(window.close_ns, "i8")
        return msgspec.structs.replace(self._last, **columns)
