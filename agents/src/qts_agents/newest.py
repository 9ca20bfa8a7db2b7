"""The newest answer about a window: a closed bar and the request that follows it ask the same (pure)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from qts_agents.agent import MarketWindow
from qts_agents.kernels.backend import jit_enabled

T = TypeVar("T")
RECENT = 4  # distances between questions that say when the next one may come
_COLUMNS = ("open", "high", "low", "close", "volume", "valid", "spread")


def settled(window: MarketWindow) -> bool:
    """Tell whether a window cannot become another one before it is asked about."""
    return not any(getattr(window, name).flags.writeable for name in _COLUMNS)


class Rhythm:
    """Questions come at known distances: when the next one is to be expected."""

    def __init__(self) -> None:
        self._asked: int | None = None  # number of the bar
        self._distances: deque[int] = deque(maxlen=RECENT)  # bars between questions, the newest ones

    def due(self, window: MarketWindow) -> bool:
        """Tell whether the next question may be about this bar."""
        if self._asked is None or not self._distances:
            return False
        return window.window_seq - self._asked >= min(self._distances)

    def asked(self, window: MarketWindow) -> None:
        """Note that a question is about this bar."""
        if self._asked is not None:
            self._distances.append(window.window_seq - self._asked)
        self._asked = window.window_seq


class Newest(Generic[T]):
    """Remembers what followed from one window, as long as that window cannot change."""

    def __init__(self) -> None:
        self._known: tuple[MarketWindow, bool, T] | None = None

    def of(
        self, window: MarketWindow, compute: Callable[[], T], enough: Callable[[T], bool] = lambda _: True
    ) -> T:
        """Return what is known of `window` if that is enough, or what `compute` makes of it."""
        known = self._known
        if known is not None and known[0] is window and known[1] == jit_enabled() and enough(known[2]):
            return known[2]
        found = compute()
        if settled(window):
            self._known = (window, jit_enabled(), found)
        return found


class Ahead(Generic[T]):
    """What was worked out about a bar before it was asked about; good while nothing else was learned or said.

    Nothing is done ahead of a question that is not expected yet, nor where it was of no use the last time: in
    step with the feed outcomes come between a bar and the question about it.
    """

    def __init__(self) -> None:
        self._known: tuple[MarketWindow, Hashable, T] | None = None
        self._expected: Hashable = None
        self._pays = True
        self._rhythm = Rhythm()

    def prepare(self, window: MarketWindow, key: Hashable, compute: Callable[[], T]) -> None:
        """Work out what follows from `window` as long as `key` is what it is now."""
        self._known, self._expected = None, key
        if self._pays and self._rhythm.due(window) and settled(window):
            self._known = (window, key, compute())

    def of(self, window: MarketWindow, key: Hashable, compute: Callable[[], T]) -> T:
        """Return what was worked out, or work it out now."""
        known, self._pays = self._known, key == self._expected
        self._rhythm.asked(window)
        if known is not None and known[0] is window and known[1] == key:
            return known[2]
        return compute()
