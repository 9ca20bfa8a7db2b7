"""Order events beside bars: which belong to which bar, and their columns on the wire (pure)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.columns import array, column
from qts_messaging.messages import ORDER_EVENTS
from qts_messaging.records import OrderFlow

I8 = NDArray[np.int64]
F8 = NDArray[np.float64]


class Orders(msgspec.Struct, frozen=True, gc=False):
    """N order events, ascending in time; `ends` [T+1]: those of bar t are [ends[t], ends[t+1])."""

    row: I8  # [N] index of the symbol
    time_ns: I8
    buy: NDArray[np.uint8]  # 1 buy, 0 sell
    price: F8
    size: F8
    order: I8  # id
    event: NDArray[np.uint8]  # index into ORDER_EVENTS
    ends: I8
    distance: F8 | None = None  # behind the touch, in spreads; NaN unknown; None: of all

    def part(self, start: int, stop: int) -> Orders:
        """Return the events of the bars [start, stop)."""
        ends = self.ends[start : stop + 1]
        return self._cut(slice(int(ends[0]), int(ends[-1])), ends - ends[0])

    def choose(self, rows: Sequence[int]) -> Orders:
        """Return the events of these rows, numbered as they stand here."""
        place = np.full(max([*rows, int(self.row.max(initial=0))]) + 1, -1, dtype=np.int64)
        place[list(rows)] = np.arange(len(rows))
        kept = place[self.row] >= 0
        before = np.concatenate(([0], np.cumsum(kept)))
        chosen = self._cut(kept, before[self.ends])
        return msgspec.structs.replace(chosen, row=place[chosen.row])

    def _cut(self, which: slice | NDArray[np.bool_], ends: I8) -> Orders:
        told = msgspec.structs.asdict(self)
        columns = {name: x[which] for name, x in told.items() if name != "ends" and x is not None}
        return msgspec.structs.replace(self, ends=ends, **columns)


def ends_of(time_ns: I8, close_ns: I8) -> I8:
    """Return `ends` [T+1]: an event belongs to the first bar that closes at its time or later."""
    return np.concatenate(([0], np.searchsorted(time_ns, close_ns, side="right"))).astype(np.int64)


def flow_of(orders: Orders | None) -> OrderFlow | None:
    """Return all events as wire columns; None when the source has none to tell."""
    if orders is None:
        return None
    return OrderFlow(
        row=column(orders.row, "u2"),
        time_ns=column(orders.time_ns, "i8"),
        side=column(orders.buy, "u1"),
        price=column(orders.price),
        size=column(orders.size),
        order=column(orders.order, "i8"),
        events=ORDER_EVENTS,
        event=column(orders.event, "u1"),
        distance=None if orders.distance is None else column(orders.distance),
    )


def joined(flows: Sequence[OrderFlow | None]) -> OrderFlow | None:
    """Return consecutive flows as one; None when none of them tells anything."""
    told = [flow for flow in flows if flow is not None]
    if not told:
        return None
    names = [name for name in OrderFlow.__struct_fields__ if name not in ("events", "distance")]
    columns = {
        name: column(
            np.concatenate([array(getattr(flow, name)) for flow in told]), getattr(told[0], name).dtype
        )
        for name in names
    }
    quoted = any(flow.distance is not None for flow in told)
    distance = column(np.concatenate([distance_of(flow) for flow in told])) if quoted else None
    return OrderFlow(**columns, events=told[0].events, distance=distance)


def distance_of(flow: OrderFlow) -> F8:
    """Return how far behind the touch each event was, in spreads [N]; NaN where no quote tells."""
    return np.full(flow.order.shape, np.nan) if flow.distance is None else array(flow.distance)
