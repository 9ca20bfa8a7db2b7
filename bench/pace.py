"""Set times for an open-loop benchmark, by a timer of the kernel: asyncio rounds its sleeps up to 1 ms."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
import time
from collections.abc import Awaitable, Callable

from qts_messaging.bus import Done

STAMP = struct.Struct("<q")
LATEST_S = 5.0
BYTES = 290  # of a message: as many as a vote has
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


def frame(planned: int) -> bytes:
    """Return a message that tells when it was due."""
    return STAMP.pack(planned) + bytes(BYTES - STAMP.size)


class Taken:
    """A sink that notes how old each message is, and acknowledges it."""

    def __init__(self, ages: list[int] | None = None) -> None:
        self.ages: list[int] = [] if ages is None else ages

    def arrived(self, frame: bytes, peer: str | None, done: Done | None = None) -> None:  # noqa: ARG002
        """Note one message."""
        self.ages.append(time.monotonic_ns() - STAMP.unpack_from(frame)[0])
        if done is not None:
            done("ok")

    def again(self, frame: bytes, done: Done) -> None:
        """Take a dead letter: there is none here."""

    def room(self) -> bool:
        """Always."""
        return True

    def rush(self) -> None:
        """Sort nothing."""

    def offence(self, reason: str, text: str, peer: str, count: int = 1) -> None:
        """Fail: nothing here may offend."""
        raise AssertionError(f"{count} {reason} of {peer}: {text}")


async def arrived(all_here: Callable[[], bool], seconds: float = LATEST_S) -> None:
    """Wait for the last messages of a round; at most some seconds, for one that is lost never comes."""
    ends = time.monotonic() + seconds
    while not all_here() and time.monotonic() < ends:
        await asyncio.sleep(0.02)
