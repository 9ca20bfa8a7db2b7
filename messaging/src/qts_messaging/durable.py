"""What must not be lost: stored in a stream, or spooled and copied live until the store is back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque

from qts_core.errors import LocalError
from qts_messaging import codec
from qts_messaging.bus import DurableWire
from qts_messaging.incoming import Desk
from qts_messaging.outbox import Item, expired
from qts_messaging.outgoing import Outgoing
from qts_messaging.spool import Spool, Stored

_log = logging.getLogger(__name__)
BATCH = 64
BOUND = 1024
RETAINED = 4096
RETAINED_BYTES = 32 << 20
RETRY_S = 0.1
FULL = "spool_full: the store is away and the spool file is full"


class Durables:
    """One ordered line of durable messages of a process."""

    def __init__(self, desk: Desk, wire: DurableWire, outgoing: Outgoing, spool: Spool) -> None:
        self._desk, self._wire, self._outgoing, self.spool = desk, wire, outgoing, spool
        self._queue: deque[tuple[Item, asyncio.Future[None]]] = deque()
        self._kept: deque[Stored] = deque()
        self._kept_bytes = 0
        self._work = asyncio.Event()
        self._busy = False
        self.nowhere = 0  # messages that found no room in the spool: who listened has them, and nobody later
        self.readded = 0  # messages stored again after the store lost them

    def adopt(self, wire: DurableWire) -> None:
        """Store elsewhere from the next message on."""
        self._wire = wire

    @property
    def idle(self) -> bool:
        """Tell whether all is stored; a store that is away leaves the rest in the spool."""
        waiting = (bool(len(self.spool)) or self._wire.wiped) and self._wire.up
        return not self._queue and not self._busy and not waiting

    async def store(self, item: Item) -> None:
        """Return when `item` is stored or spooled; LocalError(full, spool_full) when it is neither."""
        self._desk.book.accepted(item.lane, item.kind, item.recipient or "*")
        if len(self._queue) >= BOUND:
            self._unsent(item, "full")
            raise LocalError(f"full: {BOUND} durable messages wait to be stored")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((item, future))
        self._work.set()
        await future  # whoever is cancelled here leaves the message to be stored

    def _unsent(self, item: Item, reason: str) -> None:
        self._desk.book.unsent(item.lane, item.kind, item.recipient or "*", reason)

    async def run(self) -> None:
        """Store what waits, in order; ends when cancelled."""
        while True:
            if not self._queue:
                timeout = RETRY_S if len(self.spool) else 1.0
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await self._work.wait()
                self._work.clear()
            self._busy = True
            try:
                await self._restore()
                await self._replay()
                await self._batch()
            finally:
                self._busy = False

    async def _restore(self) -> None:
        """Store again what the server lost; receivers know the ids."""
        if not self._wire.wiped:
            return
        self._wire.wiped = False
        if kept := list(self._kept):
            _log.warning("the store came back without our messages: %d are stored again", len(kept))
            self.readded += len(kept)
            self._forget()  # once stored again they are remembered again
            for frame in kept:
                if self._spool(frame):
                    self._keep(frame)

    def _spool(self, stored: Stored) -> str:
        """Put one frame into the file; return why it is not there, nothing where it is."""
        why = "" if self.spool.room(len(stored[1])) else FULL
        try:
            if not why:
                self.spool.append(*stored)
        except OSError as error:
            why = f"spool_full: the store is away and the spool file cannot be written: {error.strerror}"
        if why:
            _log.error("a message of %s is stored nowhere: %s", stored[0], why)
        return why

    async def _replay(self) -> None:
        """Store what the spool holds, oldest first."""
        while len(self.spool) and self._wire.up:
            frames = self.spool.head(BATCH)
            if not frames:
                return
            if not await self._wire.append(frames):
                return
            self.spool.advance()
            for stored in frames:
                self._keep(stored)
                self._settle_lane(stored[1])
            if not len(self.spool):
                _log.info("spool replayed")

    def _settle_lane(self, frame: bytes) -> None:
        """Take a replayed message of this process off its lane's `unstored`."""
        envelope = codec.decode(frame)
        if isinstance(envelope, codec.Rejected) or envelope.epoch != self._desk.epoch:
            return
        count = self._desk.book.out.get(envelope.lane)
        if count is not None and count.unstored > 0:
            self._desk.book.unstored(envelope.lane, -1)

    async def _batch(self) -> None:
        """Store the next messages, or spool them and send live copies."""
        batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        if not batch:
            return
        live: list[tuple[Item, asyncio.Future[None], Stored]] = []
        direct = self._wire.up and not len(self.spool)
        for item, future in batch:
            if expired(item, self._desk.clock.wall_ns()):
                self._unsent(item, "expired")
                _tell(future, None)
            else:
                stored = (item.lane.split(".", 1)[0], self._outgoing.frame(item))
                self._outgoing.left(item)
                live.append((item, future, stored))
        try:
            kept = direct and await self._wire.append([stored for _, _, stored in live])
        except asyncio.CancelledError:  # the end came meanwhile: the next start stores what may be missing
            for item, future, stored in live:
                _tell(future, self._detour(item, stored))
            raise
        for item, future, stored in live:
            if kept:
                self._keep(stored)
                _tell(future, None)
            else:
                _tell(future, self._detour(item, stored))

    def _detour(self, item: Item, stored: Stored) -> LocalError | None:
        """Spool one message and send live copies of it, which receivers will know when it is replayed."""
        why = self._spool(stored)
        if why:
            self.nowhere += 1
        else:
            self._desk.book.unstored(item.lane, 1)
        self._outgoing.copies(stored[1], item.recipient)
        return LocalError(why) if why else None

    def _keep(self, stored: Stored) -> None:
        """Remember a stored message in case the server forgets it."""
        self._kept.append(stored)
        self._kept_bytes += len(stored[1])
        while len(self._kept) > RETAINED or self._kept_bytes > RETAINED_BYTES:
            self._kept_bytes -= len(self._kept.popleft()[1])

    def settle(self) -> None:
        """Spool what nobody stored before the end, so that it is not lost."""
        while self._queue:
            item, future = self._queue.popleft()
            stored = (item.lane.split(".", 1)[0], self._outgoing.frame(item))
            self._outgoing.left(item)
            _tell(future, self._detour(item, stored))
        self.spool.close()
        self._forget()

    def _forget(self) -> None:
        """Remember nothing that was stored."""
        self._kept.clear()
        self._kept_bytes = 0


def _tell(future: asyncio.Future[None], error: LocalError | None) -> None:
    """End a caller's wait."""
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
