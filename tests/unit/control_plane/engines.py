"""An engine that runs in a test's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from qts_operator.main import Engine, Options
from qts_operator.testing import FakeCluster


@asynccontextmanager
async def running(api: FakeCluster, options: Options) -> AsyncIterator[Engine]:
    """Run an engine until the block ends, and see that it ends."""
    engine = Engine(options, api=api)
    task = asyncio.create_task(engine.run())
    try:
        yield engine
    finally:
        engine._stop.set()
        await asyncio.wait_for(task, 60)


async def until(check: Callable[[], object]) -> None:
    """Wait for a fact, a minute at most."""
    for _ in range(3000):
        if check():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("not within time")
