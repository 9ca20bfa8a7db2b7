"""From MARKET_UPDATE messages to a gap-free ring of bars: joins late, fills gaps, notices a new epoch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from qts_agents.agent import MarketWindow
from qts_agents.context import Context
from qts_agents.market.bars import Ring
from qts_core.errors import LocalError, RemoteError
from qts_messaging.messages import Envelope, MarketUpdate
from qts_messaging.redis_names import FEED

#: what a shell does with one bar that is in order
Take = Callable[[MarketUpdate, bytes | None], Awaitable[None]]
#: what it does with history: bars that follow each other, each with the window that ends with it
History = Sequence[tuple[MarketUpdate, MarketWindow]]
Read = Callable[[History], Awaitable[None]]
#: what it waits for before a bar is held
Gate = Callable[[MarketUpdate], Awaitable[None]]
AT_ONCE = 64  # bars of one symbol: a hop between threads costs as much as a bar, but a look at health waits


async def at_once(_: MarketUpdate) -> None:
    """Let a bar pass."""


class Inlet:
    """Queues updates as they come and hands them on in order, history first.

    At most `capacity` bars of history are handed on; `lead` bars before them fill the windows.
    """

    def __init__(
        self, context: Context, capacity: int, take: Take, read: Read, *, lead: int = 0, gate: Gate = at_once
    ) -> None:
        self.ring = Ring(capacity)
        self._context = context
        self._capacity, self._lead = capacity, lead
        self._take, self._read, self._gate = take, read, gate
        self._lived = -1  # newest bar that was handed on and dealt with
        self._queue: asyncio.Queue[Envelope] = asyncio.Queue(1024)
        self._moved = asyncio.Condition()
        self.ended = False

    async def receive(self, envelope: Envelope) -> None:
        """Queue one update; the oldest makes room, the gap it leaves is filled from the snapshot.

        Of the feed alone: a voter that could send bars could begin an epoch that no true bar ever reaches.
        """
        if envelope.sender != FEED:
            self._context.log.warning("bar_of_another", sender=envelope.sender)
            return
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(envelope)

    async def backfill(self, before: MarketUpdate | None = None, patience_s: float = 1.0) -> int:
        """Apply the bars of the snapshot stream that the ring lacks, or those before one; return how many."""
        count = self._lead + self._capacity + (before is not None)
        try:
            bars = await asyncio.wait_for(self._context.bus.recall(count), patience_s + 4.0)
        except (RemoteError, TimeoutError) as error:
            self._context.log.warning("snapshot_unavailable", error=str(error))
            return 0
        fresh = [bar for bar in bars if self._is_news(bar) and (before is None or _at(bar) < _at(before))]
        for bar in fresh[: -self._capacity]:
            self._hold(bar)
        fresh = fresh[-self._capacity :]
        at_once = max(1, AT_ONCE // len(fresh[0].symbols)) if fresh else 1
        for first in range(0, len(fresh), at_once):
            bars = fresh[first : first + at_once]
            await self._read([self._past(msgspec.structs.replace(bar, kind="snapshot")) for bar in bars])
            await self._tell()
        return len(fresh)

    def window(self) -> MarketWindow:
        """Return what the ring holds; LocalError before the first bar."""
        window = self.ring.window()
        if window is None:
            raise LocalError("no bar has arrived yet")
        return window

    async def run(self) -> None:
        """Hand on updates for ever."""
        while True:
            envelope = await self._queue.get()
            update = envelope.body
            if isinstance(update, MarketUpdate):
                await self._step(update, envelope.trace)
                await asyncio.sleep(0)  # a bar may have been taken without any wait

    async def reached(self, seq: int, patience_s: float) -> bool:
        """Wait until the bar `seq` is in the ring, at most `patience_s`."""
        return await self._until(lambda: self.ring.seq >= seq, patience_s)

    async def lived(self, seq: int, patience_s: float) -> bool:
        """Wait until the bar `seq` has been dealt with, at most `patience_s`."""
        return await self._until(lambda: self._lived >= seq, patience_s)

    async def _until(self, done: Callable[[], bool], patience_s: float) -> bool:
        if done():
            return True
        async with self._moved:
            try:
                await asyncio.wait_for(self._moved.wait_for(done), patience_s)
            except TimeoutError:
                return False
        return True

    def _is_news(self, update: MarketUpdate) -> bool:
        return update.epoch > self.ring.epoch or update.seq > self.ring.seq

    async def _step(self, update: MarketUpdate, trace: bytes | None) -> None:
        news = self._is_news(update)
        if news or update.ended:  # bars that nobody takes are none for who asks whether the feed stands still
            self._context.metrics.heard(self._context.now_ns() / 1e9, ended=update.ended)
        if not news:
            self.ended = self.ended or update.ended
            return
        if update.epoch != self.ring.epoch or update.seq != self.ring.seq + 1:
            filled = await self.backfill(update)
            self._context.log.info("bars_backfilled", bars=filled, until_seq=self.ring.seq)
        if self._is_news(update):
            await self._gate(update)
            self._hold(update)
            await self._take(update, trace)
            await self._tell()

    def _past(self, update: MarketUpdate) -> tuple[MarketUpdate, MarketWindow]:
        self._hold(update)
        return update, self.window()

    def _hold(self, update: MarketUpdate) -> None:
        self.ring.push(update)
        self.ended = self._context.metrics.ended = update.ended

    async def _tell(self) -> None:
        self._lived = self.ring.seq
        async with self._moved:
            self._moved.notify_all()


def _at(update: MarketUpdate) -> tuple[int, int]:
    return update.epoch, update.seq
