"""Groups by which a reader of streams is known to Redis: made where they are missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from redis.exceptions import ResponseError

from qts_messaging.redis_refusals import refusal


async def make_groups(client: Any, keys: Iterable[str], name: str) -> None:
    """Make group `name` on every stream, from its first entry on: nothing stored before it is missed.

    ResponseError: what Redis refuses while the group is not there.
    """
    for key in keys:
        try:
            await client.xgroup_create(key, name, id="0", mkstream=True)
        except ResponseError as error:
            if not await _stands(client, key, name, error):
                raise


async def _stands(client: Any, key: str, name: str, error: ResponseError) -> bool:
    """Tell whether the group is there: a server that is full refuses before it looks."""
    if refusal(error)[0] == "memory":
        with contextlib.suppress(ResponseError):  # no such stream
            return name.encode() in {each["name"] for each in await client.xinfo_groups(key)}
    return str(error).startswith("BUSYGROUP")
