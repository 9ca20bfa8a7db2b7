"""Where a durable stream may be cut: old or too much, and handled by every group."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MAX_AGE_MS = 7 * 24 * 3_600_000
MAX_ENTRIES = 100_000
STEP = 1000  # entries looked at to find the excess, a cut


def entry_id(text: bytes | str) -> tuple[int, int]:
    """Return a stream entry's id as numbers."""
    plain = text.decode() if isinstance(text, bytes) else text
    ms, _, number = plain.partition("-")
    return int(ms), int(number or 0)


def limit(old: tuple[int, int], excess: tuple[int, int] | None, groups: Iterable[tuple[int, int]]) -> str:
    """Return the first id to keep: the younger of age and excess, but nothing a group has not handled."""
    wanted = max(old, excess) if excess is not None else old
    ms, number = min((wanted, *groups))
    return f"{ms}-{number}"


async def cut(client: Any, key: str) -> str | None:
    """Ask the server how far `key` may be trimmed; None when there is nothing to cut."""
    length = int(await client.xlen(key))
    first = await client.xrange(key, count=1)
    if not first:
        return None
    seconds, _ = await client.time()
    old = (int(seconds) * 1000 - MAX_AGE_MS, 0)
    excess = None
    if length > MAX_ENTRIES:
        surplus = await client.xrange(key, count=min(STEP, length - MAX_ENTRIES) + 1)
        excess = entry_id(surplus[-1][0])
    elif entry_id(first[0][0]) >= old:
        return None
    groups = [await _handled(client, key, group) for group in await client.xinfo_groups(key)]
    return limit(old, excess, groups)


async def _handled(client: Any, key: str, group: dict[str, Any]) -> tuple[int, int]:
    """Return the oldest id that a group still needs."""
    if int(group["pending"]):
        return entry_id((await client.xpending(key, group["name"]))["min"])
    ms, number = entry_id(group["last-delivered-id"])
    return ms, number + 1
