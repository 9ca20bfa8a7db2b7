"""Messages that no handler could take: look at them, and have them handled again by whom they failed at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from qts_messaging import codec
from qts_messaging.codec import Rejected
from qts_messaging.messages import KIND
from qts_messaging.redis_names import RedisNames
from qts_messaging.trimming import MAX_BYTES, MAX_ENTRIES

FIELD, REASON, GROUP, AGAIN = b"m", b"reason", b"group", b"again"
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
    text = {name: fields.get(name, b"").decode(errors="replace") for name in (GROUP, REASON)}
    envelope = codec.decode(frame)
    topic, kind, sender, sent_ns = "?", "?", "?", 0
    if not isinstance(envelope, Rejected):
        topic, kind = envelope.lane.partition(".")[0], KIND.get(type(envelope.body), "?")
        sender, sent_ns = envelope.sender, envelope.sent_ns
    return Letter(entry.decode(), topic, text[GROUP], text[REASON], kind, sender, sent_ns, frame)


async def read(client: Any, system: str, group: str) -> list[Letter]:
    """Return the oldest dead letters of `group`, at most 1,000; any user of the system may read them."""
    found = await client.xrange(RedisNames(system, group).dead, count=MOST)
    return [letter(entry, fields) for entry, fields in found]


async def bury(client: Any, key: str, entry: bytes, reason: str, group: str, dead: str) -> None:
    """Copy one entry of the stream `key`, which failed at `group`, to the stream `dead`."""
    found = await client.xrange(key, entry, entry)
    frame = found[0][1].get(FIELD, b"") if found else b""
    fields = {FIELD: frame, REASON: reason[:1000], GROUP: group}
    most = min(MAX_ENTRIES, MAX_BYTES // max(1, len(frame)))  # of letters like this one
    await client.xadd(dead, fields, maxlen=most, approximate=True)


async def redrive(client: Any, system: str, group: str, letters: Sequence[Letter]) -> int:
    """Give letters back to `group`, at which they failed, with a client of its own user; return how many.

    They go on its own stream, where it takes a message of another's name and nobody else can write. Stored
    before they are taken off the list: an end in between drives a letter twice rather than losing it.
    """
    names = RedisNames(system, group)
    for each in letters:
        await client.xadd(names.stream(group), {FIELD: each.frame, AGAIN: group.encode()})
        await client.xdel(names.dead, each.entry)
    return len(letters)
