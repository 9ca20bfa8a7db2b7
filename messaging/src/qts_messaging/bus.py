"""What an author of an agent sees of the messaging: one protocol, whatever wires are below."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from qts_core.clock import Clock
from qts_messaging.accounts import Record, Summary
from qts_messaging.backlog import Backlog
from qts_messaging.durations import Durations
from qts_messaging.heartbeat import PeerHealth
from qts_messaging.messages import Envelope, MarketUpdate, Message
from qts_messaging.refusals import KeyRefusals, Refusals, Refused

Handler = Callable[[Envelope], Awaitable[None]]
Done = Callable[[str], None]  # told "ok", or why a durable message goes to the dead letters


class BusOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What one process adds to the settings of the system."""

    name: str  # wire name
    system_name: str  # in keys and channels: run-<id> or <namespace>.<name>
    state: Path  # spool and final accounts
    peers: dict[str, str] = {}  # wire name → tcp://host:port of those with a ROUTER
    bind: str | None = None  # tcp://host:port of the own ROUTER; None: this process only dials
    secrets: Path | None = None
    epoch_ns: int = 0  # start of this process; 0 = now
    clock: Clock | None = None  # None = the machine's


class Reply(msgspec.Struct, frozen=True):
    """One peer's answer to a request; `envelope` is None when it did not come in time."""

    peer: str
    envelope: Envelope | None
    reason: str = ""  # timeout | dead | no_route | full


class Bus(Protocol):
    """Send, publish, ask, gather; modes and accounts tell the truth about what became of it."""

    name: str  # wire name of this process

    @property
    def mode(self) -> str:
        """Return connected, degraded, disconnected or simulated."""
        ...

    def subscribe(self, kind: type, handler: Handler) -> None:
        """Let `handler` see every arriving message of type `kind`; one handler a type."""
        ...

    @property
    def follows(self) -> bool:
        """Tell whether `stand_by` has heard another process of this name at work."""
        ...

    async def stand_by(self) -> None:
        """Wait, before `start`, until no other process of this name is at work."""
        ...

    async def start(self) -> None:
        """Bind, connect and begin to deliver; returns without waiting for peers."""
        ...

    async def close(self, drain_s: float = 2.0) -> None:
        """Send what is queued for at most `drain_s`, close every socket, settle the accounts."""
        ...

    async def send(
        self, message: Message, to: str, *, trace: bytes | None = None, deadline_ns: int = 0
    ) -> bytes:
        """Queue `message` for `to`; return its id. Raise LocalError(full, too_large) at once."""
        ...

    async def publish(self, message: Message, *, trace: bytes | None = None) -> bytes:
        """Queue `message` for all; durable types return after they are stored or spooled."""
        ...

    async def reply(self, request: Envelope, message: Message, *, trace: bytes | None = None) -> bytes:
        """Answer `request`: its id becomes the correlation id, its deadline the deadline."""
        ...

    async def ask(self, message: Message, to: str, timeout_s: float, *, trace: bytes | None = None) -> Reply:
        """Send a request and wait for its one answer, at most `timeout_s`."""
        ...

    async def gather(
        self, messages: dict[str, Message], timeout_s: float, *, trace: dict[str, bytes] | bytes | None = None
    ) -> Sequence[Reply]:
        """Ask all peers at once; return one Reply each, in the order of `messages`."""
        ...

    async def remember(self, update: MarketUpdate, *more: MarketUpdate) -> bool:
        """Append closed bars to the market snapshot (last 4,096 entries); False when it is out of reach."""
        ...

    async def recall(self, count: int) -> list[MarketUpdate]:
        """Return the last `count` entries of the market snapshot, oldest first; [] when out of reach."""
        ...

    async def forget(self) -> None:
        """Empty the market snapshot."""
        ...

    def offset_ns(self, peer: str) -> int:
        """Return how much later our clock shows than that of `peer`; 0 on one machine."""
        ...

    def accounts(self) -> Summary:
        """Return this process's book in eight numbers."""
        ...

    def record(self) -> Record:
        """Return this process's whole book."""
        ...

    def peers(self) -> dict[str, PeerHealth]:
        """Return age and state of every peer."""
        ...

    def status_fields(self) -> StatusFields:
        """Return what AGENT_STATUS says about messaging."""
        ...

    def numbers(self) -> Numbers:
        """Return what metrics say about the bus beside its book."""
        ...

    @property
    def credentials(self) -> dict[str, int]:
        """Return kind → generation of keys and passwords in use."""
        ...

    @property
    def redis_reached(self) -> bool:
        """Tell whether Redis answered within the last 5 s."""
        ...

    @property
    def refusals(self) -> Refusals:
        """Return what Redis and peers refuse, and whom this process refuses."""
        ...

    @property
    def lost(self) -> str:
        """Return what a damaged spool file costs, in plain words; nothing where it was whole."""
        ...

    @property
    def deaf(self) -> bool:
        """Tell whether the own subscription does not hear its beacons."""
        ...

    @property
    def deposed(self) -> bool:
        """Tell whether another process of this name has taken over; this one shall end."""
        ...

    @property
    def handling(self) -> tuple[str, float] | None:
        """Return the type whose handler runs and for how many seconds; None while none does."""
        ...


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """Gauges and counters of one bus."""

    waiting: dict[int, int]  # priority → messages that have not left
    inbox: int  # messages that wait for a handler
    spool_bytes: int  # of durable messages that wait in the file
    nowhere: int  # durable messages that neither the store nor the file took
    failovers: dict[str, int]  # lane → changes of its wire
    offsets_s: dict[str, float]  # peer → how much later our clock shows
    skewed: dict[str, int]  # peer → messages from our future
    slow: dict[str, int]  # type → handler calls over 50 ms
    took: dict[str, Durations]  # destination → how long handlers took
    refused: int  # connections refused for their key
    resubscribed: int  # subscriptions thrown away for deafness
    claimed: int  # durable messages taken over from a dead consumer
    dead_letters: int
    unconfirmed: int  # alerts that expired without a receipt
    missing: int  # durable messages that others sent and that never came
    backlog: dict[str, Backlog]  # reader of this system → how far it is behind; empty where nobody trims
    trimmed: dict[str, int]  # reader → messages cut that it had not handled
    credentials: dict[str, int]  # kind → generation, as in StatusFields
    counts: dict[str, int]  # "peer/lane/type/outcome" → messages, as in StatusFields.accounts


class StatusFields(msgspec.Struct, frozen=True):
    """The part of AGENT_STATUS that the bus knows; use with msgspec.structs.asdict."""

    bus_mode: str
    lanes: dict[str, int]
    accounts: dict[str, int]
    clock_ns: int
    credentials: dict[str, int]  # generations: `redis` and `curve` in use, `curve_accepted` of all peers


class Sink(Protocol):
    """Where wires put what arrives."""

    def arrived(self, frame: bytes, peer: str | None, done: Done | None = None) -> None:
        """Take a frame; `peer` is its sender where the wire proves it, `done` ends a durable delivery."""
        ...

    def again(self, frame: bytes, done: Done) -> None:
        """Take a message that failed here before, though its id is known."""
        ...

    def room(self) -> bool:
        """Tell whether more is welcome now; a wire that can wait stops reading when not."""
        ...

    def rush(self) -> None:
        """Hear that more has come with the last frame: what is most urgent of it shall be handled first."""
        ...

    def offence(self, reason: str, text: str, peer: str, count: int = 1) -> None:
        """Count and tell once a minute what a wire did not let happen, or what happened beside it."""
        ...


class DirectWire(Protocol):
    """Frames to one peer, at once or not at all."""

    simulated: bool

    @property
    def refusals(self) -> KeyRefusals:
        """Return whom wrong keys keep apart from this process."""
        ...

    async def start(self, sink: Sink) -> None:
        """Open; ConfigError when the address is taken or a key is missing."""
        ...

    async def close(self) -> None:
        """Close every socket."""
        ...

    @property
    def up(self) -> bool:
        """Tell whether the wire is open."""
        ...

    def reachable(self, peer: str) -> bool:
        """Tell whether `peer` is connected now."""
        ...

    def send(self, peer: str, frame: bytes) -> bool:
        """Hand a frame over without waiting; False when it cannot leave now."""
        ...

    def resume(self) -> None:
        """Read again after the sink had no room."""
        ...


class TopicWire(Refused, Protocol):
    """Frames to whoever listens on a channel."""

    async def start(self, sink: Sink) -> None:
        """Begin to subscribe and reconnect, in the background."""
        ...

    async def close(self) -> None:
        """End."""
        ...

    @property
    def up(self) -> bool:
        """Tell whether publishing works now."""
        ...

    resubscribed: int
    deposed: bool  # another process of our name is at work

    @property
    def listening(self) -> bool:
        """Tell whether the own subscription stands."""
        ...

    @property
    def reached(self) -> bool:
        """Tell whether the server answered within the last 5 s."""
        ...

    @property
    def away(self) -> str:
        """Return why the server is not reached, in plain words; "" where nobody knows."""
        ...

    @property
    def deaf(self) -> bool:
        """Tell whether the own subscription hears nothing."""
        ...

    async def publish(self, batch: Sequence[tuple[str, bytes]]) -> list[int] | None:
        """Publish (channel, frame) in order; return receivers of each, None when it is not known."""
        ...


class DurableWire(Refused, Protocol):
    """Frames that are kept until every group has handled them (7 days at most), and the market snapshot."""

    claimed: int  # taken over from a dead consumer
    wiped: bool  # the server came back without what we had stored; who stores it again takes the flag down
    evicts: str  # how the server throws away what is stored, and the remedy; empty where it does not
    backlog: dict[str, Backlog]  # reader → how far it is behind; known to who trims
    trimmed: dict[str, int]  # reader → messages cut that it had not handled

    @property
    def dead_letters(self) -> int:
        """Tell how many messages no handler could take."""
        ...

    async def start(self, sink: Sink) -> None:
        """Begin to read and reconnect, in the background."""
        ...

    async def close(self) -> None:
        """Acknowledge what was handled and end."""
        ...

    @property
    def up(self) -> bool:
        """Tell whether storing works now."""
        ...

    async def append(self, batch: Sequence[tuple[str, bytes]]) -> bool:
        """Store (topic, frame) in order; False when that is not certain."""
        ...

    async def remember(self, bodies: Sequence[bytes]) -> bool:
        """Append to the market snapshot."""
        ...

    async def recall(self, count: int) -> list[bytes]:
        """Return the newest entries of the market snapshot, oldest first."""
        ...

    async def forget(self) -> None:
        """Empty the market snapshot."""
        ...


class Renewable(Protocol):
    """A wire that can log in anew while it works."""

    async def renew(self) -> None:
        """Use the new login on every connection; nothing that is under way fails."""
        ...


class Credentials(Protocol):
    """Keys and passwords that may change while the process runs."""

    async def run(self) -> None:
        """Take changes up; ends when cancelled."""
        ...

    def generations(self) -> dict[str, int]:
        """Return kind → generation in use."""
        ...


class Waiting(Protocol):
    """Where a process waits before it opens its wires."""

    @property
    def follows(self) -> bool:
        """Tell whether another process of this name was heard at work."""
        ...

    async def turn(self, credentials: Credentials | None) -> None:
        """Return when no other process of this name is at work; follow changed credentials meanwhile."""
        ...


class Wires(msgspec.Struct, frozen=True):
    """The transports below one bus."""

    direct: DirectWire
    topics: TopicWire
    durable: DurableWire
    credentials: Credentials | None = None
    standby: Waiting | None = None
