"""Time as an argument: the protocol, and the only implementation that reads the machine's clock."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Wall and monotonic time in nanoseconds, and sleep in seconds."""

    def wall_ns(self) -> int:
        """Return UTC time since the epoch in ns."""
        ...

    def monotonic_ns(self) -> int:
        """Return a time that never goes back, in ns."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""
        ...


class SystemClock:
    """The machine's clock; a message asks it eight times, so the functions are the interpreter's own."""

    wall_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.monotonic_ns)

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""
        await asyncio.sleep(seconds)
