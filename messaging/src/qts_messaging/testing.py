"""Faults for tests: a hub that loses, delays, doubles and cuts; a TCP proxy that delays and cuts."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable

import msgspec

from qts_messaging.memory import Hub


class Faults(msgspec.Struct):
    """How badly a hub behaves; probabilities of each frame, delay in seconds."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_s: float = 0.0  # uniform from 0, so frames overtake each other
    cut: set[frozenset[str]] = msgspec.field(default_factory=set)  # pairs that cannot reach each other


class FaultyHub(Hub):
    """A hub with faults on direct frames and broadcasts; what is stored is kept, as a stream would."""

    def __init__(self, faults: Faults, seed: int) -> None:
        super().__init__()
        self.faults = faults
        self.lost = 0
        self._draw = random.Random(seed)

    def direct(self, sender: str, peer: str, frame: bytes) -> bool:
        """Deliver, lose, double or delay; a cut pair is unreachable, and the sender is told."""
        if frozenset((sender, peer)) in self.faults.cut:
            return False
        return super().direct(sender, peer, frame)

    def later(self, peer: str, frame: bytes, sender: str | None) -> None:
        """Let the draw decide what becomes of one frame."""
        if self._draw.random() < self.faults.loss:
            self.lost += 1
            return
        copies = 2 if self._draw.random() < self.faults.duplication else 1
        for _ in range(copies):
            delay = self._draw.random() * self.faults.delay_s
            asyncio.get_running_loop().call_later(delay, self._now, peer, frame, sender)


class Proxy:
    """A TCP proxy on loopback that delays what comes back, and can cut or freeze every connection.

    With `tls` it ends TLS, so that a server without TLS can stand behind a `rediss://` address.
    """

    def __init__(self, host: str, port: int, delay_s: float = 0.0, tls: ssl.SSLContext | None = None) -> None:
        self._to, self.delay_s, self._tls = (host, port), delay_s, tls
        self.open = asyncio.Event()  # cleared: bytes stay where they are, connections stand
        self.open.set()
        self.refuse = False  # new connections are ended at once
        self.alter: Callable[[bytes], bytes] | None = None  # changes what callers send
        self.hold = b""  # a connection on which this is asked brings no answers until it is b"" again
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and cut what stands."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """End every connection; new ones are accepted."""
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.refuse:
                raise ConnectionRefusedError
            far_reader, far_writer = await asyncio.open_connection(*self._to)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, far_writer}
        held = asyncio.Event()
        for source, target, callers in ((reader, far_writer, True), (far_reader, writer, False)):
            task = asyncio.create_task(self._pump(source, target, callers, held))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, callers: bool, held: asyncio.Event
    ) -> None:
        delay = 0.0 if callers else self.delay_s
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                await self.open.wait()  # what a frozen link held is lost when it is cut
                if delay:
                    await asyncio.sleep(delay)
                if self.alter is not None and callers:
                    data = self.alter(data)
                if callers and self.hold and self.hold in data:
                    held.set()
                while not callers and self.hold and held.is_set():
                    await asyncio.sleep(0.005)
                target.write(data)
                await target.drain()
        target.close()
        self._writers.discard(target)
