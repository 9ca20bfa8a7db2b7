"""The newest entries of our own stream: what shows whether a server that began anew has kept them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from qts_messaging.trimming import MAX_AGE_MS

REMEMBERED = 1024  # entries
MARGIN_MS = 3_600_000  # a trimmer of another clock may have been here


class Stored:
    """Ids of the last entries that were stored under one key."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._last: deque[bytes] = deque(maxlen=REMEMBERED)

    def note(self, entries: Iterable[bytes]) -> None:
        """Remember entries that the server has stored."""
        self._last.extend(entries)

    async def lost(self, client: Any) -> bool:
        """Tell whether the server lacks one of them; what is lost once is not looked for again.

        Not the newest alone: the client may have reached a new server before anybody notices it. What is as
        old as what is trimmed need not be there.
        """
        oldest_ms = int((await client.time())[0]) * 1000 - MAX_AGE_MS + MARGIN_MS
        pipe = client.pipeline(transaction=False)
        for entry in self._last:
            if int(entry.partition(b"-")[0]) > oldest_ms:
                pipe.xrange(self._key, entry, entry)
        return not all(await pipe.execute()) and self.forget()

    def forget(self) -> bool:
        """Look for nothing any more, as the server has lost it; tell whether anything was there."""
        some = bool(self._last)
        self._last.clear()
        return some
