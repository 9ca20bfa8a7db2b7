"""The Bus over any set of wires: what callers use; outgoing, durable and incoming do the work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from qts_core.clock import SystemClock
from qts_core.errors import LocalError
from qts_core.roster import BY_WIRE
from qts_core.spec import System
from qts_messaging import books, codec
from qts_messaging.accounts import Book, Record, Summary, summary
from qts_messaging.bus import BusOptions, Handler, Numbers, Reply, StatusFields, Wires
from qts_messaging.correlation import Correlation
from qts_messaging.durable import Durables
from qts_messaging.ending import end, for_ever
from qts_messaging.heartbeat import PeerHealth, Peers
from qts_messaging.ids import new_id
from qts_messaging.incoming import Desk, Incoming
from qts_messaging.messages import DURABLE_TOPICS, Envelope, MarketUpdate, Message, RiskAlert
from qts_messaging.outbox import BOUNDS, Item
from qts_messaging.outgoing import Outgoing
from qts_messaging.refusals import Refusals
from qts_messaging.spool import Spool
from qts_messaging.ways import Way, expected, find

_log = logging.getLogger(__name__)
TICK_S = 0.1
APART_NS = 5_000_000  # at least so long from one look at all requests to the next: each costs their number


class Fabric:
    """One process's bus; see the protocol `Bus` for what each method promises."""

    def __init__(self, system: System, options: BusOptions, wires: Wires) -> None:
        clock = options.clock or SystemClock()
        self.name = options.name
        self.wires = wires
        self._system, self._options, self._clock = system, options, clock
        self._epoch = options.epoch_ns or clock.wall_ns()
        others = tuple(w for w in dict.fromkeys((*options.peers, *expected(system))) if w != self.name)
        self._members = (self.name, *others)
        self._desk = Desk(
            name=self.name,
            epoch=self._epoch,
            known=frozenset((self.name, *others, *BY_WIRE)),
            clock=clock,
            book=Book(self.name, self._epoch, clock.wall_ns()),
            health=Peers(others, clock.monotonic_ns()),
            waiting=Correlation(),
        )
        self.outgoing = Outgoing(self._desk, wires, others, self._unsent)
        self.incoming = Incoming(self._desk, self.outgoing.receipt, self.outgoing.confirmed)
        self.incoming.dispatch.resume.append(wires.direct.resume)
        spool = Spool(options.state / "spool" / f"{self.name}.spool")
        self.durables = Durables(self._desk, wires.durable, self.outgoing, spool)
        self._tasks: list[asyncio.Task[None]] = []
        self._ways: dict[tuple[type, str | None], Way] = {}
        self._closed = False
        self._alarm: asyncio.TimerHandle | None = None  # for the request whose time is over first
        self._alarm_ns = 0

    # -- state --------------------------------------------------------------------------------------
    @property
    def mode(self) -> str:
        """Return connected, degraded, disconnected or simulated."""
        wires = self.wires
        if wires.direct.simulated:
            return "simulated"
        up = (wires.direct.up, wires.topics.up and wires.topics.listening and wires.durable.up)
        return {2: "connected", 1: "degraded"}.get(sum(up), "disconnected")

    @property
    def redis_reached(self) -> bool:
        """Tell whether Redis answered within the last 5 s."""
        return self.wires.topics.reached

    @property
    def refusals(self) -> Refusals:
        """Return what Redis and peers refuse, and whom this process refuses."""
        durable, topics, keys = self.wires.durable, self.wires.topics, self.wires.direct.refusals
        return Refusals(durable.refuses | topics.refuses, keys, topics.away, durable.evicts)

    @property
    def lost(self) -> str:
        """Return what a damaged spool file costs, in plain words; nothing where it was whole."""
        return self.durables.spool.lost

    @property
    def deaf(self) -> bool:
        """Tell whether the own subscription does not hear its beacons."""
        return self.wires.topics.deaf

    @property
    def deposed(self) -> bool:
        """Tell whether another process of this name has taken over."""
        return self.wires.topics.deposed

    @property
    def handling(self) -> tuple[str, float] | None:
        """Return the type whose handler runs and for how many seconds; None while none does."""
        return self.incoming.dispatch.handling

    def record(self) -> Record:
        """Return this process's whole book."""
        return self._desk.book.record()

    def offset_ns(self, peer: str) -> int:
        """Return how much later our clock shows than that of `peer`; 0 on one machine."""
        return self._desk.health.offset_ns(peer)

    def accounts(self) -> Summary:
        """Return this process's book in eight numbers."""
        return summary(self.record())

    def peers(self) -> dict[str, PeerHealth]:
        """Return age and state of every peer."""
        now = self._clock.monotonic_ns()
        return {name: self._desk.health.health(name, now) for name in self._desk.health.names}

    def status_fields(self) -> StatusFields:
        """Return what AGENT_STATUS says about messaging."""
        book, now = self._desk.book, self._clock.wall_ns()
        return StatusFields(self.mode, book.high_water(), book.as_counts(), now, self.credentials)

    @property
    def credentials(self) -> dict[str, int]:
        """Return kind → generation of keys and passwords in use."""
        return {} if self.wires.credentials is None else self.wires.credentials.generations()

    def numbers(self) -> Numbers:
        """Return what metrics say about the bus beside its book."""
        health, wires = self._desk.health, self.wires
        return Numbers(
            waiting={priority: self.outgoing.depth(priority) for priority in BOUNDS},
            inbox=len(self.incoming.dispatch),
            spool_bytes=len(self.durables.spool),
            nowhere=self.durables.nowhere,
            failovers=self.outgoing.failovers,
            offsets_s={peer: health.offset_ns(peer) / 1e9 for peer in health.names},
            skewed=dict(health.skewed),
            slow=dict(self.incoming.dispatch.slow),
            took=self.incoming.dispatch.took(),
            refused=wires.direct.refusals.count,
            resubscribed=wires.topics.resubscribed,
            claimed=wires.durable.claimed,
            dead_letters=wires.durable.dead_letters,
            unconfirmed=self.outgoing.unconfirmed,
            missing=self._desk.book.missing(DURABLE_TOPICS),
            backlog={n: b for n, b in wires.durable.backlog.items() if n in self._members},
            trimmed=dict(wires.durable.trimmed),
            credentials=self.credentials,
            counts=self._desk.book.as_counts(),
        )

    # -- life ---------------------------------------------------------------------------------------
    def subscribe(self, kind: type, handler: Handler) -> None:
        """Let `handler` see every arriving message of type `kind`."""
        self.incoming.dispatch.subscribe(kind, handler)

    async def stand_by(self) -> None:
        """Wait, before `start`, until no other process of this name is at work."""
        if self.wires.standby is not None:
            await self.wires.standby.turn(self.wires.credentials)

    @property
    def follows(self) -> bool:
        """Tell whether `stand_by` has heard another process of this name at work."""
        return self.wires.standby is not None and self.wires.standby.follows

    async def start(self) -> None:
        """Bind, connect, begin to deliver; returns without waiting for peers."""
        await self.open(self.wires)
        runs = [self.outgoing.run, self.durables.run, self._ticks]
        if self.wires.credentials is not None:
            runs.append(self.wires.credentials.run)
        self._tasks = [asyncio.create_task(for_ever(run)) for run in runs]
        dispatch = self.incoming.dispatch
        self._tasks.append(asyncio.create_task(for_ever(dispatch.run), context=dispatch.context))

    async def open(self, wires: Wires) -> None:
        """Bind and connect `wires`; what they bring is heard from now on."""
        await wires.direct.start(self.incoming)
        await wires.topics.start(self.incoming)
        await wires.durable.start(self.incoming)

    def adopt(self, wires: Wires) -> Wires:
        """Speak over `wires`, which are open, from now on; return those before, for the caller to close."""
        before, self.wires = self.wires, wires
        self.outgoing.adopt(wires)
        self.durables.adopt(wires.durable)
        self.incoming.dispatch.resume[:] = [wires.direct.resume]
        if wires.credentials is not None:
            self._tasks.append(asyncio.create_task(for_ever(wires.credentials.run)))
        return before

    async def _ticks(self) -> None:
        """Let deadlines, holes, alerts and dead peers have their consequences."""
        while True:
            await self._clock.sleep(TICK_S)
            if lost := self.incoming.sweep():
                _log.warning("%d messages never came", lost)
            self.outgoing.tick()
            for name, health in self.peers().items():
                if health.state == "dead":
                    for waiter in self._desk.waiting.fail_peer(name):
                        _settle(waiter, "dead")

    async def close(self, drain_s: float = 2.0) -> None:
        """Send and handle what is queued for at most `drain_s`, close every socket, write the book."""
        if self._closed:
            return
        self._closed = True
        self._ways.clear()  # who looks here first finds out
        deadline = self._clock.monotonic_ns() + int(drain_s * 1e9)
        while not self._drained() and self._clock.monotonic_ns() < deadline:
            await asyncio.sleep(0.01)
        await end(self._tasks)
        self.durables.settle()
        self.outgoing.settle()
        self.incoming.settle()
        await self.wires.durable.close()
        await self.wires.topics.close()
        await self.wires.direct.close()
        self._desk.book.closed_ns = self._clock.wall_ns()
        for waiter in self._desk.waiting.expire(2**63):
            _settle(waiter, "timeout")
        if self._alarm is not None:
            self._alarm.cancel()
        books.write(self._options.state, self.record())

    def _drained(self) -> bool:
        """Tell whether nothing waits to be sent, stored or handled."""
        return not self.outgoing.queued and self.durables.idle and self.incoming.dispatch.idle

    # -- speaking -----------------------------------------------------------------------------------
    async def send(
        self, message: Message, to: str, *, trace: bytes | None = None, deadline_ns: int = 0
    ) -> bytes:
        """Queue `message` for `to`; return its id."""
        now = self._clock.wall_ns()
        way, key = self._ways.get((type(message), to)) or self._way(message, to), new_id(now)
        if self.outgoing.at_once(way, message, key, to, trace, now, deadline_ns):
            return key
        item = self._item(message, to, trace, deadline_ns, key)
        if message.ROUTE.addressed == "durable":
            await self.durables.store(item)
        elif item.drop == "never":
            await self.outgoing.submit_alert(item)
        else:
            self.outgoing.submit(item)
        return item.id

    async def publish(self, message: Message, *, trace: bytes | None = None) -> bytes:
        """Queue `message` for all; durable types return after they are stored or spooled."""
        item = self._item(message, None, trace, 0, new_id(self._clock.wall_ns()))
        if message.ROUTE.unaddressed == "durable":
            await self.durables.store(item)
        else:
            self.outgoing.submit(item)
        return item.id

    async def reply(self, request: Envelope, message: Message, *, trace: bytes | None = None) -> bytes:
        """Answer `request` within its deadline, by its id."""
        deadline = request.deadline_ns  # by the clock of who asked
        if deadline:
            deadline += self._desk.health.offset_ns(request.sender)
        to, trace, now = request.sender, trace or request.trace, self._clock.wall_ns()
        way, key = self._ways.get((type(message), to)) or self._way(message, to), new_id(now)
        if not self.outgoing.at_once(way, message, key, to, trace, now, deadline, request.id):
            item = self._item(message, to, trace, deadline, key)
            item.correlation_id = request.id
            self.outgoing.submit(item)
        return key

    async def ask(self, message: Message, to: str, timeout_s: float, *, trace: bytes | None = None) -> Reply:
        """Send a request and wait for its one answer, at most `timeout_s`."""
        return await _answer(to, self._request(message, to, timeout_s, trace))

    async def gather(
        self, messages: dict[str, Message], timeout_s: float, *, trace: dict[str, bytes] | bytes | None = None
    ) -> Sequence[Reply]:
        """Ask all peers at once; wait for all or the deadline; one Reply each, in order."""
        each = trace if isinstance(trace, dict) else dict.fromkeys(messages, trace)
        asked = {p: self._request(m, p, timeout_s, each.get(p)) for p, m in messages.items()}
        return [await _answer(peer, future) for peer, future in asked.items()]

    def _request(
        self, message: Message, to: str, timeout_s: float, trace: bytes | None
    ) -> asyncio.Future[Envelope | str] | str:
        """Send a request; return the future of its answer, or why there will be none."""
        if message.ROUTE.addressed != "direct":
            raise LocalError(f"{type(message).__name__} cannot be asked: it is not sent directly")
        desk, now, wall = self._desk, self._clock.monotonic_ns(), self._clock.wall_ns()
        if desk.health.dead(to, now):
            return "dead"
        timeout_ns = int(timeout_s * 1e9)
        way, key = self._ways.get((type(message), to)) or self._way(message, to), new_id(wall)
        future: asyncio.Future[Envelope | str] = asyncio.get_running_loop().create_future()
        if not desk.waiting.register(key, to, future, now + timeout_ns, timeout_ns):
            return "full"
        if self._alarm is None or self._alarm_ns > now + timeout_ns:
            self._wake(now + timeout_ns, now)
        try:
            if self.outgoing.at_once(way, message, key, to, trace, wall, wall + timeout_ns):
                return future
            item = self._item(message, to, trace, wall + timeout_ns, key)
        except Exception:  # it cannot be sent at all
            desk.waiting.fail(key)
            raise
        with contextlib.suppress(LocalError):  # the future says "full" by now
            self.outgoing.submit(item)
        return future

    def _wake(self, deadline_ns: int, now_ns: int) -> None:
        """Look at the requests that are out when `deadline_ns` is over: one timer for all of them."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_ns, delay_s = deadline_ns, max(0, deadline_ns - now_ns) / 1e9
        self._alarm = asyncio.get_running_loop().call_later(delay_s, self._expire)

    def _expire(self) -> None:
        """Tell callers whose time is over; wake up again for the next ones."""
        self._alarm, now = None, self._clock.monotonic_ns()
        for waiter in self._desk.waiting.expire(now):
            _settle(waiter, "timeout")
        if (earliest := self._desk.waiting.earliest()) is not None:
            self._wake(max(earliest, now + APART_NS), now)

    def _unsent(self, message_id: bytes, reason: str) -> None:
        """Tell who waits for an answer to this message that none will come."""
        if (waiter := self._desk.waiting.fail(message_id)) is not None:
            _settle(waiter, reason)

    def _way(self, message: Message, to: str | None) -> Way:
        """Return how a message travels to `to`; LocalError when it does not, or no more."""
        if self._closed:
            raise LocalError("closed: the bus takes no more messages")
        way = self._ways.get((type(message), to))
        if way is None:
            way = find(type(message), to, self.name, self._desk.known, self._system)
            self._ways[(type(message), to)] = way
        return way

    def _item(
        self, message: Message, to: str | None, trace: bytes | None, deadline_ns: int, key: bytes
    ) -> Item:
        """Encode a message for its route; LocalError when the route does not exist or it is too large."""
        way = self._way(message, to)
        body = codec.encode_body(message)
        if len(body) + codec.OVERHEAD > codec.LIMIT:
            self._desk.book.accepted(way.lane, way.kind, to or "*")
            self._desk.book.unsent(way.lane, way.kind, to or "*", "too_large")
            raise LocalError(f"too_large: {len(body)} bytes, at most {codec.LIMIT} fit into a frame")
        now, ttl_ms = self._clock.wall_ns(), way.ttl_ms
        if isinstance(message, RiskAlert):
            ttl_ms = max(1, (message.expires_ns - now) // 1_000_000)
            deadline_ns = deadline_ns or max(1, message.expires_ns)
        return Item(
            id=key,
            kind=way.kind,
            lane=way.lane,
            body=body,
            priority=way.priority,
            recipient=to,
            ttl_ms=ttl_ms,
            deadline_ns=deadline_ns,
            accepted_ns=now,
            trace=trace,
            drop=way.drop,
        )

    # -- market snapshot ----------------------------------------------------------------------------
    async def remember(self, update: MarketUpdate, *more: MarketUpdate) -> bool:
        """Append closed bars to the market snapshot; False when it is out of reach."""
        return await self.wires.durable.remember([codec.encode_body(u) for u in (update, *more)])

    async def recall(self, count: int) -> list[MarketUpdate]:
        """Return the last `count` entries of the market snapshot, oldest first."""
        found = [codec.decode_body(data) for data in await self.wires.durable.recall(count)]
        return [update for update in found if isinstance(update, MarketUpdate)]

    async def forget(self) -> None:
        """Empty the market snapshot."""
        await self.wires.durable.forget()


def _settle(waiter: asyncio.Future[Envelope | str], reason: str) -> None:
    """End a wait without an answer."""
    if not waiter.done():
        waiter.set_result(reason)


async def _answer(peer: str, waits: asyncio.Future[Envelope | str] | str) -> Reply:
    """Return what came of a request: an answer, or why there is none."""
    answer = waits if isinstance(waits, str) else await waits
    return Reply(peer, None, answer) if isinstance(answer, str) else Reply(peer, answer)
