"""What was sent = what became of it: plain counters of one process, and the sum over all (pure).

Equations (messaging.md §7), per lane:
    accepted  = left + expired + dropped + queued                          at the sender
    high-base = delivered + expired + dropped + dead_letter + gap + in_flight    at each receiver
A receiver's `base` is the last sequence that was sent before it listened; duplicates and frames that
prove no sender (garbage, wrong key) are counted beside the equations.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection

import msgspec

from qts_messaging.sequence import Lane

Key = tuple[str, int, str]  # sender, epoch, lane
NOBODY = "?"  # peer and lane of what no wire and no header proves
TAIL = 256  # send times kept of a lane, to tell at the end what was sent to somebody who had left


class OutCount(msgspec.Struct):
    """One lane as its sender sees it."""

    accepted: int = 0
    left: int = 0
    expired: int = 0
    dropped: dict[str, int] = {}
    queued: int = 0
    unstored: int = 0  # durable messages that left but still lie in the spool
    first_ns: int = 0  # when the first one left, wall clock
    tail_ns: list[int] = []  # when the last ones left, oldest first; filled in the final record


class InCount(msgspec.Struct):
    """One (sender, epoch, lane) as a receiver sees it."""

    base: int = 0
    high: int = 0
    delivered: int = 0
    expired: int = 0
    dropped: dict[str, int] = {}
    dead_letter: int = 0
    gap: int = 0
    in_flight: int = 0
    duplicates: int = 0

    def residual(self) -> int:
        """Return what the receiver's equation leaves over; 0 is right."""
        out = self.delivered + self.expired + sum(self.dropped.values()) + self.dead_letter
        return self.high - self.base - out - self.gap - self.in_flight


class Outflow:
    """One lane as its sender keeps it: a message finds here all it changes, by one look.

    A plain class with slots, as `Inflow`: its counters change with every message, and changing a record of
    msgspec costs several times as much.
    """

    __slots__ = (
        "accepted",
        "dropped",
        "ends",
        "expired",
        "first_ns",
        "left",
        "queued",
        "tail",
        "through",
        "unstored",
    )

    def __init__(self) -> None:
        self.accepted = self.left = self.expired = self.queued = self.unstored = self.first_ns = 0
        self.dropped: dict[str, int] = {}
        self.tail: deque[int] = deque(maxlen=TAIL)
        self.through: defaultdict[tuple[str, str], int] = defaultdict(int)  # peer, type: see `passed`
        self.ends: defaultdict[tuple[str, str, str], int] = defaultdict(int)  # peer, type, end

    def passed(self, kind: str, peer: str, now_ns: int) -> None:
        """A message was accepted and left in one step, without a queue: what nearly every message does."""
        left = self.left
        if not left:
            self.first_ns = now_ns
        self.left = left + 1
        self.accepted += 1
        self.tail.append(now_ns)
        self.through[peer, kind] += 1

    def told(self) -> OutCount:
        """Return it as data."""
        return OutCount(
            accepted=self.accepted,
            left=self.left,
            expired=self.expired,
            dropped=dict(self.dropped),
            queued=self.queued,
            unstored=self.unstored,
            first_ns=self.first_ns,
            tail_ns=list(self.tail),
        )


class Inflow:
    """One (sender, epoch, lane) as its receiver keeps it; whoever handles a message ends it here."""

    __slots__ = (
        "dead_letter",
        "delivered",
        "dropped",
        "duplicates",
        "ends",
        "expired",
        "in_flight",
        "key",
        "track",
    )

    def __init__(self, key: Key, track: Lane) -> None:
        self.key, self.track = key, track  # base, high, what is missing
        self.delivered = self.expired = self.dead_letter = self.in_flight = self.duplicates = 0
        self.dropped: dict[str, int] = {}
        self.ends: defaultdict[tuple[str, str], int] = defaultdict(int)  # type, end

    def finished(self, kind: str, outcome: str) -> None:
        """An arrived message ended: delivered, expired, dead_letter, or dropped for that reason."""
        self.in_flight -= 1
        self.ends[kind, outcome] += 1
        if outcome == "delivered":
            self.delivered += 1
        elif outcome in ("expired", "dead_letter"):
            setattr(self, outcome, getattr(self, outcome) + 1)
        else:
            self.dropped[outcome] = self.dropped.get(outcome, 0) + 1

    def told(self) -> InCount:
        """Return it as data."""
        track = self.track
        return InCount(
            base=track.base,
            high=track.high,
            delivered=self.delivered,
            expired=self.expired,
            dropped=dict(self.dropped),
            dead_letter=self.dead_letter,
            gap=track.gap,
            in_flight=self.in_flight + len(track.holes),
            duplicates=self.duplicates,
        )


class Record(msgspec.Struct, kw_only=True):
    """The book of one process as data: what it writes at its end."""

    name: str
    epoch: int
    opened_ns: int  # wall clock
    closed_ns: int = 0  # 0 = still open
    out: dict[str, OutCount] = {}  # lane →
    into: dict[str, InCount] = {}  # "sender|epoch|lane" →
    refused: dict[str, int] = {}  # reason → frames outside the equations
    counts: dict[str, int] = {}  # "peer/lane/type/outcome" →


class Book:
    """Accounts of one process; every method is one event in a message's life."""

    def __init__(self, name: str, epoch: int, opened_ns: int) -> None:
        self.name, self.epoch, self.opened_ns, self.closed_ns = name, epoch, opened_ns, 0
        self.out: defaultdict[str, Outflow] = defaultdict(Outflow)  # the next number of a lane: `left` + 1
        self.into: dict[Key, Inflow] = {}
        self.refused: defaultdict[tuple[str, str], int] = defaultdict(int)  # peer, reason

    # -- sender -------------------------------------------------------------------------------------
    def accepted(self, lane: str, kind: str, peer: str) -> None:
        """A caller handed a message over."""
        out = self.out[lane]
        out.accepted += 1
        out.queued += 1
        out.ends[peer, kind, "accepted"] += 1

    def left(self, lane: str, kind: str, peer: str, now_ns: int) -> None:
        """A message left with the next sequence number."""
        out = self.out[lane]
        if not out.left:
            out.first_ns = now_ns
        out.queued -= 1
        out.left += 1
        out.tail.append(now_ns)
        out.ends[peer, kind, "sent"] += 1

    def unsent(self, lane: str, kind: str, peer: str, reason: str) -> None:
        """A message ended here: expired, or dropped for `reason`."""
        out = self.out[lane]
        out.queued -= 1
        if reason == "expired":
            out.expired += 1
        else:
            out.dropped[reason] = out.dropped.get(reason, 0) + 1
        out.ends[peer, kind, reason] += 1

    def unstored(self, lane: str, change: int) -> None:
        """So many more (or fewer) durable messages lie in the spool."""
        self.out[lane].unstored += change

    # -- receiver -----------------------------------------------------------------------------------
    def arrived(self, key: Key, sequence: int, now_ns: int) -> Inflow | None:
        """A message of (sender, epoch, lane) arrived; return where it ends, None if it was here before."""
        flow = self.into.get(key)
        if flow is None:
            flow = self.into[key] = Inflow(key, Lane(sequence - 1))
        track = flow.track
        if sequence == track.high + 1:  # nearly always: no call
            track.high = sequence
        elif not track.observe(sequence, now_ns):
            flow.duplicates += 1
            return None
        flow.in_flight += 1
        return flow

    def reopened(self, key: Key, now_ns: int) -> Inflow:
        """A dead letter comes again; return the lane it is counted on: its own says that it failed."""
        again = (key[0], key[1], f"again.{key[2]}")
        flow = self.into.get(again)
        opened = self.arrived(again, 1 if flow is None else flow.track.high + 1, now_ns)
        assert opened is not None  # noqa: S101 - the next number was never here
        return opened

    def heard_high(self, key: Key, sequence: int, now_ns: int) -> None:
        """A heartbeat told how far a lane has got."""
        flow = self.into.get(key)
        if flow is None:
            self.into[key] = Inflow(key, Lane(sequence))
        else:
            flow.track.note_high(sequence, now_ns)

    def refuse(self, reason: str, peer: str = NOBODY) -> None:
        """A frame that proves no sender was thrown away; `peer` is whose connection or channel brought it."""
        self.refused[peer, reason] += 1

    # -- reading ------------------------------------------------------------------------------------
    def record(self) -> Record:
        """Return the book as data."""
        refused: defaultdict[str, int] = defaultdict(int)
        for (_, reason), n in self.refused.items():
            refused[reason] += n
        return Record(
            name=self.name,
            epoch=self.epoch,
            opened_ns=self.opened_ns,
            closed_ns=self.closed_ns,
            out={lane: out.told() for lane, out in self.out.items()},
            into={"|".join(map(str, key)): flow.told() for key, flow in self.into.items()},
            refused=dict(refused),
            counts=self.as_counts(),
        )

    def missing(self, topics: Collection[str]) -> int:
        """Return how many messages of these topics were given up and not found since."""
        return sum(
            flow.track.gap for (_, _, lane), flow in self.into.items() if lane.split(".", 1)[0] in topics
        )

    def high_water(self) -> dict[str, int]:
        """Return each lane's last sequence, for the heartbeat."""
        return {lane: count.left for lane, count in self.out.items()}

    def as_counts(self) -> dict[str, int]:
        """Return "peer/lane/type/outcome" → count, for the heartbeat and metrics."""
        counts: defaultdict[str, int] = defaultdict(int)
        for lane, out in self.out.items():
            for (peer, kind), n in out.through.items():
                counts[f"{peer}/{lane}/{kind}/accepted"] += n
                counts[f"{peer}/{lane}/{kind}/sent"] += n
            for (peer, kind, end), n in out.ends.items():
                counts[f"{peer}/{lane}/{kind}/{end}"] += n
        for (sender, _, lane), flow in self.into.items():
            for (kind, end), n in flow.ends.items():
                counts[f"{sender}/{lane}/{kind}/{end}"] += n
        for (peer, reason), n in self.refused.items():
            counts[f"{peer}/{NOBODY}/unknown/{reason}"] += n
        return dict(counts)


class Summary(msgspec.Struct, kw_only=True):
    """The book of one process in eight numbers, for status and screen."""

    sent: int = 0
    delivered: int = 0
    expired: int = 0
    dropped: dict[str, int] = {}
    dead_letter: int = 0
    queued: int = 0
    in_flight: int = 0
    unaccounted: int = 0


def summary(record: Record) -> Summary:
    """Add one process's book up; `unaccounted` is what its own equations leave over."""
    total = Summary()
    dropped: dict[str, int] = dict(record.refused)
    for out in record.out.values():
        total.sent += out.left
        total.expired += out.expired
        total.queued += out.queued
        _add(dropped, out.dropped)
        total.unaccounted += abs(
            out.accepted - out.left - out.expired - out.queued - sum(out.dropped.values())
        )
    for into in record.into.values():
        total.delivered += into.delivered
        total.expired += into.expired
        total.dead_letter += into.dead_letter
        total.in_flight += into.in_flight
        _add(dropped, into.dropped)
        _add(dropped, {"gap": into.gap, "duplicate": into.duplicates})
        total.unaccounted += abs(into.residual())
    total.dropped = dropped
    return total


def _add(total: dict[str, int], more: dict[str, int]) -> None:
    """Add counters by reason."""
    for reason, n in more.items():
        if n:
            total[reason] = total.get(reason, 0) + n
