"""Order events as they come with the bars → the evidence that the detectors look at (pure).

A window is a bar, or ten minutes of shorter bars; windows do not overlap, so two of three suspicious ones are
two pieces of evidence. Against it stands what came in the day before.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import MarketWindow
from qts_agents.columns import array
from qts_agents.kernels.philox import Key, uniforms
from qts_agents.market.flow import distance_of
from qts_agents.qbmia.machiavellian import Evidence
from qts_agents.qbmia.orders import CANCEL, FILL, NEW, SECOND, OrderEvents
from qts_messaging.records import OrderFlow

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
WINDOW_S, DAY_S = 600.0, 86_400.0
MOST = 400_000  # events that are kept, of all symbols together
MOST_RECENT = (
    2_000  # newest events of a window that are looked at: what the permutations cost grows with them
)
PERMUTATIONS = 1999  # with fewer a wash alone cannot fall below one false alarm a day
PURPOSE = 2  # of the draws of the permutations
RETURNS, LARGE_MOVE = 240, 0.9
_KINDS = {"new": NEW, "cancel": CANCEL, "fill": FILL}
_EMPTY = OrderEvents(
    time_ns=np.zeros(0, np.int64),
    side=np.zeros(0, np.int64),
    price=np.zeros(0),
    size=np.zeros(0),
    order=np.zeros(0, np.int64),
    event=np.zeros(0, np.int64),
    distance=np.zeros(0),
)


def window_s(bar_s: float) -> float:
    """Return the length of a window in seconds: whole bars, at least ten minutes."""
    return bar_s * max(1, math.ceil(WINDOW_S / bar_s))


def of_symbol(flow: OrderFlow, row: int) -> OrderEvents:
    """Return the events of one row; kinds that the detectors do not know are left out."""
    kinds = np.array([_KINDS.get(name, -1) for name in flow.events], dtype=np.int64)
    event = kinds[array(flow.event)]
    mine = (array(flow.row) == row) & (event >= 0)
    return OrderEvents(
        time_ns=array(flow.time_ns)[mine],
        side=2 * array(flow.side)[mine].astype(np.int64) - 1,
        price=array(flow.price)[mine],
        size=array(flow.size)[mine],
        order=array(flow.order)[mine],
        event=event[mine],
        distance=distance_of(flow)[mine],
    )


class Flow:
    """A window and the day before it of order events of each symbol, and when its last one was looked at."""

    def __init__(self) -> None:
        self.held: dict[str, OrderEvents] = {}
        self.looked_ns: dict[str, int] = {}

    def take(self, flow: OrderFlow, symbols: tuple[str, ...], asof_ns: int, bar_s: float) -> tuple[str, ...]:
        """Keep the events of a bar, forget what no window needs any more; return whom they are about."""
        about = [int(row) for row in np.unique(array(flow.row)) if row < len(symbols)]
        most = MOST // max(1, len(self.held.keys() | {symbols[row] for row in about}))
        for row in about:
            before, new = self.held.get(symbols[row], _EMPTY), of_symbol(flow, row)
            both = OrderEvents(
                *(np.concatenate((getattr(before, n), getattr(new, n))) for n in before.__struct_fields__)
            )
            fresh = both.time_ns > asof_ns - int((DAY_S + window_s(bar_s)) * SECOND)
            fresh[: max(0, fresh.size - most)] = False
            self.held[symbols[row]] = both.where(fresh)
        return tuple(symbols[row] for row in about)

    def silent(self, asof_ns: int, bar_s: float) -> tuple[str, ...]:
        """Return the symbols without an event for a whole window since their last: what was found is past."""
        least_ns = int(2.0 * window_s(bar_s) * SECOND)
        return tuple(name for name, last in self.looked_ns.items() if asof_ns - last >= least_ns)

    def evidence(self, symbol: str, window: MarketWindow, key: Key) -> Evidence | None:
        """Return what to look at when a window of `symbol` is full; None before, and without events in it."""
        length_ns = int(window_s(window.bar_s) * SECOND)
        now, last = window.asof_ns, self.looked_ns.get(symbol)
        events = self.held.get(symbol)
        if events is None or symbol not in window.symbols or (last is not None and now - last < length_ns):
            return None
        self.looked_ns[symbol] = now
        since = now - length_ns
        recent = events.where(events.time_ns > since)
        recent = recent.where(np.arange(recent.time_ns.size) >= recent.time_ns.size - MOST_RECENT)
        if not recent.time_ns.size:
            return None
        returns, times = _returns(window, symbol)
        level = np.nanquantile(np.abs(returns), LARGE_MOVE) if np.isfinite(returns).any() else np.inf
        moves = times[(np.abs(returns) > level) & (times > since)]
        n = recent.time_ns.size
        draws = uniforms(key, PERMUTATIONS * n, PURPOSE, window.window_seq).reshape(PERMUTATIONS, n)
        return Evidence(recent, events.where(events.time_ns <= since), returns, moves, draws)


def _returns(window: MarketWindow, symbol: str) -> tuple[F8, I8]:
    """Return the last log returns of a symbol and the closing times of their bars."""
    close = window.close[window.symbols.index(symbol), -RETURNS - 1 :]
    return np.diff(np.log(close)), window.close_ns[-RETURNS - 1 :][1:]
