"""What a workload's shell is given: settings, place, bus, clock, compute thread, health, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from qts_agents.health import Health
from qts_agents.kernels import gpu
from qts_agents.metrics import Metrics
from qts_core.clock import Clock
from qts_core.probes import Status
from qts_core.roster import Workload
from qts_core.spec import System
from qts_core.telemetry import Tracing
from qts_messaging.bus import Bus

T = TypeVar("T")


class Place(msgspec.Struct, frozen=True):
    """Where a process stands: its system's name, folders, addresses and ports."""

    system_name: str
    state: Path
    secrets: Path | None
    bind: str
    peers: dict[str, str]
    http_port: int
    metrics_port: int


class Compute:
    """One thread for everything that computes; the loop stays free for messages."""

    def __init__(self, name: str, clock: Clock, health: Health) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"compute-{name}")
        self._clock = clock
        self._health = health

    async def __call__(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run `work` on the compute thread and return what it returns; it may ask a device once."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, _once, work, *arguments)

    async def beat(self) -> None:
        """Note that the thread still turns: a task of nothing has passed through it."""
        await self(lambda: None)
        self._health.compute_moved_s = self._clock.monotonic_ns() / 1e9

    def close(self) -> None:
        """Let the thread end after what it is doing."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _once(work: Callable[..., T], *arguments: Any) -> T:
    gpu.allow(1)
    return work(*arguments)


class Context(msgspec.Struct, frozen=True):
    """Everything a shell may touch."""

    workload: Workload
    system: System
    digest: str
    place: Place
    bus: Bus
    clock: Clock
    tracing: Tracing
    log: Any
    health: Health
    metrics: Metrics
    compute: Compute

    def now_ns(self) -> int:
        """Return UTC now in ns."""
        return self.clock.wall_ns()


class Shell(Protocol):
    """One workload's imperative side; the runtime calls these in this order."""

    def warm_up(self) -> None:
        """Compile and allocate; runs on the compute thread before the process is started."""
        ...

    def subscribe(self) -> None:
        """Register the handlers; runs before the bus delivers anything."""
        ...

    async def begin(self) -> None:
        """Catch up with the market; runs once the bus is open."""
        ...

    def background(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs until the end."""
        ...

    async def drain(self) -> None:
        """Finish what is under way; nothing new is begun."""
        ...

    async def finish(self) -> None:
        """Make safe what was written; no message comes any more."""
        ...

    def describe(self, status: Status) -> None:
        """Add this workload's facts to its status."""
        ...
