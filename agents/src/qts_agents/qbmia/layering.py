"""The test for layering: orders on several levels of one side that are withdrawn together.

The pattern is FINRA's (Rule 5210, Supplementary Material .03, type 1): limit orders at various prices of one
side, an order on the other side that is executed, and after that the first ones are cancelled. The European
list of indicators says the same (Delegated Regulation (EU) 2016/522, Annex II, "layering and spoofing"):
orders away from the touch, removed once the trade on the other side has taken place. Makers show the same
cancels when the touch moves, but their orders come back as far from it; and far from it orders are given up
often. Both can be told apart only where distances from the touch are known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qts_agents.qbmia.orders import (
    CANCEL,
    CLASSES,
    FILL,
    LEAST_EVENTS,
    NEW,
    SECOND,
    SIGNIFICANT,
    OrderEvents,
    place_of,
    poisson_tail,
    usual_shares,
)

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]
LEVELS, EVEN_SIZES, JOINT_S = 3, 0.1, 60
ALIKE = 1.1  # ratio of two sizes up to which they count as equal
BACK_S, BACK_WITHIN = 5, 1.0  # a maker's order is back after so long, within so many spreads of its place
NEWEST = 20_000  # events of the baseline that are looked at: what ladders cost grows with them
NEVER = np.iinfo(np.int64).max


def layering(recent: OrderEvents, baseline: OrderEvents) -> float:
    """Test whether layers come more often than in the baseline (Poisson)."""
    if len(baseline.time_ns) < LEAST_EVENTS or len(recent.time_ns) == 0:
        return math.nan
    if np.isfinite(recent.distance).any():
        return _withdrawals(recent, baseline.where(np.arange(-len(baseline.time_ns), 0) >= -NEWEST))
    day = max(1, int(baseline.time_ns[-1] - baseline.time_ns[0]))
    span = int(recent.time_ns[-1] - recent.time_ns[0])
    return poisson_tail(joint_cancels(recent), (joint_cancels(baseline) + 0.5) * span / day)


def joint_cancels(events: OrderEvents) -> int:
    """Count joint cancels: one side, ≥ 3 price levels of nearly equal size within 60 s."""
    gone, count = events.where(events.event == CANCEL), 0
    for side in (1, -1):
        part = gone.where(gone.side == side)
        start = 0
        while start < len(part.time_ns):
            stop = int(np.searchsorted(part.time_ns, part.time_ns[start] + JOINT_S * SECOND, "right"))
            count += even(part.price[start:stop], part.size[start:stop])
            start = stop
    return count


def even(price: F8, size: F8) -> bool:
    """Tell whether orders stand on at least three levels and are nearly equal in size."""
    spread = float(size.var() / size.mean() ** 2) if size.mean() > 0 else math.inf
    return len(np.unique(price)) >= LEVELS and spread < EVEN_SIZES


def _withdrawals(recent: OrderEvents, baseline: OrderEvents) -> float:
    """Test whether ladders are withdrawn more often than orders as far from the touch are.

    A ladder whose withdrawal would be no surprise, as far from the touch, is left out. What the baseline's
    ladders do beyond chance, since one maker withdraws its orders together, is usual in the recent ones too.
    """
    before = Lives(baseline)
    places = place_of(before.orders.distance)
    usual = usual_shares(
        np.bincount(places, minlength=CLASSES), np.bincount(places[before.withdrawn], minlength=CLASSES)
    )
    seen, expected = _told(before, usual)
    found, chance = _told(Lives(recent), usual)
    return poisson_tail(found, chance * (seen + 0.5) / (expected + 0.5))


def _told(lives: Lives, usual: F8) -> tuple[int, float]:
    """Return how many ladders were withdrawn, and how many would be if each order went by itself."""
    count, expected = 0, 0.0
    chances = usual[place_of(lives.orders.distance)]
    for ladder, fill_ns in lives.ladders():
        chance = float(chances[ladder].prod())
        if chance < SIGNIFICANT:
            expected += chance
            joint = lives.end_ns[ladder] <= fill_ns + JOINT_S * SECOND
            count += bool((joint & lives.withdrawn[ladder]).all())
    return count, expected


class Lives:
    """The new orders of a stream with what became of them."""

    def __init__(self, events: OrderEvents) -> None:
        self.orders = events.where(events.event == NEW)
        self.fills = events.where(events.event == FILL)
        gone = events.where(events.event != NEW)
        names, first = np.unique(gone.order, return_index=True)
        at = np.searchsorted(names, self.orders.order)
        ended = np.isin(self.orders.order, names)
        end = first[np.minimum(at, max(0, len(names) - 1))] if len(names) else at
        self.end_ns: I8 = np.full(len(at), NEVER)
        self.end_ns[ended] = gone.time_ns[end[ended]]
        self.withdrawn: B1 = np.zeros(len(at), np.bool_)
        self.withdrawn[ended] = gone.event[end[ended]] == CANCEL
        self.withdrawn &= ~self._back()
        # what ended just now may come back yet
        self.withdrawn &= self.end_ns <= int(events.time_ns.max(initial=0)) - BACK_S * SECOND

    def _back(self) -> B1:
        """Tell which orders are back 5 s after their end: as large, as far from the touch, on their side."""
        new, size = self.orders, self.orders.size
        back = np.zeros(size.shape, np.bool_)
        which = np.flatnonzero(self.withdrawn)
        at = np.searchsorted(new.time_ns, self.end_ns[which], "left")
        stop = np.searchsorted(new.time_ns, self.end_ns[which] + BACK_S * SECOND, "right")
        while which.size:
            inside = at < stop
            which, at, stop = which[inside], at[inside], stop[inside]
            like = np.maximum(size[at], size[which]) <= ALIKE * np.minimum(size[at], size[which])
            near = np.abs(new.distance[at] - new.distance[which]) < BACK_WITHIN  # never where one is unknown
            found = like & near & (new.side[at] == new.side[which]) & (at != which)
            back[which[found]] = True
            which, at, stop = which[~found], at[~found] + 1, stop[~found]
        return back

    def ladders(self) -> Iterator[tuple[I8, int]]:
        """Yield orders (indices) of one side that stood on three levels at a fill on the other, and its time.

        They came within 60 s before it, behind the touch, and are equal in size. What became of them later
        does not choose them. Each order is in one ladder at most.
        """
        new = self.orders
        for side in (1, -1):
            mine = np.flatnonzero((new.side == side) & ~(new.distance < 0.0))
            came, fills = new.time_ns[mine], np.unique(self.fills.time_ns[self.fills.side == -side])
            stop = np.searchsorted(came, fills, "left")
            since = np.searchsorted(came, fills - JOINT_S * SECOND, "left")
            changed = np.diff(stop, prepend=0) > 0  # without a new order there is no new ladder
            free = np.ones(mine.size, np.bool_)
            for i in np.flatnonzero(changed & (stop - since >= LEVELS)):
                span = slice(since[i], stop[i])
                standing = mine[span][free[span] & (self.end_ns[mine[span]] > fills[i])]
                for ladder in _alike(standing, new):
                    free[np.searchsorted(mine, ladder)] = False
                    yield ladder, int(fills[i])


def _alike(which: I8, new: OrderEvents) -> Iterator[I8]:
    """Yield those of the orders `which` that are equal in size and stand on at least three levels."""
    if which.size >= LEVELS:
        which = which[np.argsort(new.size[which], kind="stable")]
        size = new.size[which]
        for part in np.split(which, np.flatnonzero(size[1:] > ALIKE * size[:-1]) + 1):
            if even(new.price[part], new.size[part]):
                yield part
