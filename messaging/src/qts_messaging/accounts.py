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
        self.out: defaultdict[str, OutCount] = defaultdict(OutCount)  # the next number of a lane: `left` + 1
        self.into: dict[tuple[str, int, str], InCount] = {}
        self.lanes: dict[tuple[str, int, str], Lane] = {}
        self.refused: defaultdict[str, int] = defaultdict(int)
        self.counts: defaultdict[tuple[str, str, str, str], int] = defaultdict(int)  # peer, lane, type, end
        self._tails: defaultdict[str, deque[int]] = defaultdict(lambda: deque(maxlen=TAIL))

    # -- sender -------------------------------------------------------------------------------------
    def accepted(self, lane: str, kind: str, peer: str) -> None:
        """A caller handed a message over."""
        count = self.out[lane]
        count.accepted += 1
        count.queued += 1
        self.counts[peer, lane, kind, "accepted"] += 1

    def left(self, lane: str, kind: str, peer: str, now_ns: int) -> None:
        """A message left with the next sequence number."""
        count = self.out[lane]
        count.queued -= 1
        count.left += 1
        count.first_ns = count.first_ns or now_ns
        self._tails[lane].append(now_ns)
        self.counts[peer, lane, kind, "sent"] += 1

    def passed(self, lane: str, kind: str, peer: str, now_ns: int) -> None:
        """A message was accepted and left in one step: both of the above without a queue, for votes."""
        count = self.out[lane]
        count.accepted += 1
        count.left += 1
        count.first_ns = count.first_ns or now_ns
        self._tails[lane].append(now_ns)
        self.counts[peer, lane, kind, "accepted"] += 1
        self.counts[peer, lane, kind, "sent"] += 1

    def unsent(self, lane: str, kind: str, peer: str, reason: str) -> None:
        """A message ended here: expired, or dropped for `reason`."""
        count = self.out[lane]
        count.queued -= 1
        if reason == "expired":
            count.expired += 1
        else:
            count.dropped[reason] = count.dropped.get(reason, 0) + 1
        self.counts[peer, lane, kind, reason] += 1

    def unstored(self, lane: str, change: int) -> None:
        """So many more (or fewer) durable messages lie in the spool."""
        self.out[lane].unstored += change

    # -- receiver -----------------------------------------------------------------------------------
    def arrived(self, key: tuple[str, int, str], sequence: int, now_ns: int) -> bool:
        """A message of (sender, epoch, lane) arrived; False when it was here before."""
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane(sequence - 1)
            self.into[key] = InCount()
        if sequence == lane.high + 1:  # nearly always: no call
            lane.high = sequence
        elif not lane.observe(sequence, now_ns):
            self.duplicate(key)
            return False
        self.into[key].in_flight += 1
        return True

    def duplicate(self, key: tuple[str, int, str]) -> None:
        """A second copy arrived."""
        if key in self.into:
            self.into[key].duplicates += 1
        else:
            self.refuse("duplicate")

    def finished(self, key: tuple[str, int, str], kind: str, outcome: str) -> None:
        """An arrived message ended: delivered, expired, dead_letter, or dropped for that reason."""
        count = self.into[key]
        count.in_flight -= 1
        if outcome == "delivered":
            count.delivered += 1
        elif outcome in ("expired", "dead_letter"):
            setattr(count, outcome, getattr(count, outcome) + 1)
        else:
            count.dropped[outcome] = count.dropped.get(outcome, 0) + 1
        self.counts[key[0], key[2], kind, outcome] += 1

    def reopened(self, key: tuple[str, int, str], now_ns: int) -> tuple[str, int, str]:
        """A dead letter comes again; return the lane it is counted on: its own says that it failed."""
        again = (key[0], key[1], f"again.{key[2]}")
        lane = self.lanes.get(again)
        self.arrived(again, 1 if lane is None else lane.high + 1, now_ns)
        return again

    def heard_high(self, key: tuple[str, int, str], sequence: int, now_ns: int) -> None:
        """A heartbeat told how far a lane has got."""
        lane = self.lanes.get(key)
        if lane is None:
            self.lanes[key] = Lane(sequence)
            self.into[key] = InCount()
        else:
            lane.note_high(sequence, now_ns)

    def refuse(self, reason: str, peer: str = NOBODY) -> None:
        """A frame that proves no sender was thrown away; `peer` is whose connection or channel brought it."""
        self.refused[reason] += 1
        self.counts[peer, NOBODY, "unknown", reason] += 1

    # -- reading ------------------------------------------------------------------------------------
    def record(self) -> Record:
        """Return the book as data."""
        into: dict[str, InCount] = {}
        for (sender, epoch, lane), count in self.into.items():
            track = self.lanes[(sender, epoch, lane)]
            into[f"{sender}|{epoch}|{lane}"] = msgspec.structs.replace(
                count,
                base=track.base,
                high=track.high,
                gap=track.gap,
                in_flight=count.in_flight + len(track.holes),
                dropped=dict(count.dropped),
            )
        out = {
            lane: msgspec.structs.replace(c, dropped=dict(c.dropped), tail_ns=list(self._tails[lane]))
            for lane, c in self.out.items()
        }
        return Record(
            name=self.name,
            epoch=self.epoch,
            opened_ns=self.opened_ns,
            closed_ns=self.closed_ns,
            out=out,
            into=into,
            refused=dict(self.refused),
            counts=self.as_counts(),
        )

    def missing(self, topics: Collection[str]) -> int:
        """Return how many messages of these topics were given up and not found since."""
        return sum(lane.gap for (_, _, name), lane in self.lanes.items() if name.split(".", 1)[0] in topics)

    def high_water(self) -> dict[str, int]:
        """Return each lane's last sequence, for the heartbeat."""
        return {lane: count.left for lane, count in self.out.items()}

    def as_counts(self) -> dict[str, int]:
        """Return "peer/lane/type/outcome" → count, for the heartbeat and metrics."""
        return {"/".join(key): n for key, n in self.counts.items()}


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
