"""The shell of one process: bus, clock, probes, workloads, shutdown; all that happens, happens here."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from qts_agents.bus_watch import BusWatch
from qts_agents.changes import Changes
from qts_agents.context import Compute, Context, Place, Shell
from qts_agents.health import Health, HealthServer, Workplace
from qts_agents.kernels import gpu
from qts_agents.metrics import Metrics
from qts_agents.round_notes import RoundNotes
from qts_core.clock import Clock, SystemClock
from qts_core.config import Loaded
from qts_core.errors import QtsError
from qts_core.probes import Status
from qts_core.roster import Workload
from qts_core.spec import System
from qts_core.telemetry import open_logs, open_tracing
from qts_messaging.ending import end
from qts_messaging.messages import AgentStatus
from qts_messaging.open import BusOptions, open_bus
from qts_messaging.returning import leave_simulated

HEARTBEAT_S = 5.0
WATCH_S = 0.25
HANDLER_S = 30.0  # a handler that runs longer keeps everything else that came waiting
INTERRUPTED = 130
DEPOSED = 3  # exit code: another process of our name took over while this one was not heard


def shell_of(role: str) -> Callable[[Context], Shell]:
    """Return the shell of a role; imported late, so the feed loads no kernels."""
    match role:
        case "decider":
            from qts_agents.decider import DeciderShell

            return DeciderShell
        case "feed":
            from qts_agents.feeder import FeedShell

            return FeedShell
        case _:
            from qts_agents.voters import VoterShell

            return VoterShell


class Worker:
    """One workload in this process."""

    def __init__(
        self, workload: Workload, loaded: Loaded, place: Place, metrics: Metrics, *, until_redis: bool
    ) -> None:
        clock, health = SystemClock(), Health(workload.name)
        system = loaded.system
        self.started_ns = clock.monotonic_ns()
        told = system.observability
        log = open_logs(workload.name, place.system_name, told.log_level)
        tracing = open_tracing(workload.name, place.system_name, told.otlp_endpoint, told.sample_ratio)
        own = system.ports().get(workload.wire)
        self.options = BusOptions(
            name=workload.wire,
            system_name=place.system_name,
            peers={peer: address for peer, address in place.peers.items() if peer != workload.wire},
            bind=f"tcp://{place.bind}:{own}" if own else None,
            secrets=place.secrets,
            state=place.state,
            epoch_ns=clock.wall_ns(),
            clock=clock,
        )
        wired = msgspec.structs.replace(system, use_real_messaging=False) if until_redis else system
        self.bus = bus = open_bus(wired, self.options)
        notes, compute = RoundNotes(tracing), Compute(workload.name, clock, health)
        self.context = Context(
            workload, system, loaded.digest, place, bus, clock, tracing, notes, log, health, metrics, compute
        )
        self.shell = shell_of(workload.role)(self.context)
        self.tasks: list[asyncio.Task[None]] = []
        self.failed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._told = ""
        self._changes, self._bus_watch = Changes(log), BusWatch()
        self._device = gpu.device()
        self.backends: dict[str, dict[str, int]] = {}  # measured: least rows for threads, for a device
        metrics.watch(self.status)
        metrics.watch_bus(self.context.bus.numbers)
        metrics.watch_spans(lambda: tracing.dropped)

    async def start(self) -> None:
        """Compile, wait for our turn, bind, catch up, beat; in that order, so that ready means ready."""
        context = self.context
        self.spawn(self._watch())
        self.shell.subscribe()
        compiled = asyncio.create_task(self._warm_up())
        try:
            await self._take_turn(compiled)
            await context.bus.start()
            context.health.bound = True
            await compiled
        finally:
            compiled.cancel()
        await self.shell.begin()
        context.metrics.begin(context.now_ns() / 1e9, fed=context.system.feed_runs())
        context.health.caught_up = True
        for work in self.shell.background():
            self.spawn(work)
        self.spawn(self._heartbeat())
        device = {"device": gpu.device(), "device_reason": gpu.why()} if context.workload.gpu else {}
        context.log.info("started", state=context.health.state(), after_s=round(self.uptime_s(), 3), **device)

    async def _warm_up(self) -> None:
        try:
            await self.context.compute(self.shell.warm_up)
            self.context.log.info("warmed_up", after_s=round(self.uptime_s(), 3), kernels=_compiles())
            self.backends = await self.context.compute(_choose_backends)
            self.context.health.warm = True
        finally:
            _collect(freeze=self.context.system.hardware_optimization)
        if self.backends:
            self.context.log.info("backends_chosen", threads=_threads(), least_rows=self.backends)

    async def _take_turn(self, compiled: asyncio.Task[None]) -> None:
        """Return when no other process of our name is at work; while one is we are ready, once compiled."""
        context, health = self.context, self.context.health
        turn, stood_by = asyncio.create_task(context.bus.stand_by()), False
        try:
            while not turn.done():
                if compiled.done():
                    compiled.result()
                health.standby = health.warm and context.bus.follows
                if health.standby and not stood_by:
                    stood_by = True
                    context.log.info("standing_by", after_s=round(self.uptime_s(), 3))
                news = [task for task in (turn, compiled) if not task.done()]
                await asyncio.wait(news, timeout=WATCH_S, return_when=asyncio.FIRST_COMPLETED)
            await turn
        finally:
            health.standby = False  # who is at work is ready once it has caught up, and not before
            await end([turn])
        context.log.info("at_work", after_s=round(self.uptime_s(), 3), stood_by=stood_by)

    async def stop(self) -> None:
        """Finish what is under way, say so, close the bus."""
        context = self.context
        context.health.draining = True
        await self.shell.drain()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if context.health.bound:
            await self._beat()
        await context.bus.close(2.0 if context.health.bound else 0.0)
        await self.shell.finish()
        context.compute.close()
        context.log.info("stopped", after_s=round(self.uptime_s(), 3))
        await asyncio.to_thread(context.tracing.close)

    def uptime_s(self) -> float:
        """Return seconds since this worker was made."""
        return (self.context.clock.monotonic_ns() - self.started_ns) / 1e9

    def status(self) -> Status:
        """Return what /statusz says."""
        context, health = self.context, self.context.health
        status = Status(
            agent=context.workload.name,
            state=health.state(),
            ready=health.unready() is None,
            reasons=health.reasons(),
            past=[*health.past.values()],
            bus_mode=context.bus.mode,
            config_digest=context.digest,
            uptime_s=round(self.uptime_s(), 3),
            system=context.place.system_name,
            messages=msgspec.structs.asdict(context.bus.accounts()),
            redis_reached=context.bus.redis_reached,
            redis_refuses=self._bus_watch.refuses,
            redis_away=self._bus_watch.away,
            strangers=context.bus.refusals.keys.strangers,
            compiles=_compiles(),
            device=gpu.device(),
            device_reason=gpu.why(),
            launches=gpu.launches(),
            device_wait_s=round(gpu.waited_s(), 6),
            backends=self.backends,
            credentials=context.bus.credentials,
        )
        self.shell.describe(status)
        return status

    def workplace(self) -> Workplace:
        """Return what the HTTP server asks of this worker."""
        told = self.context.notes.told
        return Workplace(self.context.health, self.status, self.bus.record, told, self.shell.scores)

    def spawn(self, work: Any) -> None:
        """Run `work` until the end of this worker; its failure is the worker's."""
        task: asyncio.Task[None] = asyncio.create_task(work)
        task.add_done_callback(self._on_end)
        self.tasks.append(task)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and not self.failed.done():
            self.context.log.error("task_failed", exc_info=task.exception())
            self.failed.set_result(getattr(task.exception(), "exit_code", 1))

    async def _watch(self) -> None:
        """Move the health record: the loop by being here, the compute thread by an empty task."""
        clock, health = self.context.clock, self.context.health
        health.compute_moved_s = clock.monotonic_ns() / 1e9
        beat: asyncio.Task[None] | None = None
        while True:
            before = clock.monotonic_ns()
            health.loop_moved_s = before / 1e9
            if beat is None or beat.done():
                beat = asyncio.create_task(self.context.compute.beat())
            if health.bound:
                self._watch_bus()
            self._watch_handler()
            self._watch_device()
            self._changes.look(health, self.context.bus.peers(), before / 1e9)
            if health.state() != self._told and health.caught_up:
                await self._beat()
            await clock.sleep(WATCH_S)
            self.context.metrics.loop_lag.observe(max(0.0, (clock.monotonic_ns() - before) / 1e9 - WATCH_S))

    def _watch_bus(self) -> None:
        bus = self.context.bus
        if bus.deposed and not self.failed.done():
            self.context.log.error("deposed", remedy="none is needed: it starts again and stands by")
            self.failed.set_result(DEPOSED)
        self._bus_watch.look(bus, self.context.health, self.context.clock.monotonic_ns() / 1e9)

    def _watch_handler(self) -> None:
        kind, running_s = self.context.bus.handling or ("", 0.0)
        if running_s > HANDLER_S:
            text = f"the handler of {kind} has run for {running_s:.0f} s; nothing else is handled"
            self.context.health.blockers["handler"] = text
        else:
            self.context.health.blockers.pop("handler", None)

    def _watch_device(self) -> None:
        if gpu.device() == gpu.CPU != self._device and self.context.workload.gpu:
            self.context.log.warning("device_given_up", device=self._device, reason=gpu.why())
        self._device = gpu.device()

    async def _heartbeat(self) -> None:
        """Beat; a young worker more often, for who begins a moment later has not heard the first beat."""
        while True:
            await self._beat()
            await self.context.clock.sleep(min(HEARTBEAT_S, max(WATCH_S, self.uptime_s() / 4)))

    async def _beat(self) -> None:
        """Say that this worker is at work; one that is stuck says nothing, so that its peers notice."""
        context, health = self.context, self.context.health
        if health.live(context.clock.monotonic_ns() / 1e9) is not None:
            return
        self._told = health.state()
        status = AgentStatus(
            agent=context.workload.wire,
            state=self._told,
            health="; ".join(health.reasons()) or "ok",
            backend=self.status().backend,
            **msgspec.structs.asdict(context.bus.status_fields()),
            config_digest=context.digest,
        )
        try:
            await context.bus.publish(status)
        except QtsError as error:
            context.log.warning("heartbeat_not_sent", error=str(error))


async def serve(
    workloads: Sequence[Workload], loaded: Loaded, place: Place, *, until_redis: bool = False
) -> int:
    """Run the workloads until a signal or a failure; return the exit code.

    With `until_redis` they begin with simulated messaging and leave it once Redis answers.
    """
    system = loaded.system
    if system.market.source == "simulated" or any(workload.agent for workload in workloads):
        _choose_kernels(system, any(workload.gpu for workload in workloads))
    stop = _signals()
    metrics = Metrics()
    workers = [Worker(each, loaded, place, metrics, until_redis=until_redis) for each in workloads]
    clock: Clock = workers[0].context.clock
    server = HealthServer(
        [worker.workplace() for worker in workers],
        metrics.text,
        lambda: clock.monotonic_ns() / 1e9,
    )
    await server.start(place.bind, (place.http_port, place.metrics_port))
    failures = [worker.failed for worker in workers]
    begun: asyncio.Future[Any] = asyncio.gather(*(worker.start() for worker in workers))
    first: set[asyncio.Future[Any]] = {stop, begun, *failures}
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    failure = begun.exception() if begun.done() else None
    if begun.done() and failure is None:
        if until_redis:
            workers[0].spawn(leave_simulated(system, [(w.bus, w.options) for w in workers]))
        await asyncio.wait({stop, *failures}, return_when=asyncio.FIRST_COMPLETED)
    else:
        begun.cancel()
        await asyncio.gather(begun, return_exceptions=True)
    code = next((future.result() for future in failures if future.done()), 0)
    for worker in sorted(workers, key=lambda w: ("feed", "decider", "voter").index(w.context.workload.role)):
        await worker.stop()
    await server.close()
    if failure is not None:
        raise failure  # only now: a wire left open may swallow the one cancellation of the loop's end
    return code


def _choose_kernels(system: System, gpu_allowed: bool) -> None:
    """Set implementation, threads and device before anything compiles; a feed that replays loads no numba."""
    from qts_agents.kernels import backend

    backend.set_jit(system.numba_jit)
    backend.threads(system.hardware_optimization)
    gpu.use(system.gpu_acceleration and gpu_allowed)


def _choose_backends() -> dict[str, dict[str, int]]:
    """Measure once which backend computes batches of what was compiled; return from how many rows on."""
    if "qts_agents.kernels.backend" not in sys.modules:
        return {}  # a feed that replays computes nothing
    from qts_agents.kernels import crossover

    chosen = crossover.choose(crossover.compiled(), crossover.folder())
    return {entry: crossover.shown(found) for entry, found in sorted(chosen.items())}


def _collect(*, freeze: bool) -> None:
    """Collect garbage from now on; what is there stays and need not be looked at again if it is to `freeze`.

    A compiler leaves much garbage, imports and loaded kernels leave next to none and take 0.1 s to look at.
    """
    backend: Any = sys.modules.get("qts_agents.kernels.backend")
    if freeze and backend is not None and backend.misses():
        gc.collect()
    if freeze:
        gc.freeze()
    gc.enable()


def _threads() -> int:
    """Return how many threads kernels may use."""
    from qts_agents.kernels import backend

    return backend.thread_count()


def _compiles() -> int:
    """Return how many kernels were compiled or loaded so far."""
    backend: Any = sys.modules.get("qts_agents.kernels.backend")
    return int(backend.compiles()) if backend is not None else 0


def _signals() -> asyncio.Future[int]:
    """Return a future that the first SIGTERM or SIGINT resolves; the second ends the process at once."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[int] = loop.create_future()

    def on_signal() -> None:
        if stop.done():
            sys.stdout.flush()
            os._exit(INTERRUPTED)
        stop.set_result(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop
