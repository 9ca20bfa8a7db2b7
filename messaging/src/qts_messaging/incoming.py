"""From a frame to a handler: prove the sender, apply each id once, check its age, keep the account."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

import msgspec

from qts_core.clock import Clock
from qts_core.names import BROADCAST_TOPICS
from qts_messaging import codec
from qts_messaging.accounts import NOBODY, Book
from qts_messaging.bus import Done, Handler
from qts_messaging.correlation import Correlation
from qts_messaging.heartbeat import Peers
from qts_messaging.messages import DURABLE_TOPICS, HIGH, KIND, LOW, NORMAL, AgentStatus, Envelope, RiskAlert
from qts_messaging.seldom import Seldom
from qts_messaging.sequence import Seen

_log = logging.getLogger(__name__)
INBOX = 4096
GRACE_NS = 2_000_000_000  # a hole this old is a loss
DURABLE_GRACE_NS = 60_000_000_000  # the stream or a spool may still bring it
SLOW_NS = 50_000_000


class Desk(msgspec.Struct, frozen=True):
    """What outgoing and incoming share: who we are, the clock, the book, the peers."""

    name: str
    epoch: int
    known: frozenset[str]  # names that may speak
    clock: Clock
    book: Book
    health: Peers
    waiting: Correlation[asyncio.Future[Envelope | str]]


class _Arrival(msgspec.Struct):
    """A message in the inbox. The collector must see it: `done` leads back to the bus that holds it."""

    envelope: Envelope
    key: tuple[str, int, str]
    done: Done | None


class Incoming:
    """The inbox of a process and the checks before it."""

    def __init__(self, desk: Desk, receipt: Any, confirmed: Any) -> None:
        self._desk = desk
        self._receipt = receipt  # send a receipt for this envelope
        self._confirmed = confirmed  # a receipt for this id came
        self._seen = Seen()
        self._copies: dict[bytes, _Arrival | None] = {}  # of stored messages; None: not handled
        self._queues: dict[int, deque[_Arrival]] = {HIGH: deque(), NORMAL: deque(), LOW: deque()}
        self._waiting = 0  # in all queues
        self._wake: asyncio.Future[None] | None = None  # the loop of handlers sleeps on it
        self._handlers: dict[type, Handler] = {}
        self._busy = False
        self._handling: tuple[str, int] | None = None  # type whose handler runs, and since when
        self._settled = False
        self._seldom = Seldom()
        self._stored = frozenset((*DURABLE_TOPICS, *(f"{topic}.to.{desk.name}" for topic in DURABLE_TOPICS)))
        self._lanes = self._own_lanes()
        self.slow: dict[str, int] = {}  # type → handler calls over 50 ms
        self.errors: dict[str, int] = {}  # type → handler exceptions
        self.resume: list[Any] = []  # wires that stopped reading

    def _own_lanes(self) -> frozenset[str]:
        """Return the lanes that can lead here; others are refused, so a peer cannot grow our tables."""
        return frozenset((*BROADCAST_TOPICS, f"to.{self._desk.name}")) | self._stored

    def subscribe(self, kind: type, handler: Handler) -> None:
        """Set the handler of a type."""
        if kind not in KIND:
            raise TypeError(f"{kind.__name__} is not a message type")
        self._handlers[kind] = handler

    def room(self) -> bool:
        """Tell whether a wire may go on reading."""
        return self._waiting < INBOX

    def __len__(self) -> int:
        return self._waiting

    @property
    def idle(self) -> bool:
        """Tell whether nothing waits and no handler runs."""
        return not self._busy and not self._waiting

    @property
    def handling(self) -> tuple[str, float] | None:
        """Return the type whose handler runs and for how many seconds; None while none does."""
        if self._handling is None:
            return None
        kind, since_ns = self._handling
        return kind, (self._desk.clock.monotonic_ns() - since_ns) / 1e9

    # -- arrival ------------------------------------------------------------------------------------
    def arrived(self, frame: bytes, peer: str | None, done: Done | None = None) -> None:
        """Check one frame and queue it; every way out ends its account."""
        if self._settled:
            return  # not counted, not acknowledged: the successor of this process gets what is stored
        envelope = codec.decode(frame)
        if isinstance(envelope, codec.Rejected):
            self._reject(envelope, peer, done)
        elif not self._proven(envelope.sender, peer):
            self._refuse("sender_mismatch", f"{envelope.sender!r} sent by {peer!r}", peer, done)
        elif envelope.sender == self._desk.name and envelope.epoch == self._desk.epoch:
            _finish(done)  # our own words, heard on a channel
        elif envelope.recipient not in (None, self._desk.name):
            _finish(done)  # for somebody else: streams are read by all
        elif envelope.body is None:
            self._control(envelope)
            _finish(done)
        elif envelope.lane not in self._lanes:
            self._refuse("decode", f"lane {envelope.lane!r} does not lead here", peer, done)
        else:
            self._admit(envelope, done)

    def _proven(self, sender: str, peer: str | None) -> bool:
        """Tell whether `sender` is who it says, as far as the wire can prove."""
        return sender in self._desk.known and peer in (None, sender)

    def _refuse(self, reason: str, text: str, peer: str | None, done: Done | None) -> None:
        """Throw away a frame that proves no sender; count it against whom the wire names."""
        whose = peer if peer in self._desk.known else NOBODY
        self._desk.book.refuse(reason, whose)
        self._warn(f"frame refused: {reason}: {text:.200s}", f"{reason} {whose}")
        _finish(done)

    def _warn(self, text: str, key: str) -> None:
        """Log what a hostile or broken peer could repeat for ever, once a minute for each `key`."""
        held = self._seldom.due(key, self._desk.clock.monotonic_ns() / 1e9)
        if held is not None:
            _log.warning("%s%s", text, f" ({held} more like this in the last minute)" if held else "")

    def _reject(self, rejected: codec.Rejected, peer: str | None, done: Done | None) -> None:
        """Count an unreadable frame, against its lane where the header could be read."""
        header = rejected.header
        known = header is not None and header.lane in self._lanes and self._proven(header.sender, peer)
        if (
            header is None
            or not known
            or header.recipient not in (None, self._desk.name)
            or header.sequence < 1
        ):
            self._refuse(rejected.reason, rejected.text, peer, done)
            return
        key = (header.sender, header.epoch, header.lane)
        words = f"message of {header.sender} dropped: {rejected.reason}: {rejected.text:.200s}"
        self._warn(words, f"{header.sender} {rejected.reason}")
        if self._desk.book.arrived(key, header.sequence, self._desk.clock.monotonic_ns()):
            self._desk.book.finished(key, "unknown", rejected.reason)
        _finish(done)

    def _control(self, envelope: Envelope) -> None:
        """Take a receipt; it is outside the accounts."""
        self._desk.health.heard(envelope.sender, self._desk.clock.monotonic_ns())
        if envelope.correlation_id is not None:
            self._confirmed(envelope.correlation_id, envelope.sender)

    def _admit(self, envelope: Envelope, done: Done | None) -> None:
        """Sort an honest message: second copy, too old, answer, or work for a handler."""
        desk, now = self._desk, self._desk.clock.monotonic_ns()
        desk.health.heard(envelope.sender, now)
        key = (envelope.sender, envelope.epoch, envelope.lane)
        kind = KIND[type(envelope.body)]
        if isinstance(envelope.body, RiskAlert) and envelope.recipient is not None:
            self._receipt(envelope)
        if envelope.id in self._seen:
            desk.book.duplicate(key)
            self._second(envelope, key, done)
            return
        if done is None and not self.room() and envelope.lane in self._stored:
            return  # a live copy: what is stored comes when there is room
        if not desk.book.arrived(key, envelope.sequence, now):
            _finish(done)
            return
        self._seen.add(envelope.id)
        if isinstance(envelope.body, AgentStatus):  # before its age is asked: it says how wrong clocks are
            self._heartbeat(envelope, envelope.body, now)
        if self._too_old(envelope):
            desk.book.finished(key, kind, "expired")
            _finish(done)
            return
        if envelope.correlation_id is not None:
            self._answer(envelope, key, kind)
            _finish(done)
        elif not self.room() and done is None:
            desk.book.finished(key, kind, "full")
        else:
            self._enqueue(envelope, key, done)

    def _second(self, envelope: Envelope, key: tuple[str, int, str], done: Done | None) -> None:
        """End a second copy; a stored one when its live copy is handled, and try it where that failed."""
        if done is None or envelope.id not in self._copies:
            _finish(done)
            return
        first = self._copies[envelope.id]
        if first is None:
            del self._copies[envelope.id]
            self._enqueue(envelope, self._desk.book.reopened(key, self._desk.clock.monotonic_ns()), done)
        elif first.done is None:
            first.done = done
        else:
            _finish(done)

    def again(self, frame: bytes, done: Done) -> None:
        """Queue a dead letter that was driven again; it is known by its id, and that is no reason now."""
        envelope = codec.decode(frame)
        if self._settled:
            return
        if isinstance(envelope, codec.Rejected) or envelope.body is None:
            done("cannot be read")
            return
        key = (envelope.sender, envelope.epoch, envelope.lane)
        now = self._desk.clock.monotonic_ns()
        self._enqueue(envelope, self._desk.book.reopened(key, now), done)

    def _enqueue(self, envelope: Envelope, key: tuple[str, int, str], done: Done | None) -> None:
        """Let a message wait for its handler."""
        arrival = _Arrival(envelope, key, done)
        if done is None and envelope.lane in self._stored:
            self._copies[envelope.id] = arrival
            if len(self._copies) > INBOX:
                self._copies.pop(next(iter(self._copies)))
        self._queues[envelope.priority].append(arrival)
        self._waiting += 1
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _too_old(self, envelope: Envelope) -> bool:
        """Tell whether TTL or deadline is over, by our clock corrected for the sender's."""
        if not envelope.ttl_ms and not envelope.deadline_ns:
            return False
        desk, wall = self._desk, self._desk.clock.wall_ns()
        if envelope.ttl_ms:
            age = desk.health.age_ns(envelope.sender, envelope.sent_ns, wall)
            if age >= envelope.ttl_ms * 1_000_000:
                return True
        return bool(envelope.deadline_ns) and (
            wall - desk.health.offset_ns(envelope.sender) >= envelope.deadline_ns
        )

    def _answer(self, envelope: Envelope, key: tuple[str, int, str], kind: str) -> None:
        """Give an answer to whoever waits for it; late and foreign ones are counted, not applied."""
        assert envelope.correlation_id is not None  # noqa: S101 - the caller looked
        verdict, waiter = self._desk.waiting.resolve(envelope.correlation_id, envelope.sender)
        if waiter is not None and not waiter.done():
            waiter.set_result(envelope)
            self._desk.book.finished(key, kind, "delivered")
        else:
            self._desk.book.finished(key, kind, "late" if verdict != "unknown" else "unknown_request")

    def _heartbeat(self, envelope: Envelope, status: AgentStatus, now: int) -> None:
        """Learn clock and high-water marks from AGENT_STATUS."""
        desk = self._desk
        desk.health.sample(envelope.sender, envelope.sent_ns, desk.clock.wall_ns())
        for lane, high in status.lanes.items():
            if lane in self._lanes and high > 0:
                desk.book.heard_high((envelope.sender, envelope.epoch, lane), high, now)

    def sweep(self) -> int:
        """Give up old holes; return how many sequence numbers are lost by that."""
        now = self._desk.clock.monotonic_ns()
        lost = 0
        for (_, _, name), lane in self._desk.book.lanes.items():
            durable = name in self._stored
            lost += lane.sweep(now, DURABLE_GRACE_NS if durable else GRACE_NS)
        return lost

    # -- dispatch -----------------------------------------------------------------------------------
    async def run(self) -> None:
        """Hand messages to handlers, one at a time, urgent ones first; ends when cancelled."""
        while True:
            if not self._waiting:
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
            high, normal, low = self._queues.values()
            arrival = (high or normal or low).popleft()
            self._waiting -= 1
            self._busy = True
            try:
                await self._handle(arrival)
            finally:
                self._busy, self._handling = False, None
            if self._waiting == INBOX // 2 or not self._waiting:
                for resume in self.resume:
                    resume()

    async def _handle(self, arrival: _Arrival) -> None:
        """Let the handler see one message; an exception in it is counted, never fatal."""
        body = arrival.envelope.body
        kind, book = KIND[type(body)], self._desk.book
        handler = self._handlers.get(type(body))
        began = self._desk.clock.monotonic_ns()
        self._handling = (kind, began)
        try:
            if handler is not None:
                await handler(arrival.envelope)
        except asyncio.CancelledError:
            book.finished(arrival.key, kind, "shutdown")
            raise
        except Exception as error:
            self.errors[kind] = self.errors.get(kind, 0) + 1
            _log.exception("handler of %s failed", kind)
            book.finished(arrival.key, kind, "dead_letter" if arrival.done else "handler_error")
            if arrival.done is None and arrival.envelope.id in self._copies:
                self._copies[arrival.envelope.id] = None
            _finish(arrival.done, f"{type(error).__name__}: {error}")
            return
        if self._copies:
            self._copies.pop(arrival.envelope.id, None)
        if self._desk.clock.monotonic_ns() - began > SLOW_NS:
            self.slow[kind] = self.slow.get(kind, 0) + 1
        book.finished(arrival.key, kind, "delivered")
        _finish(arrival.done)

    def settle(self) -> None:
        """Close the accounts of what was not handled; durable messages stay unacknowledged."""
        self._settled = True
        self._seen.clear()  # whoever still holds a closed bus holds no tables
        for queue in self._queues.values():
            while queue:
                arrival = queue.popleft()
                self._waiting -= 1
                self._desk.book.finished(arrival.key, KIND[type(arrival.envelope.body)], "shutdown")


def _finish(done: Done | None, outcome: str = "ok") -> None:
    """End a durable delivery."""
    if done is not None:
        done(outcome)
