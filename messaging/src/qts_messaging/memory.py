"""The simulated bus: the same fabric over queues of one process. It says `simulated`, never connected."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Sequence
from itertools import islice
from weakref import WeakValueDictionary

from qts_core.names import BROADCAST_TOPICS
from qts_core.spec import System
from qts_messaging.backlog import Backlog
from qts_messaging.bus import BusOptions, Sink, Wires
from qts_messaging.fabric import Fabric
from qts_messaging.messages import DURABLE_TOPICS
from qts_messaging.refusals import KeyRefusals

SNAPSHOT = 4096
KEPT = 4096  # stored entries of a topic, and dead letters, for readers that come later


class Hub:
    """What connects the buses of one process; `testing` puts faults here."""

    def __init__(self) -> None:
        self.sinks: dict[str, Sink] = {}
        self.streams: dict[str, deque[bytes]] = {topic: deque() for topic in DURABLE_TOPICS}
        self.stored = dict.fromkeys(DURABLE_TOPICS, 0)  # entries of each topic so far, forgotten ones too
        self.read: dict[tuple[str, str], int] = {}  # (reader, topic) → entries handed over
        self.market: deque[bytes] = deque(maxlen=SNAPSHOT)
        self.dead: deque[tuple[bytes, str]] = deque(maxlen=KEPT)
        self.buried = 0  # dead letters so far

    def direct(self, sender: str, peer: str, frame: bytes) -> bool:
        """Deliver to one peer, in the loop's next turn; False when it is not here."""
        if peer not in self.sinks:
            return False
        self.later(peer, frame, sender)
        return True

    def later(self, peer: str, frame: bytes, sender: str | None) -> None:
        """Deliver in the loop's next turn, as a socket would."""
        asyncio.get_running_loop().call_soon(self._now, peer, frame, sender)

    def _now(self, peer: str, frame: bytes, sender: str | None) -> None:
        sink = self.sinks.get(peer)
        if sink is not None:
            sink.arrived(frame, sender)

    def flow(self, reader: str) -> None:
        """Hand a reader all stored entries it has not had."""
        sink = self.sinks.get(reader)
        if sink is None:
            return
        for topic, entries in self.streams.items():
            unread = self.stored[topic] - self.read.get((reader, topic), 0)
            self.read[(reader, topic)] = self.stored[topic]
            if not unread:
                continue
            for frame in list(islice(entries, max(0, len(entries) - unread), None)):
                sink.arrived(frame, None, functools.partial(self._ended, frame))
            self._forget(topic)

    def store(self, topic: str, frame: bytes) -> None:
        """Append an entry; `flow` hands it over."""
        self.streams[topic].append(frame)
        self.stored[topic] += 1

    def _forget(self, topic: str) -> None:
        """Drop all but the last `KEPT` entries, never one that a reader here has still to get."""
        slowest = min(self.read.get((name, topic), 0) for name in self.sinks)
        unread = self.stored[topic] - slowest
        entries = self.streams[topic]
        while len(entries) > max(KEPT, unread):
            entries.popleft()

    def _ended(self, frame: bytes, outcome: str) -> None:
        """Keep what a handler could not take."""
        if outcome != "ok":
            self.buried += 1
            self.dead.append((frame, outcome))


class MemoryDirect:
    """Direct frames through a hub."""

    simulated = True
    refusals = KeyRefusals()

    def __init__(self, hub: Hub, name: str) -> None:
        self._hub, self._name = hub, name

    async def start(self, sink: Sink) -> None:
        """Join the hub."""
        self._hub.sinks[self._name] = sink

    async def close(self) -> None:
        """Leave the hub."""
        self._hub.sinks.pop(self._name, None)

    @property
    def up(self) -> bool:
        """Tell whether this bus has joined."""
        return self._name in self._hub.sinks

    def reachable(self, peer: str) -> bool:
        """Tell whether the peer has joined."""
        return peer in self._hub.sinks

    def send(self, peer: str, frame: bytes) -> bool:
        """Hand a frame over."""
        return self._hub.direct(self._name, peer, frame)

    def resume(self) -> None:
        """Nothing waits here."""


class MemoryTopics:
    """Channels through a hub: everybody but the sender hears `market` and `status`."""

    def __init__(self, hub: Hub, name: str) -> None:
        self._hub, self._name = hub, name
        self.up = True
        self.listening = True
        self.reached = True
        self.deaf = self.deposed = False
        self.refuses: dict[str, str] = {}
        self.away = ""
        self.resubscribed = 0

    async def start(self, sink: Sink) -> None:
        """Nothing to open: the direct wire joined the hub."""

    async def close(self) -> None:
        """Nothing to close."""

    async def publish(self, batch: Sequence[tuple[str, bytes]]) -> list[int] | None:
        """Deliver to all who listen."""
        receivers: list[int] = []
        for channel, frame in batch:
            if channel in BROADCAST_TOPICS:
                names = [n for n in self._hub.sinks if n != self._name]
            else:
                names = [n for n in self._hub.sinks if channel == f"to.{n}"]
            receivers.append(sum(self._hub.direct(self._name, n, frame) for n in names))
        return receivers


class MemoryStreams:
    """Streams as lines of a hub: the last entries are kept for late readers, none for a restart."""

    claimed = 0
    evicts = ""
    wiped = False  # lists are not lost while the process lives

    def __init__(self, hub: Hub, name: str) -> None:
        self._hub, self._name = hub, name
        self.up = True
        self.refuses: dict[str, str] = {}
        self.backlog: dict[str, Backlog] = {}
        self.trimmed: dict[str, int] = {}

    @property
    def dead_letters(self) -> int:
        """Return how many messages no handler could take, of all readers."""
        return self._hub.buried

    async def start(self, sink: Sink) -> None:  # noqa: ARG002 - the hub knows it
        """Read what was stored before this bus joined."""
        asyncio.get_running_loop().call_soon(self._hub.flow, self._name)

    async def close(self) -> None:
        """Nothing to close."""

    async def append(self, batch: Sequence[tuple[str, bytes]]) -> bool:
        """Store and hand over to every reader."""
        for topic, frame in batch:
            self._hub.store(topic, frame)
        for reader in list(self._hub.sinks):
            asyncio.get_running_loop().call_soon(self._hub.flow, reader)
        return True

    async def remember(self, bodies: Sequence[bytes]) -> bool:
        """Append to the market snapshot."""
        self._hub.market.extend(bodies)
        return True

    async def recall(self, count: int) -> list[bytes]:
        """Return the newest entries of the market snapshot."""
        return list(self._hub.market)[-count:] if count > 0 else []

    async def forget(self) -> None:
        """Empty the market snapshot."""
        self._hub.market.clear()


_hubs: WeakValueDictionary[str, Hub] = WeakValueDictionary()


def shared_hub(system_name: str) -> Hub:
    """Return the hub of a system in this process; all its buses share it."""
    hub = _hubs.get(system_name)
    if hub is None:
        hub = _hubs[system_name] = Hub()
    return hub


def memory_bus(system: System, options: BusOptions, hub: Hub | None = None) -> Fabric:
    """Return a simulated bus; buses of the same `system_name` in this process hear each other."""
    hub = hub or shared_hub(options.system_name)
    name = options.name
    return Fabric(
        system, options, Wires(MemoryDirect(hub, name), MemoryTopics(hub, name), MemoryStreams(hub, name))
    )
