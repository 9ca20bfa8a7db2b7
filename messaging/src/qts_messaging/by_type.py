"""The books of all processes by sender, receiver and type: what `qts messages --by-type` prints (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from qts_messaging.accounts import Record

ALL = "*"  # who a broadcast or an open durable topic goes to


class TypeRow(msgspec.Struct):
    """One type between two processes; `receiver` is `*` for what left for all and was given one number.

    Per row of one receiver: sent = delivered + the sum of ended + unseen. What could not be read is `unknown`
    at the receiver; its sender counts it under the type it had.
    """

    sender: str
    receiver: str
    type: str
    sent: int = 0  # by the sender's book
    delivered: int = 0  # by the receiver's book
    unsent: dict[str, int] = {}  # reason → accepted, but never left
    ended: dict[str, int] = {}  # reason → arrived, but not delivered
    unseen: int = 0  # in no book of the receiver: lost on the way, not yet there, or before it listened


def by_type(records: Sequence[Record]) -> list[TypeRow]:
    """Return one row for each (sender, receiver, type) that any book names, sorted; starts are added up."""
    rows: dict[tuple[str, str, str], TypeRow] = {}
    lanes: dict[tuple[str, str], set[str]] = {}  # (sender, receiver) → types it was sent directly
    for name, peer, lane, kind, outcome, count in _entries(records):
        outgoing = peer == ALL or lane.endswith(f"to.{peer}")
        key = (name, peer, kind) if outgoing else (peer, name, kind)
        row = rows.setdefault(key, TypeRow(*key))
        if not outgoing:
            _ended(row, outcome, count, again=lane.startswith("again."))
        elif outcome == "sent":
            row.sent += count
            lanes.setdefault((name, kind), set()).add(peer)
        elif outcome != "accepted":
            row.unsent[outcome] = row.unsent.get(outcome, 0) + count
    for row in rows.values():
        if row.receiver == ALL:
            continue
        if ALL in lanes.get((row.sender, row.type), ()):
            row.sent += rows[(row.sender, ALL, row.type)].sent
        row.unseen = max(0, row.sent - row.delivered - sum(row.ended.values()))
    return [rows[key] for key in sorted(rows)]


def _ended(row: TypeRow, outcome: str, count: int, *, again: bool) -> None:
    """Take what became of arrived messages; a dead letter that came again counts as sent once more."""
    row.sent += count if again else 0
    if outcome == "delivered":
        row.delivered += count
    else:
        row.ended[outcome] = row.ended.get(outcome, 0) + count


def _entries(records: Sequence[Record]) -> Iterator[tuple[str, str, str, str, str, int]]:
    """Yield process, peer, lane, type, outcome and count of every counter."""
    for record in records:
        for key, count in record.counts.items():
            peer, lane, kind, outcome = key.split("/")
            yield record.name, peer, lane, kind, outcome, count
