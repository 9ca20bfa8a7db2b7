"""A line to the API server that a test can spoil below TLS: what it does to bytes no side can see through."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from qts_messaging.testing import Proxy

_RESET = struct.pack("ii", 1, 0)


class Line(Proxy):
    """Bytes pass as they are; TLS is verified end to end. Everything counts for what comes back."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.left: int | None = None  # so many bytes still come back, then every connection ends
        self.flip = False  # one bit of each piece is wrong
        self.piece = 65_536  # bytes that come at once
        self._lost: set[asyncio.StreamWriter] = set()

    def lose(self) -> None:
        """Make the connections that stand half-open: neither side hears of the other again."""
        self._lost |= self._writers

    def reset(self) -> None:
        """End every connection without a good-bye."""
        for writer in self._writers:
            end: socket.socket = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        self._writers.clear()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        callers: bool,
        held: asyncio.Event,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(self.piece):
                await self.open.wait()
                if target in self._lost:
                    continue
                if not callers:
                    data = await self._spoiled(data)
                target.write(data)
                await target.drain()
                if self.left == 0:
                    self.cut()
        target.close()
        self._writers.discard(target)
        self._lost.discard(target)

    async def _spoiled(self, data: bytes) -> bytes:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.flip:
            data = data[:-1] + bytes([data[-1] ^ 1])
        if self.left is not None:
            data = data[: self.left]
            self.left -= len(data)
        return data
