"""From a frame to a handler: prove the sender, apply each id once, check its age, keep the account."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec

from qts_core.clock import Clock
from qts_core.names import BROADCAST_TOPICS
from qts_messaging import codec
from qts_messaging.accounts import NOBODY, Book, Inflow, Key
from qts_messaging.bus import Done
from qts_messaging.correlation import Correlation
from qts_messaging.dispatch import INBOX, Arrival, Dispatch
from qts_messaging.heartbeat import Peers
from qts_messaging.messages import DURABLE_TOPICS, KIND, AgentStatus, Envelope, RiskAlert
from qts_messaging.seldom import Seldom

_log = logging.getLogger(__name__)
GRACE_NS = 2_000_000_000  # a hole this old is a loss
DURABLE_GRACE_NS = 60_000_000_000  # the stream or a spool may still bring it


class Desk(msgspec.Struct, frozen=True):
    """What outgoing and incoming share: who we are, the clock, the book, the peers."""

    name: str
    epoch: int
    known: frozenset[str]  # names that may speak
    clock: Clock
    book: Book
    health: Peers
    waiting: Correlation[asyncio.Future[Envelope | str]]


class Incoming:
    """The inbox of a process and the checks before it."""

    def __init__(self, desk: Desk, receipt: Any, confirmed: Any) -> None:
        self._desk = desk
        self._receipt = receipt  # send a receipt for this envelope
        self._confirmed = confirmed  # a receipt for this id came
        self._copies: dict[bytes, Arrival | None] = {}  # of stored messages; None: not handled
        self.dispatch = Dispatch(desk.clock, self._handled)
        self.room, self.rush = self.dispatch.room, self.dispatch.rush
        self._settled = False
        self._seldom = Seldom()
        self._stored = frozenset((*DURABLE_TOPICS, *(f"{topic}.to.{desk.name}" for topic in DURABLE_TOPICS)))
        self._lanes = self._own_lanes()
        self._speakers: dict[str | None, frozenset[str]] = {n: frozenset((n,)) for n in desk.known}
        self._speakers[None] = desk.known  # over whose connection → who may speak; a channel proves nobody

    def _own_lanes(self) -> frozenset[str]:
        """Return the lanes that can lead here; others are refused, so a peer cannot grow our tables."""
        return frozenset((*BROADCAST_TOPICS, f"to.{self._desk.name}")) | self._stored

    # -- arrival ------------------------------------------------------------------------------------
    def arrived(self, frame: bytes, peer: str | None, done: Done | None = None) -> None:
        """Check one frame and queue it; every way out ends its account."""
        if self._settled:
            return  # not counted, not acknowledged: the successor of this process gets what is stored
        envelope, desk = codec.decode(frame), self._desk
        if isinstance(envelope, codec.Rejected):
            self._reject(envelope, peer, done)
            return
        sender, recipient = envelope.sender, envelope.recipient
        if sender not in self._speakers.get(peer, ()):
            self._refuse("sender_mismatch", f"{sender!r} sent by {peer!r}", peer, done)
        elif sender == desk.name and envelope.epoch == desk.epoch:
            _finish(done)  # our own words, heard on a channel
        elif recipient is not None and recipient != desk.name:
            _finish(done)  # for somebody else: streams are read by all
        elif envelope.body is None:
            self._control(envelope)
            _finish(done)
        elif envelope.lane not in self._lanes:
            self._refuse("decode", f"lane {envelope.lane!r} does not lead here", peer, done)
        else:
            self._admit(envelope, done)

    def offence(self, reason: str, text: str, peer: str, count: int = 1) -> None:
        """Count what a wire did not take in, or what happened beside it, against whom it names."""
        for _ in range(count):
            self._refuse(reason, text, peer, None)

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
        if (
            header is None
            or header.lane not in self._lanes
            or header.sender not in self._speakers.get(peer, ())
            or header.recipient not in (None, self._desk.name)
            or header.sequence < 1
        ):
            self._refuse(rejected.reason, rejected.text, peer, done)
            return
        key = (header.sender, header.epoch, header.lane)
        words = f"message of {header.sender} dropped: {rejected.reason}: {rejected.text:.200s}"
        self._warn(words, f"{header.sender} {rejected.reason}")
        flow = self._desk.book.arrived(key, header.sequence, self._desk.clock.monotonic_ns())
        if flow is not None:
            flow.finished("unknown", rejected.reason)
        _finish(done)

    def _control(self, envelope: Envelope) -> None:
        """Take a receipt; it is outside the accounts."""
        self._desk.health.heard[envelope.sender] = self._desk.clock.monotonic_ns()
        if envelope.correlation_id is not None:
            self._confirmed(envelope.correlation_id, envelope.sender)

    def _admit(self, envelope: Envelope, done: Done | None) -> None:
        """Sort an honest message: second copy, too old, answer, or work for a handler."""
        desk, body, lane = self._desk, envelope.body, envelope.lane
        key, now = (envelope.sender, envelope.epoch, lane), desk.clock.monotonic_ns()
        desk.health.heard[envelope.sender] = now
        kind = type(body)
        if kind is RiskAlert and envelope.recipient is not None:
            if not self.room():
                return  # without a receipt it comes again
            self._receipt(envelope)
        stored = lane in self._stored
        if stored and done is None and not self.room():
            return  # a live copy: what is stored comes when there is room
        flow = desk.book.arrived(key, envelope.sequence, now)
        if flow is None:
            self._second(envelope, key, done)
            return
        if isinstance(body, AgentStatus):  # before its age is asked: it says how wrong clocks are
            self._heartbeat(envelope, body, now)
        ttl_ms, deadline_ns, wall = envelope.ttl_ms, envelope.deadline_ns, desk.clock.wall_ns()
        if desk.health.too_old(envelope.sender, envelope.sent_ns, ttl_ms, deadline_ns, wall):
            flow.finished(KIND[kind], "expired")
            _finish(done)
        elif envelope.correlation_id is not None:
            self._answer(envelope, flow, KIND[kind])
            _finish(done)
        elif stored or done is not None:
            self._enqueue(envelope, flow, done)
        else:
            self.dispatch.put(Arrival(envelope, flow))

    def _second(self, envelope: Envelope, key: Key, done: Done | None) -> None:
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

    def _enqueue(self, envelope: Envelope, flow: Inflow, done: Done | None) -> None:
        """Let a stored message wait for its handler; a live copy is remembered until the stored one comes."""
        arrival = Arrival(envelope, flow, done, stored=True)
        if done is None:
            self._copies[envelope.id] = arrival
            if len(self._copies) > INBOX:
                self._copies.pop(next(iter(self._copies)))
        self.dispatch.put(arrival)

    def _handled(self, arrival: Arrival, failed: bool) -> None:
        """Forget the copy of a message whose handler ended; where it failed the stored one is to be tried."""
        if not self._copies:
            return
        if not failed:
            self._copies.pop(arrival.envelope.id, None)
        elif arrival.done is None and arrival.envelope.id in self._copies:
            self._copies[arrival.envelope.id] = None

    def _answer(self, envelope: Envelope, flow: Inflow, kind: str) -> None:
        """Give an answer to whoever waits for it; late and foreign ones are counted, not applied."""
        assert envelope.correlation_id is not None  # noqa: S101 - the caller looked
        verdict, waiter = self._desk.waiting.resolve(envelope.correlation_id, envelope.sender)
        if waiter is not None and not waiter.done():
            waiter.set_result(envelope)
            flow.finished(kind, "delivered")
        else:
            flow.finished(kind, "late" if verdict != "unknown" else "unknown_request")

    def _heartbeat(self, envelope: Envelope, status: AgentStatus, now: int) -> None:
        """Learn clock and high-water marks from AGENT_STATUS."""
        desk = self._desk
        desk.health.sample(envelope.sender, envelope.sent_ns, desk.clock.wall_ns(), envelope.epoch)
        for lane, high in status.lanes.items():
            if lane in self._lanes and high > 0:
                desk.book.heard_high((envelope.sender, envelope.epoch, lane), high, now)

    def sweep(self) -> int:
        """Give up old holes; return how many sequence numbers are lost by that."""
        now = self._desk.clock.monotonic_ns()
        lost = 0
        for (_, _, lane), flow in self._desk.book.into.items():
            durable = lane in self._stored
            lost += flow.track.sweep(now, DURABLE_GRACE_NS if durable else GRACE_NS)
        return lost

    def settle(self) -> None:
        """Close the accounts of what was not handled; durable messages stay unacknowledged."""
        self._settled = True
        self.dispatch.settle()


def _finish(done: Done | None, outcome: str = "ok") -> None:
    """End a durable delivery."""
    if done is not None:
        done(outcome)
