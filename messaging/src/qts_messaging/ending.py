"""How background loops live and end: no error ends them; cancelled until over, never waited for unbounded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable

_log = logging.getLogger(__name__)
ROUND_S = 0.2
ROUNDS = 10
AGAIN_S = 0.1


async def for_ever(run: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a loop of the bus; an error in it must not happen, is said loudly, and does not end it."""
    while True:
        try:
            await run()
        except Exception:
            _log.critical("a loop of the message bus failed and goes on", exc_info=True)
            await asyncio.sleep(AGAIN_S)


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
