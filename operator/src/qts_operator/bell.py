"""Where idle workers sleep: news wakes one of them, not all."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from qts_operator.workqueue import WorkQueue


class Bell:
    """Sleepers of one loop, in the order in which they lay down.

    The order matters: who is rung for when something is planned looks at the plan and lies down last, with
    its time. So nobody who does not know of it is left asleep when that one is woken for other work.
    """

    def __init__(self) -> None:
        self._sleeping: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._sleeping)

    def ring(self) -> None:
        """Wake who sleeps longest. Where nobody sleeps, who is awake looks again before it lies down."""
        if self._sleeping:
            _wake(self._sleeping.popleft())

    async def sleep(self, seconds: float | None) -> None:
        """Return when rung for, at the latest after `seconds`; None: no limit."""
        loop = asyncio.get_running_loop()
        sleeper: asyncio.Future[None] = loop.create_future()
        self._sleeping.append(sleeper)
        timer = None if seconds is None else loop.call_later(seconds, _wake, sleeper)
        try:
            await sleeper
        finally:
            if timer is not None:
                timer.cancel()
            if sleeper in self._sleeping:
                self._sleeping.remove(sleeper)


async def taken(queue: WorkQueue, bell: Bell, now_s: Callable[[], float]) -> str:
    """Return the oldest due key, locked; sleep until there is one."""
    while (key := queue.take(now_s())) is None:
        wait_s = queue.next_s(now_s())
        await bell.sleep(None if wait_s is None else max(wait_s, 0.001))
    return key


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
