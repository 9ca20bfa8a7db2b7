"""An engine that runs in a test's own loop against a cluster in memory, and the system that it looks at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from qts_operator.main import Engine, Options
from qts_operator.session import Access
from qts_operator.testing import FakeCluster

NS, NAME = "trading", "desk-1"
OPTIONS = Options(
    access=Access(server="http://nowhere"), identity="one", http_port=0, metrics_port=0, workers=4
)


@asynccontextmanager
async def running(api: FakeCluster, options: Options = OPTIONS) -> AsyncIterator[Engine]:
    """Run an engine until the block ends, and see that it ends."""
    engine = Engine(options, api=api)
    task = asyncio.create_task(engine.run())
    try:
        yield engine
    finally:
        engine._stop.set()
        await asyncio.wait_for(task, 60)


async def quiet(api: FakeCluster, seconds: float = 0.6) -> None:
    """Wait until nothing was written for a while."""
    while True:
        before = len(api.writes())
        await asyncio.sleep(seconds)
        if len(api.writes()) == before:
            return


def condition(api: FakeCluster, kind: str, name: str = NAME) -> tuple[str, str]:
    """Return status and reason of a condition, both "" where it is not told."""
    status = api.objects[("QuantumTradingSystem", NS, name)].get("status") or {}
    for told in status.get("conditions", ()):
        if told["type"] == kind:
            return told["status"], told["reason"]
    return "", ""
