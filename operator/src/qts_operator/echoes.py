"""Our own writes as the watch shows them: an echo asks for no pass, even before the answer. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from qts_operator.expectations import Object, not_older


class Held(NamedTuple):
    """What asked for a pass while a request was on its way, and how it asks."""

    item: Object
    version: str
    ask: Callable[[], None]


class Echoes:
    """Holds what asks for a pass of a system until the answer to its pass's request tells whose doing it is.

    Nothing is late by it: the next pass of a system waits for the one that is waiting for that answer.
    """

    def __init__(self) -> None:
        self._held: dict[str, list[Held]] = {}

    def begin(self, key: str) -> None:
        """A request of the pass of `key` is sent."""
        self._held[key] = []

    def end(self, key: str, item: Object | None = None, version: str = "") -> None:
        """It is answered; `item` was written at `version`. All but what that write shows asks now.

        An earlier version of the object is in that answer too, and the pass looks again after its writes.
        """
        for held in self._held.pop(key, ()):
            if held.item != item or not not_older(version, held.version):
                held.ask()

    def ask(self, key: str, item: Object, version: str, ask: Callable[[], None]) -> None:
        """Ask now, or at the end of the request that is on its way."""
        held = self._held.get(key)
        if held is None:
            ask()
        else:
            held.append(Held(item, version, ask))
