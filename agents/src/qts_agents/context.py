"""What a workload's shell is given: settings, place, bus, clock, compute thread, health, metrics."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from qts_agents.health import Health
from qts_agents.kernels import gpu
from qts_agents.metrics import Metrics
from qts_agents.round_notes import RoundNotes
from qts_core.clock import Clock
from qts_core.probes import Status
from qts_core.roster import Workload
from qts_core.spec import System
from qts_core.telemetry import Tracing
from qts_messaging.bus import Bus

SHORT_S, FORGET = 0.004, 0.9
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
    """One thread for everything that computes; the loop stays free for messages.

    What has been short so far and finds the thread idle is done where it is asked for: two hops between
    threads cost more than a step of one symbol, and on two busy cores each of them waits for its turn.
    """

    def __init__(self, name: str, clock: Clock, health: Health) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"compute-{name}")
        self._clock = clock
        self._health = health
        self._given: deque[Future[Any]] = deque()  # to the thread, and not known to be done
        self._took_s: dict[str, float] = {}  # of processor time, by what was done

    async def __call__(self, work: Callable[..., T], *arguments: Any) -> T:
        """Return what `work` returns; it may ask a device once."""
        kind = _kind(work, arguments)
        if self._took_s.get(kind, math.inf) <= SHORT_S and self._idle() and gpu.device() == gpu.CPU:
            return self._timed(kind, work, arguments)
        return await self._on_thread(self._timed, kind, work, arguments)

    async def beat(self) -> None:
        """Note that the thread still turns: a task of nothing has passed through it."""
        await self._on_thread(lambda: None)
        self._health.compute_moved_s = self._clock.monotonic_ns() / 1e9

    def close(self) -> None:
        """Let the thread end after what it is doing."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _idle(self) -> bool:
        while self._given and self._given[0].done():
            self._given.popleft()
        return not self._given

    async def _on_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        given = self._pool.submit(work, *arguments)
        self._given.append(given)
        return await asyncio.wrap_future(given)

    def _timed(self, kind: str, work: Callable[..., T], arguments: Sequence[Any]) -> T:
        """Do `work` and remember how long it takes; one that was long is forgotten over some dozen calls."""
        gpu.allow(1)
        begun_s = time.thread_time()
        try:
            return work(*arguments)
        finally:
            took_s = time.thread_time() - begun_s
            self._took_s[kind] = max(took_s, FORGET * self._took_s.get(kind, 0.0))


def _kind(work: Callable[..., Any], arguments: Sequence[Any]) -> str:
    """Return a name for what is done: that of a function, and of the one that it is given to call."""
    named = (work, *(each for each in arguments[:1] if callable(each)))
    return " ".join(getattr(each, "__qualname__", "") for each in named)


class Context(msgspec.Struct, frozen=True):
    """Everything a shell may touch."""

    workload: Workload
    system: System
    digest: str
    place: Place
    bus: Bus
    clock: Clock
    tracing: Tracing
    notes: RoundNotes
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

    async def scores(self) -> Any:
        """Return how good forecasts were; None where nobody keeps that. Asked before metrics are read."""
        ...
