"""Who else took messages in our group: access lists allow it to every reader, so each looks after its own.

Redis grants commands and keys, not groups: whoever may read a stream may read and acknowledge in any group of
it. The server counts what it has given to a group, and we know what we were given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from qts_messaging.trimming import Id, entry_id

PAGE = 256  # entries read again at once
MOST = 10_000  # entries that were given to a connection that had ended


class Stolen(msgspec.Struct, frozen=True):
    """Entries of one stream that were given to our group and not to us: some of those between the ids."""

    key: str
    count: int
    after: Id  # the newest that the group had been given when all was well
    upto: Id
    by: tuple[str, ...]  # names that were given there beside ours

    @property
    def span(self) -> tuple[str, str]:
        """Return the ids as Redis takes the ends of a range."""
        return f"({self.after[0]}-{self.after[1]}", f"{self.upto[0]}-{self.upto[1]}"


class Trespass(msgspec.Struct):
    """What our group was given of some streams, as we know it; ask with the client that reads them."""

    group: str
    given: dict[str, int] = {}  # stream → entries since all was well last
    stood: dict[str, tuple[int, Id]] = {}  # stream → what the server had counted then, and its newest entry

    def took(self, key: str, count: int) -> None:
        """Note what a read of new entries gave us."""
        self.given[key] = self.given.get(key, 0) + count

    def took_up(
        self, key: str, waiting: Iterable[dict[str, Any]], claimed: Iterable[tuple[bytes, Any]]
    ) -> None:
        """Note what was claimed of what waited (XPENDING's words), if it had waited under our own name.

        Its newest may have been given since the last look: to a connection of ours that had ended.
        """
        if key in self.stood:
            ours = {each["message_id"] for each in waiting if each["consumer"] == self.group.encode()}
            _, newest = self.stood[key]
            self.took(key, sum(entry in ours and entry_id(entry) > newest for entry, _ in claimed))

    async def begin(self, client: Any, keys: Iterable[str]) -> None:
        """Take the group as it is; what it was given before is looked for as pending."""
        self.given, self.stood = {}, {}
        await self.look(client, keys)

    async def look(self, client: Any, keys: Iterable[str]) -> list[Stolen]:
        """Return what others were given since the last look; nothing where the server cannot tell."""
        streams = tuple(keys)
        pipe = client.pipeline(transaction=False)
        for key in streams:
            pipe.xinfo_groups(key)
        found: list[Stolen] = []
        for key, groups in zip(streams, await pipe.execute(), strict=True):
            stands = _stands(self.group, groups)
            before, mine = self.stood.get(key), self.given.pop(key, 0)
            if stands is None:
                self.stood.pop(key, None)
                continue
            self.stood[key] = stands
            if before is not None and stands[0] - before[0] > mine:
                others = await _others(client, key, self.group)
                found.append(Stolen(key, stands[0] - before[0] - mine, before[1], stands[1], others))
        return found


def _stands(group: str, groups: Sequence[dict[str, Any]]) -> tuple[int, Id] | None:
    """Return how many entries a group was given, and the newest; None where the server does not know."""
    for each in groups:
        read = each.get("entries-read")
        if each["name"] == group.encode() and read is not None:
            return int(read), entry_id(each["last-delivered-id"])
    return None


async def _others(client: Any, key: str, group: str) -> tuple[str, ...]:
    """Return the names beside ours under which somebody read in our group."""
    names = [each["name"].decode() for each in await client.xinfo_consumers(key, group)]
    return tuple(sorted(name for name in names if name != group))


async def entries(client: Any, stolen: Stolen) -> list[tuple[bytes, Any]]:
    """Return all entries among which the stolen ones are, as they are in the stream still."""
    found: list[tuple[bytes, Any]] = []
    after, last = stolen.span
    while page := await client.xrange(stolen.key, after, last, PAGE):
        found.extend(page)
        after = f"({page[-1][0].decode()}"
    return found


async def astray(client: Any, group: str, stolen: Stolen) -> set[bytes]:
    """Return those that wait under our own name: the server gave them to a connection that had just ended."""
    found = await client.xpending_range(stolen.key, group, *stolen.span, MOST, group)
    return {each["message_id"] for each in found}
