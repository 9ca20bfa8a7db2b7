"""A process on its way to work says what it is: starting, a spare behind another, catching up, ready."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.loops import until

from qts_agents.context import Place
from qts_agents.metrics import Metrics
from qts_agents.runtime import Worker
from qts_core import config
from qts_core.roster import BY_NAME
from qts_messaging.bus import Credentials


class Queue:
    """Stands for the wait behind another process of one's name."""

    def __init__(self) -> None:
        self.follows = False
        self.over = asyncio.Event()

    async def turn(self, _: Credentials | None) -> None:
        """Return when it is over."""
        await self.over.wait()


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    """Return a feed that has not begun."""
    sets = ("use_real_messaging=false", "market.source=replay", "market.replay.dataset=eurusd_1h")
    place = Place("turn", tmp_path, None, "127.0.0.1", {}, 0, 0)
    made = Worker(BY_NAME["market"], config.load(env={}, sets=sets), place, Metrics(), until_redis=False)
    yield made
    await made.stop()


async def test_a_process_is_ready_behind_another_and_once_it_has_caught_up(worker: Worker) -> None:
    """Neither compiled kernels nor the turn alone make it ready; garbage is collected once all is loaded."""
    queue, known, health = Queue(), asyncio.Event(), worker.context.health
    worker.bus.wires = msgspec.structs.replace(worker.bus.wires, standby=queue)  # type: ignore[attr-defined]
    worker.shell.begin = known.wait  # type: ignore[method-assign,assignment]
    gc.disable()
    try:
        begun = asyncio.create_task(worker.start())
        await until(lambda: health.warm)
        await until(gc.isenabled)
    finally:
        gc.enable()
    assert (health.state(), health.unready()) == ("starting", "sockets are not bound yet")
    queue.follows = True
    await until(lambda: health.state() == "standby")
    assert health.unready() is None
    queue.over.set()
    await until(lambda: health.bound)
    assert (health.state(), health.unready()) == ("starting", "it has not caught up with the market yet")
    newest = worker.context.metrics.registry.get_sample_value
    assert newest("qts_bar_last_timestamp_seconds") == 0.0
    at_work_s = worker.context.now_ns() / 1e9
    known.set()
    await begun
    # what never came has been awaited since it went to work, and not since 1970
    for what in ("bar", "decision"):
        assert newest(f"qts_{what}_last_timestamp_seconds") == pytest.approx(at_work_s, abs=60.0)
    assert newest("qts_bars_from_outside") == 0.0
    assert health.caught_up
    assert health.unready() is None
