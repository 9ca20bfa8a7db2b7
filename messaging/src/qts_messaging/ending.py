"""How background loops live and end: no error ends them; cancelled until over, never waited for unbounded."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Iterable

from qts_messaging.reconnect import Backoff
from qts_messaging.seldom import Seldom

_log = logging.getLogger(__name__)
ROUND_S = 0.2
ROUNDS = 10
LASTED_S = 10.0  # a loop that ran so long had recovered: its next try does not wait for earlier ones


async def for_ever(run: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a loop of the bus; an error in it must not happen, is said loudly, and does not end it.

    Tries come with full jitter, at most a second apart, and each kind of error is said once a minute with its
    traceback and how often it was held back: a loop that fails at every try fills no log.
    """
    seldom, backoff = Seldom(), Backoff()
    while True:
        began = time.monotonic()
        try:
            await run()
        except Exception as error:
            held = seldom.due(f"{type(error).__name__} at {_where(error)}", time.monotonic())
            if held is not None:
                more = f" ({held} times more in the last minute)" if held else ""
                _log.critical("a loop of the message bus failed and goes on%s", more, exc_info=True)
        if time.monotonic() - began >= LASTED_S:
            backoff.reset()
        await asyncio.sleep(backoff.next(random.random()))


def _where(error: BaseException) -> str:
    """Return the place that raised `error`; its words may hold what differs each time."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


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
