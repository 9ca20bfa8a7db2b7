"""Whether a Redis throws away what is stored when it is full: then a durable message may be lost unseen."""

from __future__ import annotations

from typing import Any

LOOK_S = 30.0
_WORDS = (
    "Redis evicts what is stored when it is full (maxmemory-policy {policy}), durable messages too; "
    "set it to noeviction, or give the system a Redis of its own"
)


async def evicts(client: Any) -> str:
    """Return what is wrong with the server's policy; "" where it keeps what has no end of its own.

    Our streams have none, so `volatile-*` keeps them.
    """
    told = await client.info("memory")
    policy = str(told.get("maxmemory_policy", ""))
    return _WORDS.format(policy=policy) if policy.startswith("allkeys") and told.get("maxmemory") else ""
