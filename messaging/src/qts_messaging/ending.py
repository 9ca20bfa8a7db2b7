"""How background loops end: cancelled until they are over, and never waited for without a bound."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

_log = logging.getLogger(__name__)
ROUND_S = 0.2
ROUNDS = 10


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel `tasks` and wait for their end, at most 2 s.

    One cancellation may be swallowed: wait_for and client libraries do so when it meets a result.
    """
    left = set(tasks)
    for _ in range(ROUNDS):
        for task in left:
            task.cancel()
        if left:
            _, left = await asyncio.wait(left, timeout=ROUND_S)
    for task in left:
        _log.error("%s did not end", task)
