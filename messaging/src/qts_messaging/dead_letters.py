"""Messages that no handler could take: look at them, and have them handled again by whom they failed at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from qts_messaging import codec
from qts_messaging.codec import Rejected
from qts_messaging.messages import KIND

FIELD, REASON, GROUP, TOPIC, AGAIN = b"m", b"reason", b"group", b"topic", b"again"
MOST = 1000  # letters read at once


class Letter(msgspec.Struct, frozen=True):
    """One dead letter: which message failed at whom, and why."""

    entry: str  # id in the stream `dead`
    topic: str
    group: str  # wire name of the process whose handler failed
    reason: str
    kind: str  # type of the message, "?" when it cannot be read
    sender: str
    sent_ns: int
    frame: bytes

    def as_dict(self) -> dict[str, object]:
        """Return what is printed as JSON."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "frame"}


def letter(entry: bytes, fields: dict[bytes, bytes]) -> Letter:
    """Read one entry of the stream."""
    frame = fields.get(FIELD, b"")
    text = {name: fields.get(name, b"").decode(errors="replace") for name in (TOPIC, GROUP, REASON)}
    envelope = codec.decode(frame)
    kind, sender, sent_ns = "?", "?", 0
    if not isinstance(envelope, Rejected):
        kind, sender, sent_ns = KIND.get(type(envelope.body), "?"), envelope.sender, envelope.sent_ns
    return Letter(entry.decode(), text[TOPIC], text[GROUP], text[REASON], kind, sender, sent_ns, frame)


async def read(client: Any, prefix: str) -> list[Letter]:
    """Return the oldest dead letters of a system, at most 1,000."""
    return [letter(entry, fields) for entry, fields in await client.xrange(prefix + "dead", count=MOST)]


async def redrive(client: Any, prefix: str, letters: Sequence[Letter]) -> int:
    """Put letters back on their streams for the one group they failed at; return how many.

    Stored before they are taken off the list: an end in between drives a letter twice rather than losing it.
    """
    for each in letters:
        await client.xadd(prefix + each.topic, {FIELD: each.frame, AGAIN: each.group.encode()})
        await client.xdel(prefix + "dead", each.entry)
    return len(letters)
