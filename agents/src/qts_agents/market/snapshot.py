"""The market snapshot as the feed writes it: in order, without holes, whether or not Redis is there."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec

from qts_core.clock import Clock
from qts_core.errors import RemoteError
from qts_messaging.bus import Bus
from qts_messaging.messages import MarketUpdate
from qts_messaging.records import Column

ENTRIES = 4096
BYTES = 64 << 20
BATCH = 256
LIMIT_S = 2.0
RETRY_S = 0.5
#: bytes of an update beside its columns and names
OVERHEAD = 300


def entry_bytes(update: MarketUpdate) -> int:
    """Return about how many bytes one update takes in the snapshot."""
    columns = (update.open, update.high, update.low, update.close, update.volume, update.valid)
    quotes = (update.spread, update.imbalance, update.depth)
    told = msgspec.structs.astuple(update.orders) if update.orders is not None else ()
    flow = tuple(c for c in told if isinstance(c, Column))
    size = sum(len(c.data) for c in (*columns, *quotes, *flow))
    return OVERHEAD + size + sum(len(s) + 2 for s in update.symbols)


class Snapshot:
    """Bars that wait for the snapshot stream; what could not be written is written later, in order."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._waiting: deque[MarketUpdate] = deque(maxlen=ENTRIES)
        self._clear = False
        self._written = 0
        self._lock = asyncio.Lock()
        self._mending: asyncio.Task[None] | None = None
        self.failures = 0

    @property
    def waiting(self) -> int:
        """Return how many bars are not yet written."""
        return len(self._waiting)

    async def begin(self, history: Sequence[MarketUpdate]) -> None:
        """Replace the stream by `history`, oldest first."""
        async with self._lock:
            self._waiting.clear()
            self._waiting.extend(history)
            self._clear, self._written = True, 0
        await self._flush_or_mend()

    async def add(self, update: MarketUpdate) -> None:
        """Append one bar; while the stream is out of reach it is kept and this returns at once."""
        self._waiting.append(update)
        if self._mending is None:
            await self._flush_or_mend()

    def close(self) -> None:
        """Stop trying."""
        if self._mending is not None:
            self._mending.cancel()
            self._mending = None

    async def _flush_or_mend(self) -> None:
        if not await self._flush() and self._mending is None:
            self._mending = asyncio.create_task(self._mend(), name="market snapshot")

    async def _mend(self) -> None:
        while True:
            await self._clock.sleep(RETRY_S)
            if await self._flush():
                self._mending = None
                return

    async def _flush(self) -> bool:
        """Write all that waits; False when the stream is out of reach."""
        try:
            async with self._lock, asyncio.timeout(LIMIT_S) as limit:
                while self._clear or self._waiting:
                    if not await self._write():
                        self.failures += 1
                        return False
                    limit.reschedule(asyncio.get_running_loop().time() + LIMIT_S)
        except (RemoteError, TimeoutError):
            self.failures += 1
            return False
        return True

    async def _write(self) -> bool:
        """Clear the stream if that is due, and write the next batch."""
        if self._clear:
            await self._bus.forget()
            if await self._bus.recall(1):
                return False
        batch = [self._waiting[i] for i in range(min(BATCH, len(self._waiting)))]
        if batch and not await self._bus.remember(*batch):
            return False
        # forget() does not say whether it was heard; a write after it shows that the stream is there
        self._clear = False
        for update in batch:
            # a full deque drops its oldest by itself while we wait
            if self._waiting and self._waiting[0] is update:
                self._waiting.popleft()
        self._written += len(batch)
        return True
