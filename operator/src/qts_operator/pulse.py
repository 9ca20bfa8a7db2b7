"""The pulse of the event loop: after a pause a write may be late, and somebody else may lead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

BEAT_S = 0.5
LAG_S = 1.0  # a longer one is a pause


class Pulse:
    """When the loop last turned; `now` counts pauses of the machine too."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._turned = now, now()

    def turned(self) -> None:
        """Take note that the loop turns."""
        self._turned = self._now()

    def still_s(self) -> float:
        """Return seconds since the loop is known to have turned."""
        return self._now() - self._turned

    def paused(self) -> bool:
        """Tell whether the loop has just come out of a pause that nobody has dealt with: until `turned`."""
        return self.still_s() > BEAT_S + LAG_S

    async def beat(self) -> float:
        """Wait for the next beat; return how late it is."""
        await asyncio.sleep(BEAT_S)
        return max(0.0, self.still_s() - BEAT_S)
