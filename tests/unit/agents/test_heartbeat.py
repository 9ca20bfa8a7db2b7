"""A worker beats while its loop and its compute thread move, and falls silent when either is stuck."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from tests.loops import until

from qts_agents import health, runtime
from qts_agents.context import Place
from qts_agents.kernels import gpu
from qts_agents.metrics import Metrics
from qts_core.clock import SystemClock
from qts_core.config import Loaded
from qts_core.roster import BY_WIRE
from qts_core.spec import SYSTEM
from qts_messaging.bus import BusOptions
from qts_messaging.memory import memory_bus
from qts_messaging.messages import AgentStatus, Envelope, SystemCommand

BEAT_S = 0.02


class Counting(SystemClock):
    """Counts how often somebody waited for the next heartbeat."""

    turns = 0

    async def sleep(self, seconds: float) -> None:
        """Wait, and count heartbeats' turns."""
        Counting.turns += seconds == BEAT_S
        await super().sleep(seconds)


class Watched:
    """A worker of the feed of which only the watch and the heartbeat run, and what PADS hears of it."""

    def __init__(self, folder: Path) -> None:
        system = SYSTEM(use_real_messaging=False)
        place = Place("beats", folder, None, "127.0.0.1", {}, 0, 0)
        self.worker = runtime.Worker(
            BY_WIRE["market"], Loaded(system, {}, "0" * 12), place, Metrics(), until_redis=False
        )
        self.health = self.worker.context.health
        self.pads = memory_bus(system, BusOptions(name="pads", system_name="beats", state=folder))
        self.heard: list[str] = []
        self.pads.subscribe(AgentStatus, self._hear)

    async def _hear(self, envelope: Envelope) -> None:
        assert isinstance(envelope.body, AgentStatus)
        self.heard.append(envelope.body.state)

    async def turns(self, count: int) -> int:
        """Let the heartbeat have so many turns; return how many beats were heard until then."""
        goal = Counting.turns + count
        await until(lambda: Counting.turns >= goal, 30.0)
        return len(self.heard)

    def stuck(self) -> bool:
        """Tell whether the worker is seen as stuck."""
        return self.health.live(self.worker.context.clock.monotonic_ns() / 1e9) is not None


@pytest.fixture
async def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    """Give a worker that beats every 20 ms and counts as stuck after 0.4 s."""
    monkeypatch.setattr(runtime, "HEARTBEAT_S", BEAT_S)
    monkeypatch.setattr(runtime, "WATCH_S", 0.01)
    monkeypatch.setattr(runtime, "SystemClock", Counting)
    monkeypatch.setattr(health, "STUCK_S", 0.4)
    watched = Watched(tmp_path)
    worker = watched.worker
    await watched.pads.start()
    await worker.bus.start()
    watched.health.warm = watched.health.bound = watched.health.caught_up = True
    worker.spawn(worker._watch())
    worker.spawn(worker._heartbeat())
    try:
        yield watched
    finally:
        for task in worker.tasks:
            task.cancel()
        await asyncio.gather(*worker.tasks, return_exceptions=True)
        await worker.bus.close(0.0)
        await watched.pads.close(0.0)
        worker.context.compute.close()


async def test_a_worker_whose_compute_thread_hangs_falls_silent_and_comes_back(watched: Watched) -> None:
    """No beat leaves while the thread hangs, though the loop turns and the state changes; afterwards they go on."""
    await until(lambda: len(watched.heard) >= 3, 30.0)
    go_on = threading.Event()
    hanging = asyncio.create_task(watched.worker.context.compute(go_on.wait, 60.0))
    try:
        await until(watched.stuck, 30.0)
        before = await watched.turns(3)  # what had left may still be on its way
        watched.health.troubles["x"] = "a change of state is no sign of life either"
        assert await watched.turns(20) == before
    finally:
        go_on.set()
    await hanging
    await until(lambda: len(watched.heard) > before, 30.0)
    assert watched.heard[-1] == "degraded"


async def test_a_young_worker_beats_more_often(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The feed waits for who is ready: one that began after their first beats hears the next ones soon."""
    worker, waits, ages_s = watched.worker, list[float](), [0.2, 2.0, 8.0, 60.0]
    for task in worker.tasks:
        task.cancel()

    class Noting(SystemClock):
        async def sleep(self, seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == len(ages_s):
                raise asyncio.CancelledError

    monkeypatch.setattr(runtime, "HEARTBEAT_S", 5.0)
    monkeypatch.setattr(runtime, "WATCH_S", 0.25)
    monkeypatch.setattr(worker, "uptime_s", lambda: ages_s[len(waits)])
    worker.context = msgspec.structs.replace(worker.context, clock=Noting())
    with pytest.raises(asyncio.CancelledError):
        await worker._heartbeat()
    assert waits == [0.25, 0.5, 2.0, 5.0]


async def test_a_handler_that_does_not_return_is_named_and_readiness_is_red(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What hangs in a handler keeps all that came after it waiting: the worker says so, and takes it back."""
    monkeypatch.setattr(runtime, "HANDLER_S", 0.3)
    go_on = asyncio.Event()

    async def hangs(_: Envelope) -> None:
        await go_on.wait()

    worker = watched.worker
    worker.bus.subscribe(SystemCommand, hangs)
    assert worker.bus.handling is None
    await watched.pads.send(SystemCommand("reload"), "market")
    await until(lambda: "handler" in watched.health.blockers, 30.0)
    assert "the handler of system_command has run for" in str(watched.health.unready())
    go_on.set()
    await until(lambda: watched.health.unready() is None, 30.0)


async def test_a_device_that_is_given_up_is_told_once_with_its_reason(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its votes go on without it; whoever pays for it finds out why here, and in /statusz."""
    said: list[tuple[str, dict[str, str]]] = []
    log = SimpleNamespace(warning=lambda event, **facts: said.append((event, facts)))
    worker = watched.worker
    able = msgspec.structs.replace(worker.context.workload, gpu=True)
    worker.context = msgspec.structs.replace(worker.context, workload=able, log=log)
    monkeypatch.setattr(gpu, "device", lambda: gpu.GPU)
    worker._watch_device()
    monkeypatch.undo()
    monkeypatch.setattr(gpu, "why", lambda: "OSError: it is gone")
    for _ in range(2):
        worker._watch_device()
    assert said == [("device_given_up", {"device": gpu.GPU, "reason": "OSError: it is gone"})]
    assert worker.status().device_reason == "OSError: it is gone"
