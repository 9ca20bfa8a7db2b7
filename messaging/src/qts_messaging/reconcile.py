"""The books of all processes added up: what was sent, what became of it, what nobody can explain (pure).

A message counts once for each receiver. Sender and receiver are compared by lane: the sender says how
many numbers it gave, the receiver which of them it saw from when on. What lies between is
  gap             never came (broadcast and direct lanes only, where that may happen)
  shutdown        sent when one of the two was already closing
  peer_restarted  fell to a process that was killed, whose book died with it, or to another of its starts
  spooled         durable, still in the sender's file because Redis did not come back
and, on a durable lane, unaccounted when none of these explains it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from qts_core.names import BROADCAST_TOPICS
from qts_messaging.accounts import InCount, OutCount, Record
from qts_messaging.messages import DURABLE_TOPICS

GRACE_NS = 500_000_000  # on the way while a process closes
JOIN_NS = 5_000_000_000  # until a new process certainly listens


class Totals(msgspec.Struct, kw_only=True):
    """sent = delivered + the sum of lost + in_flight + unaccounted; duplicates came on top of sent."""

    sent: int = 0
    delivered: int = 0
    lost: dict[str, int] = {}
    in_flight: int = 0
    unaccounted: int = 0
    duplicates: int = 0
    refused: dict[str, int] = {}  # frames that proved no sender


def reconcile(records: Sequence[Record]) -> Totals:
    """Add up the final books of a run."""
    total = Totals()
    for record in records:
        _add(total.refused, record.refused)
        for lane, out in record.out.items():
            _sender(total, out)
            _lane(total, record, lane, out, records)
    known = {(r.name, r.epoch) for r in records}
    for receiver in records:
        for (sender, epoch, lane), count in _entries(receiver).items():
            if (sender, epoch) not in known:  # killed: only its receivers can tell
                _received(total, count, lane, OutCount(), orphan=True, closed=bool(receiver.closed_ns))
    return total


def _sender(total: Totals, out: OutCount) -> None:
    """Count what never left, and what the sender's own equation leaves over."""
    stayed = out.expired + sum(out.dropped.values())
    total.sent += stayed + out.queued
    total.in_flight += out.queued
    _add(total.lost, {"expired": out.expired} | out.dropped)
    total.unaccounted += abs(out.accepted - out.left - stayed - out.queued)


def _lane(total: Totals, sender: Record, lane: str, out: OutCount, records: Sequence[Record]) -> None:
    """Compare one lane of `sender` with every process it leads to."""
    key = (sender.name, sender.epoch, lane)
    only = lane.rpartition("to.")[2] if _addressed(lane) else None
    names = {only} if only else {r.name for r in records if r.name != sender.name}
    for name in sorted(names):
        books = sorted((r for r in records if r.name == name), key=lambda r: r.epoch)
        found = [(r, _entries(r)[key]) for r in books if key in _entries(r)]
        for book, count in found:  # of several starts each was given what the others had not acknowledged
            _received(total, count, lane, out, orphan=len(books) > 1, closed=bool(book.closed_ns))
        if _counts_from_start(lane):
            _before(total, [count for _, count in found], books, out, durable=_durable(lane))
        if books:
            _tail(total, sender, books[-1], lane, _beyond(lane, out, found, books[-1]))


def _received(total: Totals, count: InCount, lane: str, out: OutCount, *, orphan: bool, closed: bool) -> None:
    """Count one receiver's interval of a lane: what ended there, what is on its way, what is missing."""
    ended = {"expired": count.expired, "dead_letter": count.dead_letter} | count.dropped
    moving = 0 if closed else count.in_flight
    total.in_flight += moving
    missing = count.high - count.base - count.delivered - sum(ended.values()) - moving
    total.sent += count.high - count.base
    total.delivered += count.delivered
    total.duplicates += count.duplicates
    _add(total.lost, ended)
    if missing < 0 or not _durable(lane):
        _add(total.lost, {"gap": max(0, missing)})
        total.unaccounted += max(0, -missing)
        return
    spooled = min(missing, out.unstored)
    _add(total.lost, {"spooled": spooled})
    if orphan:
        _add(total.lost, {"peer_restarted": missing - spooled})
    else:
        total.unaccounted += missing - spooled


def _before(
    total: Totals, found: list[InCount], books: list[Record], out: OutCount, *, durable: bool
) -> None:
    """Count what a receiver's books do not cover: it fell to one that was killed, if there was one."""
    covered, uncovered = 0, 0
    for count in sorted(found, key=lambda c: c.base):
        uncovered += max(0, count.base - covered)
        covered = max(covered, count.high)
    if not found and not books:
        uncovered = out.left
    total.sent += uncovered
    if len(books) != 1 or books[0].opened_ns > out.first_ns:
        _add(total.lost, {"peer_restarted": uncovered})
    elif durable:
        total.unaccounted += uncovered
    else:
        _add(total.lost, {"gap": uncovered})


def _beyond(lane: str, out: OutCount, found: list[tuple[Record, InCount]], last: Record) -> int:
    """Return how many numbers left after the last one that any start of the receiver knows of."""
    heard = bool(found) and found[-1][0] is last
    if heard or (_counts_from_start(lane) and not _durable(lane)):
        return max(0, out.left - max((count.high for _, count in found), default=0))
    # its last start never saw this lane: only what was sent while it certainly listened
    return sum(t >= last.opened_ns + JOIN_NS for t in out.tail_ns)


def _tail(total: Totals, sender: Record, receiver: Record, lane: str, missing: int) -> None:
    """Count what left after the last number the receiver knows of."""
    if not missing:
        return
    total.sent += missing
    out = sender.out[lane]
    if not receiver.closed_ns:
        total.in_flight += missing
        return
    last = out.tail_ns[-missing:]
    ends = min(receiver.closed_ns, sender.closed_ns or receiver.closed_ns) - GRACE_NS
    late = sum(t >= max(ends, receiver.opened_ns) for t in last)
    early = sum(t < receiver.opened_ns for t in last)
    if early == len(last):  # and so was what left before those whose times are kept
        early = missing
    spooled = min(missing - late - early, out.unstored) if _durable(lane) else 0
    _add(total.lost, {"shutdown": late, "peer_restarted": early, "spooled": spooled})
    rest = missing - late - early - spooled
    if _durable(lane):
        total.unaccounted += rest
    else:
        _add(total.lost, {"gap": rest})


def _entries(record: Record) -> dict[tuple[str, int, str], InCount]:
    """Return a book's received lanes by (sender, epoch, lane)."""
    split = {key: key.split("|", 2) for key in record.into}
    return {(s, int(e), lane): record.into[key] for key, (s, e, lane) in split.items()}


def _addressed(lane: str) -> bool:
    """Tell a lane to one process from a topic."""
    return lane.startswith("to.") or ".to." in lane


def _durable(lane: str) -> bool:
    """Tell whether nothing of this lane may be lost."""
    return lane.partition(".")[0] in DURABLE_TOPICS


def _counts_from_start(lane: str) -> bool:
    """Tell whether a lane's first number was meant for the receiver, whenever that began to listen."""
    return lane not in BROADCAST_TOPICS


def _add(total: dict[str, int], more: dict[str, int] | Iterable[tuple[str, int]]) -> None:
    """Add counters by reason, leaving zeros out."""
    for reason, n in dict(more).items():
        if n:
            total[reason] = total.get(reason, 0) + n
