"""Set times for an open-loop benchmark, by a timer of the kernel: asyncio rounds its sleeps up to 1 ms."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
import time
from collections.abc import Awaitable, Callable

STAMP = struct.Struct("<q")
Send = Callable[[int], Awaitable[None]]


class Pace:
    """Calls `send` so many times a second."""

    def __init__(self, per_s: float) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._step_ns = int(1_000_000_000 / per_s)
        self._handle = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
        self._due, self._more = 0, asyncio.Event()

    def _ring(self) -> None:
        (due,) = STAMP.unpack(os.read(self._handle, 8))
        self._due += due
        self._more.set()

    async def run(self, count: int, send: Send) -> None:
        """Call `send` with the planned time (monotonic ns) of each of `count` messages."""
        first = time.monotonic_ns() + 5_000_000
        seconds, step = divmod(self._step_ns, 1_000_000_000)
        setting = struct.pack("qqqq", seconds, step, *divmod(first, 1_000_000_000))
        self._libc.timerfd_settime(self._handle, 1, setting, None)
        asyncio.get_running_loop().add_reader(self._handle, self._ring)
        sent = 0
        while sent < count:
            await self._more.wait()
            self._more.clear()
            while sent < min(self._due, count):
                await send(first + sent * self._step_ns)
                sent += 1
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
