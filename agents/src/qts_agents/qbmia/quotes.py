"""The last quotes of each symbol: a window holds only the newest, learning and flow need their past."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
CAPACITY = 176  # bars; answers may be about a bar a little older than the newest
FLOW_BARS = 10


class Quotes:
    """Spread and imbalance by bar, in a ring."""

    def __init__(self, symbols: tuple[str, ...] = ()) -> None:
        self.symbols = symbols
        self.bars: I8 = np.full(CAPACITY, -1, np.int64)
        self.spread: F8 = np.full((len(symbols), CAPACITY), np.nan)
        self.imbalance: F8 = np.full((len(symbols), CAPACITY), np.nan)

    def push(self, symbols: tuple[str, ...], bar: int, spread: F8, imbalance: F8) -> None:
        """Keep the quotes at the close of `bar`; other symbols than before start a new tape."""
        if symbols != self.symbols:
            self.__init__(symbols)  # type: ignore[misc]
        slot = bar % CAPACITY
        self.bars[slot] = bar
        self.spread[:, slot], self.imbalance[:, slot] = spread, imbalance

    def last(self, symbols: tuple[str, ...], bar: int, count: int) -> tuple[F8, F8]:
        """Return spread and imbalance [S,count] of the bars up to `bar`; NaN where unknown."""
        wanted = np.arange(bar - count + 1, bar + 1)
        slots = wanted % CAPACITY
        known = (self.bars[slots] == wanted) & (wanted >= 0)
        if symbols == self.symbols and known.all():  # the usual case
            return _turned(self.spread, int(slots[0]), count), _turned(self.imbalance, int(slots[0]), count)
        where = {name: row for row, name in enumerate(self.symbols)}
        rows = np.array([where.get(name, -1) for name in symbols], dtype=np.int64)
        mask = known[None, :] & (rows >= 0)[:, None]
        if not mask.any():
            nothing = np.full((len(symbols), count), np.nan)
            return nothing, nothing.copy()
        pick = np.ix_(np.maximum(rows, 0), slots)
        return np.where(mask, self.spread[pick], np.nan), np.where(mask, self.imbalance[pick], np.nan)


def _turned(ring: F8, first: int, count: int) -> F8:
    """Return `count` columns of a ring from slot `first` on, row by row as others read them."""
    over = max(0, first + count - CAPACITY)
    return np.concatenate((ring[:, first : first + count], ring[:, :over]), axis=1)


def flow(imbalance: F8) -> F8:
    """Return the retail side β̂ [S] = mean sign of the last 10 known imbalances [S,n]; 0 if none is known."""
    recent = imbalance[:, -FLOW_BARS:]
    known = np.isfinite(recent)
    signs = np.where(known, np.sign(recent), 0.0)
    return np.asarray(signs.sum(axis=1) / np.maximum(known.sum(axis=1), 1))
