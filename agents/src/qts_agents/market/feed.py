"""The market process: fills the snapshot with history, then publishes one update per closed bar."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from qts_agents.market.bars import Bars, update_of
from qts_agents.market.lockstep import Lockstep
from qts_agents.market.snapshot import BYTES, ENTRIES, Snapshot, entry_bytes
from qts_agents.market.source import Source, open_source
from qts_core.clock import Clock
from qts_core.errors import LocalError, RemoteError
from qts_core.spec import System
from qts_messaging.bus import Bus
from qts_messaging.messages import AgentStatus, DecisionResponse, Envelope, MarketUpdate

READY_WAIT_S = 60.0
#: how often and how long between to look for the snapshot stream before doing without
REACH_TRIES, REACH_S, RECALL_S = 50, 0.1, 5.0
QUORUM = 2
#: bars read at a time; simulating 1,000 symbols takes some 0.1 s a block
BLOCK = 256
#: how far a schedule may lag before it starts afresh instead of catching up
LAG_S = 1.0


class Feed:
    """Publishes the bars of one source by the clock, or in step with the decisions.

    Call `open` (any thread), `subscribe` before the bus starts, then `run`. The last bar of a replay
    that does not repeat carries `ended`; a repeated one goes on with rising seq under the next epoch.
    """

    def __init__(
        self,
        system: System,
        clock: Clock,
        bus: Bus,
        trace: Callable[[], bytes | None] = lambda: None,
        *,
        may_follow: bool = False,
    ) -> None:
        self._system = system
        self._clock = clock
        self._bus = bus
        self._trace = trace
        self._snapshot = Snapshot(bus, clock)
        self._lockstep = Lockstep(system)
        self._source: Source | None = None
        self._speed = (
            system.market.replay.speed if system.market.replay and system.market.source == "replay" else None
        )
        self._repeat = bool(
            system.market.source == "replay" and system.market.replay and system.market.replay.repeat
        )
        # others may have heard bars of a feed before this one; equal runs in step need equal epochs
        self._may_follow = may_follow and self._speed != 0
        self._ready: set[str] = set()
        self._news = asyncio.Event()
        self._stopping = False
        self._epoch = 0
        self._seq = -1
        self._due_ns = 0
        self.bars = 0
        self.unpublished = 0
        self.unanswered = 0
        self.state = "starting"  # starting | backfill | waiting | running | ended | stopped

    def open(self) -> None:
        """Read and check the source; ConfigError when its data are wrong. Takes up to seconds."""
        if self._source is None:
            self._source = open_source(self._system)

    def subscribe(self) -> None:
        """Register for decisions and statuses; call it before the bus starts."""
        self._bus.subscribe(DecisionResponse, self.on_decision)
        self._bus.subscribe(AgentStatus, self.on_status)

    @property
    def ended(self) -> bool:
        """Tell whether the replay is over."""
        return self.state == "ended"

    def status(self) -> dict[str, Any]:
        """Return the feed's facts for /statusz."""
        source = self._source
        return {
            "state": self.state,
            "bars": self.bars,
            "symbols": len(source.symbols) if source else 0,
            "source": source.name if source else "",
            "ended": self.ended,
            "epoch": self._epoch,
            "seq": self._seq,
            "unpublished": self.unpublished,
            "unanswered": self.unanswered,
            "snapshot_waiting": self._snapshot.waiting,
            "snapshot_failures": self._snapshot.failures,
        }

    def stop(self) -> None:
        """Publish nothing more; `run` returns soon."""
        self._stopping = True
        self._news.set()

    async def on_decision(self, envelope: Envelope) -> None:
        """Take note of a final decision."""
        response = envelope.body
        if isinstance(response, DecisionResponse) and response.decision is not None:
            self._lockstep.decision(response.decision.asof_ns)
            self._news.set()

    async def on_status(self, envelope: Envelope) -> None:
        """Take note of who can decide."""
        status = envelope.body
        if isinstance(status, AgentStatus) and status.agent == envelope.sender:
            serving = status.state in ("ready", "degraded")
            (self._ready.add if serving else self._ready.discard)(status.agent)
            self._news.set()

    async def run(self) -> None:
        """Publish until the source ends or `stop`; ConfigError when the source is wrong."""
        if self._source is None:
            await asyncio.to_thread(self.open)
        assert self._source is not None  # noqa: S101 - `open` sets it or raises
        try:
            at = await self._resume(self._source)
            while not self._stopping:
                if at is None:
                    at = await self._backfill(self._source)
                await self._await_agents()
                await self._publish_from(self._source, at)
                if not self._repeat:
                    break
                self._epoch, at = self._epoch + 1, None
        finally:
            self._snapshot.close()
        self.state = "stopped" if self._stopping else "ended"

    async def _resume(self, source: Source) -> int | None:
        """Go on after the newest bar of the snapshot if it is ours; return the next index, else None.

        A feed that is started again must neither repeat bars nor go back in time under the same epoch.
        """
        last = await self._recall_last()
        if last is None:
            return None
        index = source.index_of(last.asof_ns)
        same = last.source == source.name and last.symbols == source.symbols
        live = index is not None and index >= source.backfill - 1
        self._epoch, self._seq = last.epoch, last.seq
        if not (same and live) or (last.ended and self._repeat):
            self._epoch += 1
            return None
        return index + 1 if index is not None else None

    async def _recall_last(self) -> MarketUpdate | None:
        """Return the newest bar of the snapshot; an unreachable one gets an epoch above any it may hold.

        So does an empty one in a pod: a Redis that lost everything tells nothing of the bars that those who
        run have heard, and they would take none of ours until its number passes theirs.
        """
        for _ in range(REACH_TRIES):
            if self._bus.mode == "simulated" or self._bus.redis_reached or self._stopping:
                break
            await self._clock.sleep(REACH_S)
        else:
            self._epoch = self._by_clock()
            return None
        found: list[MarketUpdate] = []
        with contextlib.suppress(RemoteError, TimeoutError):
            async with asyncio.timeout(RECALL_S):
                found = await self._bus.recall(1)
        if not found and self._may_follow:
            self._epoch = self._by_clock()
        return found[-1] if found else None

    def _by_clock(self) -> int:
        return self._clock.wall_ns() // 1_000_000_000

    async def _backfill(self, source: Source) -> int:
        """Replace the snapshot by the source's first bars; return the index of the first live one."""
        self.state = "backfill"
        self._lockstep.begin()
        count = source.backfill
        history: list[MarketUpdate] = []
        keep_from = 0
        for start in range(0, count, BLOCK):
            block = await asyncio.to_thread(source.read, start, min(count, start + BLOCK))
            if start == 0:
                size = entry_bytes(update_of(block.part(0, 1), 0))
                keep_from = max(0, count - min(ENTRIES, max(1, BYTES // size)))
            for offset in range(max(0, keep_from - start), block.close_ns.size):
                seq = self._seq + 1 + start + offset
                history.append(update_of(block.part(offset, offset + 1), seq, "snapshot", self._epoch))
        self._seq += count
        await self._snapshot.begin(history)
        return count

    async def _await_agents(self) -> None:
        """Wait, at most 60 s, until PADS and enough voters serve, so that the first bar is decided."""
        if not self._system.enabled("pads"):
            return
        self.state = "waiting"
        voters = set(self._system.voters())
        # in lockstep all of them, so that equal runs begin alike
        enough = len(voters) if self._speed == 0 else min(QUORUM, len(voters))
        await self._until(lambda: "pads" in self._ready and len(voters & self._ready) >= enough, READY_WAIT_S)

    async def _publish_from(self, source: Source, start: int) -> None:
        """Publish live bars until the source ends or `stop`."""
        self.state = "running"
        self._due_ns = self._clock.monotonic_ns()
        while not self._stopping and (source.length is None or start < source.length):
            stop = start + BLOCK if source.length is None else min(source.length, start + BLOCK)
            block = await asyncio.to_thread(source.read, start, stop)
            for offset in range(stop - start):
                last = start + offset + 1 == source.length and not self._repeat
                await self._publish(block.part(offset, offset + 1), last)
                if self._stopping:
                    return
            start = stop

    async def _publish(self, bar: Bars, last: bool) -> None:
        """Publish one bar when it is due: first into the snapshot, so that a late joiner misses none."""
        if self._speed != 0:
            await self._pace(bar.bar_s)
            if self._stopping:
                return
        self._seq += 1
        update = update_of(bar, self._seq, "delta", self._epoch, last)
        await self._snapshot.add(update)
        due = self._lockstep.published(update.asof_ns, update.seq)
        try:
            await self._bus.publish(update, trace=self._trace())
            self.bars += 1
        except (LocalError, RemoteError):
            self.unpublished += 1
        if self._speed == 0 and not last:
            await self._step(due)

    async def _pace(self, bar_s: float) -> None:
        """Wait until the next bar is due."""
        interval_s = bar_s / self._speed if self._speed else self._system.market_update_interval
        now = self._clock.monotonic_ns()
        if now - self._due_ns > LAG_S * 1e9:
            self._due_ns = now
        if self._due_ns > now:
            await self._until(lambda: False, (self._due_ns - now) / 1e9)
        self._due_ns += round(interval_s * 1e9)

    async def _step(self, due: bool) -> None:
        """Wait for the decision on the bar just published if one is due; let others run in any case."""
        await asyncio.sleep(0)
        if due and self._system.enabled("pads"):
            seq = self._seq
            limit_s = self._system.decision_timeout + 1.0
            if not await self._until(lambda: self._lockstep.decided >= seq, limit_s) and not self._stopping:
                self.unanswered += 1

    async def _until(self, done: Callable[[], bool], limit_s: float) -> bool:
        """Wait until `done`, `stop`, or `limit_s` have passed; return `done()`."""
        if done() or self._stopping:
            return done()
        timer = asyncio.ensure_future(self._clock.sleep(limit_s))
        try:
            while not (done() or self._stopping or timer.done()):
                self._news.clear()
                news = asyncio.ensure_future(self._news.wait())
                await asyncio.wait({timer, news}, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
        finally:
            timer.cancel()
        return done()
