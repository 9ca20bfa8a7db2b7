"""Where a durable stream may be cut: old or too much, and handled by every group not 7 days behind."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import msgspec

from qts_messaging.backlog import Backlog

_log = logging.getLogger(__name__)
MAX_AGE_MS = 7 * 24 * 3_600_000
MAX_ENTRIES = 100_000
MAX_BYTES = 40 * 1024 * 1024  # of a stream: decisions of twenty symbols would fill a Redis of ours in days
SAMPLE = 16  # entries whose size stands for that of all
STEP = 1000  # entries looked at to find the excess, a cut
PENDING = 10_000  # entries given to a group and not acknowledged that are looked at, a cut
Id = tuple[int, int]


class Group(msgspec.Struct, frozen=True):
    """Where one group stands in one stream."""

    name: str
    needs: Id  # the oldest entry that it has not handled
    unread: Id  # the first one that it was never given
    backlog: Backlog


def entry_id(text: bytes | str) -> Id:
    """Return a stream entry's id as numbers."""
    plain = text.decode() if isinstance(text, bytes) else text
    ms, _, number = plain.partition("-")
    return int(ms), int(number or 0)


def limit(old: Id, excess: Id | None, needs: Iterable[Id]) -> Id:
    """Return the first id to keep: the younger of age and excess; what a group needs stays till it is old."""
    wanted = max(old, excess) if excess is not None else old
    return min((wanted, *(max(old, need) for need in needs)))


def room(entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> int:
    """Return how many entries like these a stream may hold; at least one."""
    sizes = [sum(len(name) + len(value) for name, value in fields.items()) for _, fields in entries]
    return max(1, min(MAX_ENTRIES, MAX_BYTES * len(sizes) // max(1, sum(sizes))))


async def trim(
    client: Any, key: str, gone: frozenset[str] = frozenset()
) -> tuple[list[Group], dict[str, int]]:
    """Cut `key` as far as it may be; return where its groups stand, and how much each has lost by the cut.

    Groups in `gone` are of agents that are switched off: nothing waits for them.
    """
    length, first = int(await client.xlen(key)), await client.xrange(key, count=SAMPLE)
    if not first:
        return [], {}
    seconds, micros = await client.time()
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    oldest = entry_id(first[0][0])
    every = [each for each in await client.xinfo_groups(key) if _plain(each["name"]) not in gone]
    groups = [await _stands(client, key, each, oldest, now_ms) for each in every]
    excess = None
    if (much := length - room(first)) > 0:
        surplus = await client.xrange(key, count=min(STEP, much) + 1)
        excess = entry_id(surplus[-1][0])
    at = limit((now_ms - MAX_AGE_MS, 0), excess, [group.needs for group in groups])
    return groups, await _cut(client, key, groups, oldest, at) if at > oldest else {}


async def trim_all(
    client: Any, keys: Iterable[str], trimmed: dict[str, int], gone: frozenset[str] = frozenset()
) -> dict[str, Backlog]:
    """Trim every stream; add to `trimmed` what readers lost by it, return how far each is behind in all."""
    backlog: dict[str, Backlog] = {}
    for key in keys:
        groups, lost = await trim(client, key, gone)
        for group in groups:
            backlog[group.name] = group.backlog.beside(backlog.get(group.name, Backlog()))
        for name, count in lost.items():
            trimmed[name] = trimmed.get(name, 0) + count
            _log.error("%d messages in %s were cut unread: %s has not read for 7 days", count, key, name)
    return backlog


async def _stands(client: Any, key: str, group: dict[str, Any], oldest: Id, now_ms: int) -> Group:
    """Ask the server what a group has still to handle, of what is there from `oldest` on."""
    name, given, lag = group["name"], int(group["pending"]), group.get("lag")
    ms, number = entry_id(group["last-delivered-id"])
    unread = (ms, number + 1)
    needs, waits = unread, False
    pending: dict[str, Any] = await client.xpending(key, name) if given else {"pending": 0}
    given = int(pending["pending"])  # less by now if a reader acknowledged between the two questions
    if given:
        needs, waits = entry_id(pending["min"]), True
    elif lag != 0:  # None: the server cannot tell
        found = await client.xrange(key, _text(unread), count=1)
        needs, waits = (entry_id(found[0][0]), True) if found else (unread, False)
        lag = lag or len(found)
    needs = max(needs, oldest)
    age_s = max(0, now_ms - needs[0]) / 1000 if waits else 0.0
    return Group(_plain(name), needs, max(unread, oldest), Backlog(age_s, given + int(lag or 0)))


async def _cut(client: Any, key: str, groups: list[Group], oldest: Id, at: Id) -> dict[str, int]:
    """Cut in steps from group to group, so that the server's own count says what each has lost."""
    lost = dict.fromkeys((group.name for group in groups), 0)
    for group in groups:
        if group.needs < min(at, group.unread):
            given = await client.xpending_range(key, group.name, _text(oldest), f"({_text(at)}", PENDING)
            lost[group.name] += len(given)
    for step in sorted({at, *(group.unread for group in groups if group.unread < at)}):
        removed = int(await client.xtrim(key, minid=_text(step), approximate=False))
        for group in groups:
            lost[group.name] += removed if group.unread < step else 0
    return {name: count for name, count in lost.items() if count}


def _plain(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _text(entry: Id) -> str:
    return f"{entry[0]}-{entry[1]}"
