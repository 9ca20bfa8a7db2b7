"""From an accepted message to a wire: number it when it leaves, take the next wire when one is down."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable

import msgspec

from qts_core.errors import LocalError
from qts_messaging import codec
from qts_messaging.bus import Wires
from qts_messaging.incoming import Desk
from qts_messaging.messages import Envelope, Message
from qts_messaging.outbox import Item, Outbox
from qts_messaging.reconnect import Failover
from qts_messaging.ways import Way

_log = logging.getLogger(__name__)
BATCH = 64
RESEND_S = 0.5
Unsent = Callable[[bytes, str], None]


class _Alert(msgspec.Struct):
    """A RISK_ALERT that wants a receipt; `frame` is None while it has not left."""

    item: Item
    frame: bytes | None
    next_ns: int


class Outgoing:
    """Outboxes of peers and topics, and what moves them."""

    def __init__(self, desk: Desk, wires: Wires, peers: tuple[str, ...], unsent: Unsent) -> None:
        self._desk, self._wires, self._peers, self._unsent = desk, wires, peers, unsent
        self._boxes: dict[str, Outbox] = {}
        self._routes: defaultdict[str, Failover] = defaultdict(Failover)
        self._detours: dict[str, asyncio.Task[None]] = {}
        self._under_way: dict[str, Item] = {}  # lane → what its detour has numbered and not yet counted
        self._hoping: dict[bytes, Item] = {}  # alerts that wait for room in their queue
        self._alerts: dict[bytes, _Alert] = {}
        self._work = asyncio.Event()
        self._publishing = False
        self.unconfirmed = 0  # alerts that expired without a receipt

    def adopt(self, wires: Wires) -> None:
        """Use other wires from the next message on."""
        self._wires = wires

    @property
    def queued(self) -> int:
        """Return how many messages have not left."""
        return sum(len(box) for box in self._boxes.values()) + len(self._detours) + int(self._publishing)

    def depth(self, priority: int) -> int:
        """Return how many messages of one priority wait."""
        return sum(box.depth(priority) for box in self._boxes.values())

    @property
    def failovers(self) -> dict[str, int]:
        """Return how often each route changed its wire."""
        return {lane: route.switches for lane, route in self._routes.items()}

    # -- entering -----------------------------------------------------------------------------------
    def submit(self, item: Item) -> None:
        """Queue `item` and send what can leave now; LocalError(full) when its queue refuses it."""
        if not self._enter(item):
            self._drop(item, "full")
            raise LocalError(f"full: the queue of {item.lane} holds {len(self._box(item.lane))} messages")

    def at_once(
        self,
        way: Way,
        message: Message,
        message_id: bytes,
        peer: str,
        trace: bytes | None,
        now: int,
        deadline_ns: int,
        correlation_id: bytes | None = None,
    ) -> bool:
        """Send a message if nothing is before it and its first wire takes it; False: nothing was counted.

        `now` is our wall clock. Written out, for each call on a vote's way costs its time twice.
        """
        desk, lane = self._desk, way.lane
        if not way.direct or 0 < deadline_ns <= now or lane in self._detours or self._boxes.get(lane):
            return False
        if not self._routes[lane].first and self._prefers_topic(lane, peer):
            return False
        out = desk.book.out[lane]
        frame = codec.encode(
            Envelope(
                id=message_id,
                sender=desk.name,
                recipient=peer,
                correlation_id=correlation_id,
                sent_ns=now,
                ttl_ms=way.ttl_ms,
                deadline_ns=deadline_ns,
                priority=way.priority,
                epoch=desk.epoch,
                lane=lane,
                sequence=out.left + 1,
                trace=trace,
                body=message,
            )
        )
        if len(frame) > codec.LIMIT or not self._wires.direct.send(peer, frame):
            return False
        out.passed(way.kind, peer, now)
        return True

    async def submit_alert(self, item: Item) -> None:
        """Queue an alert; wait for room until its deadline, then LocalError(full)."""
        if self._enter(item):
            return
        self._hoping[item.id] = item
        try:
            while self._desk.clock.wall_ns() < item.deadline_ns:
                await self._desk.clock.sleep(0.01)
                if item.id not in self._hoping:
                    raise LocalError("closed: the bus takes no more messages")
                if self._enter(item, again=True):
                    del self._hoping[item.id]
                    return
            raise LocalError(f"full: no room for an alert in the queue of {item.lane}")
        finally:  # its time is over, or its caller gave up
            if self._hoping.pop(item.id, None) is not None:
                self._drop(item, "full")

    def _enter(self, item: Item, again: bool = False) -> bool:
        """Put `item` into its outbox and pump it; False when it was refused."""
        if not again:
            self._desk.book.accepted(item.lane, item.kind, item.recipient or "*")
        taken, victim = self._box(item.lane).put(item)
        if victim is not None:
            self._drop(victim, "full")
        if taken and item.recipient is not None:
            self.pump(item.recipient)
        elif taken:
            self._work.set()
        return taken

    def _box(self, lane: str) -> Outbox:
        box = self._boxes.get(lane)
        if box is None:
            box = self._boxes[lane] = Outbox()
        return box

    # -- leaving ------------------------------------------------------------------------------------
    def frame(self, item: Item) -> bytes:
        """Return the wire bytes of `item` with the next number of its lane."""
        desk = self._desk
        envelope = Envelope(
            id=item.id,
            sender=desk.name,
            recipient=item.recipient,
            correlation_id=item.correlation_id,
            sent_ns=desk.clock.wall_ns(),
            ttl_ms=item.ttl_ms,
            deadline_ns=item.deadline_ns,
            priority=item.priority,
            epoch=desk.epoch,
            lane=item.lane,
            sequence=desk.book.out[item.lane].left + 1,
            trace=item.trace,
            body=codec.encoded(item.body),
        )
        return codec.encode(envelope)

    def left(self, item: Item) -> None:
        """Close the sender's side of a message that left."""
        self._desk.book.left(item.lane, item.kind, item.recipient or "*", self._desk.clock.wall_ns())

    def _drop(self, item: Item, reason: str) -> None:
        """Close the account of a message that will never leave, and tell who waits for its answer."""
        self._desk.book.unsent(item.lane, item.kind, item.recipient or "*", reason)
        self._unsent(item.id, reason)

    def _take(self, lane: str) -> Item | None:
        """Return the next message of a lane; count what expired before it."""
        item, late = self._box(lane).take(self._desk.clock.wall_ns())
        for old in late:
            self._drop(old, "expired")
        return item

    # -- to one peer --------------------------------------------------------------------------------
    def pump(self, peer: str) -> None:
        """Send what waits for `peer`, at once where the direct wire takes it."""
        lane = f"to.{peer}"
        if lane in self._detours:
            return  # order is kept: the detour goes on with the rest
        while (item := self._take(lane)) is not None:
            frame = self.frame(item)
            if not self._prefers_topic(lane, peer) and self._wires.direct.send(peer, frame):
                self._gone(item, frame)
            elif self._wires.topics.up:
                self._under_way[lane] = item
                self._detours[lane] = asyncio.create_task(self._detour(peer, item, frame))
                return
            elif self._wires.direct.send(peer, frame):
                self._gone(item, frame)
            else:
                self._no_route(item)

    def _prefers_topic(self, lane: str, peer: str) -> bool:
        """Tell whether this route is on the channel now, because the direct wire was down lately."""
        up, route = (self._wires.direct.reachable(peer), self._wires.topics.up), self._routes[lane]
        return not (up[0] and route.first) and route.choose(up, self._desk.clock.monotonic_ns()) == 1

    async def _detour(self, peer: str, item: Item, frame: bytes) -> None:
        """Publish one message on the peer's channel, then go on with its queue."""
        lane = f"to.{peer}"
        self._watch(item, frame)  # its receipt may come before the channel's answer
        try:
            receivers = await self._wires.topics.publish([(lane, frame)])
            if receivers == [0] and not self._wires.direct.send(peer, frame):
                if self._under_way.pop(lane, None) is not None:
                    self._no_route(item)
            elif receivers is None:  # it may have arrived; the number is used up either way
                self._wires.direct.send(peer, frame)
        finally:
            if self._under_way.pop(lane, None) is not None:
                self.left(item)
            self._detours.pop(lane, None)
        self.pump(peer)

    def _gone(self, item: Item, frame: bytes) -> None:
        """Count a direct message as left; watch for the receipt if it is an alert."""
        self.left(item)
        self._watch(item, frame)

    def _watch(self, item: Item, frame: bytes | None) -> None:
        """Keep an alert until its receipt comes; `frame` is None while it has not left."""
        if item.drop == "never":
            next_ns = self._desk.clock.monotonic_ns() + int(RESEND_S * 1e9)
            self._alerts[item.id] = _Alert(item, frame, next_ns)

    def _no_route(self, item: Item) -> None:
        """Drop a message nobody can take; an alert is kept and tried again."""
        if item.drop == "never":
            self._watch(item, None)
        else:
            self._drop(item, "no_route")

    # -- receipts -----------------------------------------------------------------------------------
    def receipt(self, envelope: Envelope) -> None:
        """Tell the sender of an alert that it arrived; outside the accounts, sent again if asked again."""
        desk = self._desk
        receipt = Envelope(
            id=envelope.id,
            sender=desk.name,
            recipient=envelope.sender,
            correlation_id=envelope.id,
            sent_ns=desk.clock.wall_ns(),
            epoch=desk.epoch,
            lane=f"to.{envelope.sender}",
        )
        self._resend(envelope.sender, codec.encode(receipt))

    def confirmed(self, alert: bytes, sender: str) -> None:
        """A receipt came: the alert needs no more copies."""
        held = self._alerts.get(alert)
        if held is not None and held.item.recipient == sender:
            del self._alerts[alert]

    def tick(self) -> None:
        """Send alerts without a receipt again; let those end whose time is over.

        One that a channel has not answered for waits: were a copy heard and the answer "nobody", its receipt
        would end an alert that the book has not seen leave.
        """
        now, wall = self._desk.clock.monotonic_ns(), self._desk.clock.wall_ns()
        for key, alert in list(self._alerts.items()):
            if wall >= alert.item.deadline_ns:
                del self._alerts[key]
                self.unconfirmed += 1
                _log.error("alert to %s expired without a receipt", alert.item.recipient)
                if alert.frame is None:
                    self._drop(alert.item, "expired")
            elif now >= alert.next_ns and self._under_way.get(alert.item.lane) is not alert.item:
                self._retry(key, alert, now)

    def _retry(self, key: bytes, alert: _Alert, now: int) -> None:
        """Send one alert again, or for the first time."""
        peer = str(alert.item.recipient)
        if alert.frame is not None:
            alert.next_ns = now + int(RESEND_S * 1e9)
            self._resend(peer, alert.frame)
        else:
            del self._alerts[key]
            self._box(alert.item.lane).put_back(alert.item)
            self.pump(peer)

    def _resend(self, peer: str, frame: bytes) -> None:
        """Send a frame that has its number already, on whichever wire takes it."""
        if not self._wires.direct.send(peer, frame) and self._wires.topics.up:
            task = asyncio.create_task(self._copy(peer, frame))
            self._detours[f"copy.{id(task)}"] = task
            task.add_done_callback(lambda t: self._detours.pop(f"copy.{id(t)}", None))

    async def _copy(self, peer: str, frame: bytes) -> None:
        """Publish one more copy."""
        await self._wires.topics.publish([(f"to.{peer}", frame)])

    # -- to all -------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Publish what topics have queued; ends when cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            for topic in [lane for lane in self._boxes if not lane.startswith("to.")]:
                while self._boxes[topic]:
                    self._publishing = True
                    try:
                        await self._publish(topic)
                    finally:
                        self._publishing = False

    async def _publish(self, topic: str) -> None:
        """Send one batch of a topic: on the channel, else as copies to every peer that can be reached."""
        route = self._routes[topic]
        up = (self._wires.topics.up, self._wires.direct.up)
        if route.choose(up, self._desk.clock.monotonic_ns()) != 0:
            self._spread(topic)
            return
        batch: list[tuple[str, bytes]] = []
        while len(batch) < BATCH and (item := self._take(topic)) is not None:
            batch.append((topic, self.frame(item)))
            self.left(item)
        if batch and await self._wires.topics.publish(batch) is None:
            for _, frame in batch:
                self.copies(frame)

    def _spread(self, topic: str) -> None:
        """Send a topic's messages peer by peer."""
        count = 0
        while count < BATCH and (item := self._take(topic)) is not None:
            count += 1
            if self.copies(self.frame(item)):
                self.left(item)
            else:
                self._drop(item, "no_route")

    def copies(self, frame: bytes, peer: str | None = None) -> int:
        """Send a copy to one peer or all over the direct wire; return how many took it."""
        peers = self._peers if peer is None else (peer,)
        return sum(self._wires.direct.send(p, frame) for p in peers)

    def settle(self) -> None:
        """Close the accounts of what will not leave any more."""
        for task in self._detours.values():
            task.cancel()
        for item in self._under_way.values():  # a task that never began ends without a word
            self.left(item)
        self._under_way.clear()
        for item in self._hoping.values():
            self._drop(item, "shutdown")
        self._hoping.clear()
        for alert in self._alerts.values():
            if alert.frame is None:
                self._drop(alert.item, "shutdown")
        self._alerts.clear()
        for lane, box in self._boxes.items():
            while len(box):
                last = self._take(lane)
                if last is not None:
                    self._drop(last, "shutdown")
