"""Entries of streams that were handed over and are not acknowledged yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from redis.exceptions import ResponseError

from qts_messaging.dead_letters import bury

OK = "ok"  # the outcome of what was handled
MOST = 1024  # entries acknowledged at once
Place = tuple[str, bytes]  # stream, entry


class InHand:
    """What a process was given by its group, from when it is handed over until the server knows its end."""

    def __init__(self, group: str, dead: str) -> None:
        self._group, self._dead = group, dead
        self._open: set[Place] = set()  # handed over, not yet acknowledged
        self._unsure: set[Place] = set()  # our acknowledgement need not be the first to find them
        self._ended: list[tuple[str, bytes, str]] = []  # stream, entry, outcome: to be acknowledged
        self.some = asyncio.Event()  # there is something to acknowledge
        self.dead_letters = 0

    def __contains__(self, place: Place) -> bool:
        return place in self._open

    @property
    def waiting(self) -> bool:
        """Tell whether something is to be acknowledged."""
        return bool(self._ended)

    def of(self, key: str) -> set[bytes]:
        """Return the entries of one stream that are in hand."""
        return {entry for stream, entry in self._open if stream == key}

    def take(self, key: str, entry: bytes) -> Callable[[str], None]:
        """Take one entry; return what ends its delivery with an outcome ("ok", or why it failed)."""
        self._open.add((key, entry))
        return lambda outcome: self._end(key, entry, outcome)

    def _end(self, key: str, entry: bytes, outcome: str) -> None:
        self._ended.append((key, entry, outcome))
        self.some.set()

    def doubt(self, places: Iterable[Place] | None = None) -> None:
        """Expect no more that the server knows of these, or of all that is in hand."""
        self._unsure.update(self._open if places is None else places)

    async def acknowledge(self, client: Any) -> int:
        """Acknowledge what has ended; what failed is buried first, and waits where that is refused.

        Returns how many entries the server did not know any more though it should have. Where the server
        refuses an acknowledgement it is given up, as the group brings the entry again; then ResponseError.
        """
        count = len(self._ended[:MOST])
        refused = await self._bury(client, count)
        done = [(key, entry) for key, entry, outcome in self._ended[:count] if outcome == OK]
        over, streams = set(done), dict[str, list[bytes]]()
        sure, self._unsure = over - self._unsure, self._unsure | over  # a second try may follow
        for key, entry in done:
            streams.setdefault(key, []).append(entry)
        known = 0
        try:
            known = sum(await client.ask(*(("XACK", key, self._group, *ids) for key, ids in streams.items())))
        except ResponseError as error:
            refused, known = error, len(sure)
        self._open -= over
        self._unsure -= over
        self._ended = self._ended[count:] + [each for each in self._ended[:count] if each[2] != OK]
        if self._ended:
            self.some.set()
        if refused is not None:
            raise refused
        return len(sure) - known

    async def _bury(self, client: Any, count: int) -> ResponseError | None:
        """Copy what failed of the first `count` to the dead letters, each once; return what was refused."""
        refused = None
        for n, (key, entry, outcome) in enumerate(self._ended[:count]):
            if outcome == OK:
                continue
            try:
                await bury(client, key, entry, outcome, self._group, self._dead)
            except ResponseError as error:
                refused = error
            else:
                self.dead_letters += 1
                self._ended[n] = (key, entry, OK)
        return refused
