"""The market snapshot: the last bars, one an entry, for who comes late."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from qts_messaging.dead_letters import FIELD
from qts_messaging.redis_line import Command

ENTRIES, BYTES = 4096, 64 << 20
ADDED = 256  # entries at once
RECALL_BYTES = 8 << 20  # of one answer


async def remember(client: Any, key: str, bodies: Sequence[bytes]) -> None:
    """Append; keep 4,096 entries or 64 MiB, whichever is less."""
    for start in range(0, len(bodies), ADDED):
        await client.ask(*(_added(key, body) for body in bodies[start : start + ADDED]))


def _added(key: str, body: bytes) -> Command:
    most = max(64, min(ENTRIES, BYTES // max(1, len(body))))
    return "XADD", key, "MAXLEN", most, "*", FIELD, body


async def newest(client: Any, key: str, count: int) -> AsyncIterator[bytes]:
    """Yield at most `count` entries, the newest first."""
    upto, step, left = "+", 16, count
    while left > 0:
        entries = await client.xrevrange(key, upto, "-", min(step, left))
        for _, fields in entries:
            yield fields[FIELD]
        if len(entries) < min(step, left):
            return
        left -= len(entries)
        upto = f"({entries[-1][0].decode()}"
        step = max(16, min(1024, RECALL_BYTES // max(1, len(entries[-1][1][FIELD]))))
