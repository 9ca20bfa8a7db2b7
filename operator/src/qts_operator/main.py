"""Engine: reflectors, queue, workers, lease and the HTTP side, on an asyncio loop of its own thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import aiohttp
import msgspec
import structlog
from aiohttp import web

from qts_core import names
from qts_core.allocator import give_back
from qts_core.clock import SystemClock
from qts_core.telemetry import Tracing, lines_suppressed
from qts_operator import cluster, leader
from qts_operator.apply import Hand
from qts_operator.bell import Bell, taken
from qts_operator.cluster import MINE, NODES, PODS, SYSTEMS, Api, Cluster
from qts_operator.context import Context
from qts_operator.definition import Definition
from qts_operator.expectations import not_older
from qts_operator.leader import Leader
from qts_operator.lease import Election
from qts_operator.memo import let_go
from qts_operator.metrics import Metrics
from qts_operator.middleware import Middleware
from qts_operator.objects import KINDS, Kind
from qts_operator.objects.frame import Defaults
from qts_operator.objects.revisions import LATEST_REVISION
from qts_operator.offers import Offers
from qts_operator.pulse import LAG_S, Pulse
from qts_operator.reconcile import Reconciler
from qts_operator.recorder import Recorder
from qts_operator.serving import answer, beside, serve
from qts_operator.session import Access, Session
from qts_operator.snapshot import Finding
from qts_operator.statusz import Answers
from qts_operator.steps import COUNTERS_S
from qts_operator.tracing import RATIO, PassTraces, traced
from qts_operator.view import View, key_of
from qts_operator.watch import STALE_S, Reflector, Sink, Tools
from qts_operator.workqueue import WorkQueue

_log = structlog.get_logger("qts_operator.main")
VERSION = "0.1.0"
STILL_S = 10.0
TIDY_S = 15.0  # some milliseconds each
SYNC_S = 0.5
GATHER_S = 0.05  # in which all watches are read that gathered until the same moment (`cluster.GATHER_S`)
DOUBT_S = 0.25  # that our own watch has to show what kopf's has


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How one operator process runs."""

    access: Access
    identity: str
    namespace: str = "qts-system"  # of the Lease
    watched: tuple[str, ...] = ()  # empty: the whole cluster
    nodes: bool = True  # False: they may not be seen, as with Roles alone
    defaults: Defaults = Defaults()
    host: str = "0.0.0.0"  # noqa: S104 - probes come from the kubelet
    http_port: int = names.PORT_HTTP
    metrics_port: int = names.PORT_METRICS
    workers: int = 16
    per_object: bool = True  # metrics that carry a system's name


class Engine:
    """The operator without its process: start it, ask it, stop it."""

    def __init__(
        self,
        options: Options,
        api: Api | None = None,
        middlewares: tuple[Middleware, ...] = (),
        tracing: Tracing | None = None,
    ) -> None:
        self._tracing = tracing or Tracing("operator", RATIO)
        self.options, self._middlewares = options, (traced(self._tracing), *middlewares)
        self.metrics = Metrics(per_object=options.per_object)
        self.metrics.systems.now = lambda: self._clock.wall_ns() / 1e9
        self.metrics.systems.leads = self.leads
        self.metrics.build_info.labels(VERSION, str(LATEST_REVISION)).set(1)
        self.queue = WorkQueue()
        self.reflectors: list[Reflector] = []
        self.view = View(self.poke, self.metrics.spec_changes.inc, self._gather, self._progress)
        self._api, self._given = api, api is not None
        self._clock, self._random = SystemClock(), Random()
        self._bell = Bell()
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pulse = Pulse(lambda: leader.boot_s())
        self._drop: Callable[[], None] = lambda: None  # all connections to the API server
        self._denied: list[str] = []
        self._lost = ""  # the first task that ended though nobody asked it to
        self._leader: Leader | None = None
        self._reconciler: Reconciler | None = None

    def start(self) -> None:
        """Run in a thread of its own."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self.run()), name="engine", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Release the Lease, close everything, and wait for the thread."""
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(timeout_s)

    def alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def poke(self, key: str) -> None:
        """Ask for a pass; from any thread."""
        self._inside(self._add, key)

    def told(self, namespace: str, name: str, version: str) -> None:
        """Take word of a system, from any thread; a version that our own watch has shown asks for nothing."""
        if not self.shows(namespace, name, version):
            self._inside(lambda _: self._doubt(namespace, name, version), key_of(namespace, name))

    def shows(self, namespace: str, name: str, version: str) -> bool:
        """Tell whether our own watch has shown this version of a system, or a later one; from any thread."""
        known = self.view.systems.get(namespace, name)
        return known is not None and not_older(known.version, version)

    def _doubt(self, namespace: str, name: str, version: str) -> None:
        """Give our own watch a moment: kopf's is often first, of our own writes too."""

        def ask() -> None:
            if not self.shows(namespace, name, version):
                self._add(key_of(namespace, name))

        asyncio.get_running_loop().call_later(DOUBT_S, ask)

    def _inside(self, ask: Callable[[str], None], key: str) -> None:
        """Call `ask` on the engine's loop."""
        if self._loop is None:
            return
        try:
            inside = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            inside = False
        if inside:
            ask(key)
        else:
            self._loop.call_soon_threadsafe(ask, key)

    def healthy(self) -> str:
        """Return "" while the loop turns and every task runs, else what is wrong."""
        if self._lost:
            return self._lost
        still_s = self._pulse.still_s()
        return "" if still_s < STILL_S else f"the event loop has not turned for {still_s:.0f} s"

    def ready(self) -> str:
        """Return "" when every kind is synced and heard, else what is missing. A standby is ready."""
        if not self.reflectors:
            return "not started"
        for reflector in self.reflectors:
            if reflector.denied:
                return f"{reflector.kind.name}: {reflector.denied}"
            if not reflector.synced.is_set():
                return f"{reflector.kind.name}: not synced"
            if reflector.age_s() > STALE_S:
                return f"{reflector.kind.name}: nothing heard for {reflector.age_s():.0f} s"
        if self._leader is not None and self._leader.denied:
            return self._leader.denied
        return self._reconciler.mute() if self._reconciler is not None and self.leads() else ""

    def synced(self) -> bool:
        """Tell whether every kind was listed, those that may not be seen aside; from any thread."""
        return bool(self.reflectors) and all(reflector.settled() for reflector in self.reflectors)

    def leads(self) -> bool:
        """Tell whether a write may be sent now."""
        return self._leader is not None and not self._pulse.paused() and self._leader.leads()

    async def run(self) -> None:
        """Serve until stopped."""
        self._loop = asyncio.get_running_loop()
        self._pulse.turned()
        async with contextlib.AsyncExitStack() as stack:
            http = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
            if self._api is None:
                agent = f"qts-operator/{VERSION} ({self.options.identity})"
                session = Session(self.options.access, self.metrics, agent, self._middlewares)
                session.fence, self._drop = self.leads, session.drop
                await session.open()
                stack.push_async_callback(session.close)
                self._api = Cluster(session, streaming=True, gather_s=cluster.GATHER_S)
            jobs = self._jobs(self._api, http)
            tasks = [asyncio.create_task(job, name=getattr(job, "__qualname__", None)) for job in jobs]
            stack.push_async_callback(_cancel, tasks)
            stack.callback(self._stop.set)  # whatever ends us, the tasks are asked to end then
            for task in tasks:
                task.add_done_callback(self._ended)
            for port, routes in self._routes():
                await serve(stack, self.options.host, port, routes)
            await self._stop.wait()
            if self._leader is not None:
                await self._leader.release()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Tell of a task that nobody asked to end: all else goes on without it, so we must start anew."""
        if self._stop.is_set():
            return
        error = None if task.cancelled() else task.exception()
        why = f"{task.get_name()} has ended: {error!r}" if error else f"{task.get_name()} has ended"
        self._lost = self._lost or why
        _log.error("task ended", task=task.get_name(), error=repr(error), exc_info=error)

    def _jobs(self, api: Api, http: aiohttp.ClientSession) -> list[Coroutine[Any, Any, None]]:
        """Return everything that runs side by side."""
        election = Election(self.options.identity)
        tools = (self._clock, self._random, self.metrics)
        self._leader = Leader(api, election, self.options.namespace, tools)
        offers = Offers(api, self._scopes(), MINE, Tools(*tools))
        definition = Definition(api, self._clock, self.metrics, self._all)
        context = Context(
            api=api,
            view=self.view,
            hand=Hand(api, self.view.children, self.metrics),
            queue=self.queue,
            answers=Answers(http, self.poke, self._random, self.leads),
            metrics=self.metrics,
            clock=self._clock,
            random=self._random,
            defaults=self.options.defaults,
            nodes_visible=self.options.nodes,
            leads=self.leads,
            blocked=lambda namespace: (*definition.findings, *self._barred(namespace)),
            pruned=lambda: definition.pruned,
            offered=offers.of,
            barred=offers.barred,
            recorder=Recorder(api, self._clock, self.metrics, self._all),
            unseen=lambda: definition.denied,
            traces=PassTraces(self._tracing),
        )
        self._reconciler = Reconciler(context)
        self.reflectors = self._reflect(api)

        def follow(kind: Kind, scope: str | None) -> Reflector:
            return self._follow(api, kind, self.view.sink_children(kind.name), (scope, MINE))

        jobs: list[Coroutine[Any, Any, None]] = [reflector.run() for reflector in self.reflectors]
        jobs += [self._work(self._reconciler, offers, definition) for _ in range(self.options.workers)]
        jobs += offers.jobs(follow, self._all)
        jobs += [self._beat(), definition.run(visible=self.options.nodes), self._tidy()]
        return [*jobs, context.recorder.run(), self._leader.run(self._won)]

    def _won(self) -> None:
        """Begin to lead: another may have led since we told of any system, so each is looked at anew."""
        self.metrics.systems.clear()
        self._all()

    def _reflect(self, api: Api) -> list[Reflector]:
        kinds: list[tuple[Kind, Sink, dict[str, str]]] = [
            (SYSTEMS, self.view.sink_systems(), {}),
            (PODS, self.view.sink_pods(), MINE),
            *((k, self.view.sink_children(k.name), MINE) for k in KINDS if k.watched and not k.optional),
        ]
        if self.options.nodes:
            kinds.append((NODES, self.view.sink_nodes(), {}))
        return [
            self._follow(api, kind, sink, (scope, params))
            for kind, sink, params in kinds
            for scope in self._scopes()
        ]

    def _scopes(self) -> tuple[str | None, ...]:
        """Return the watched namespaces; (None,): all."""
        return self.options.watched or (None,)

    def _follow(
        self, api: Api, kind: Kind, sink: Sink, scope: tuple[str | None, dict[str, str]]
    ) -> Reflector:
        """Return what keeps `sink` equal to a kind in a namespace, or in all."""
        tools = Tools(self._clock, self._random, self.metrics)
        return Reflector(api, kind, sink, scope=scope, tools=tools)

    async def _work(self, reconciler: Reconciler, *first: Offers | Definition) -> None:
        """Take keys one after the other, once everything is known."""
        for reflector in self.reflectors:
            # a kind that may not be seen holds nobody back: each pass says so, and writes nothing else
            while not (reflector.settled() or self._stop.is_set()):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reflector.synced.wait(), SYNC_S)
        for each in first:
            await each.decided()
        # asked each time: a wait that ends while it is cancelled forgets that it was (wait_for, Python 3.11)
        while not self._stop.is_set():
            key = await taken(self.queue, self._bell, self._now_s)
            await reconciler.run(key)
            self.queue.done(key, self._now_s())

    async def _beat(self) -> None:
        """Show that the loop turns, and how late it is."""
        while True:
            lag_s = await self._pulse.beat()
            self.metrics.loop_lag.set(lag_s)
            if lag_s > LAG_S:
                self._paused(lag_s)
            self._pulse.turned()
            self.metrics.queue_depth.set(self.queue.waiting())
            self.metrics.queue_age.set(self.queue.oldest_s(self._now_s()))
            self.metrics.leader.set(int(self.leads()))
            self.metrics.dropped(self._tracing.dropped, lines_suppressed())
            for kind, count in self.view.counts().items():
                self.metrics.objects.labels(kind).set(count)
            for kind, age_s in self._silences().items():
                self.metrics.event_age.labels(kind).set(age_s)
            denied = [r.denied for r in self.reflectors]
            if denied != self._denied:
                self._denied = denied
                self._all()

    def _paused(self, lag_s: float) -> None:
        """Let go of what was begun before a pause: what is left of it must not go out under a new leader."""
        led = self._leader is not None and self._leader.doubt()
        _log.warning("paused", lag_s=round(lag_s, 1), led=led)
        if led:
            self._drop()

    async def _tidy(self) -> None:
        """Give memory back: lists, storms of events and scrapes leave holes, passes what they rendered."""
        while True:
            await self._clock.sleep(TIDY_S)
            let_go()
            give_back()

    def _silences(self) -> dict[str, float]:
        """Return seconds since each kind was heard of; the most silent of its namespaces counts."""
        ages: dict[str, float] = {}
        for reflector in self.reflectors:
            ages[reflector.kind.name] = max(ages.get(reflector.kind.name, 0.0), reflector.age_s())
        return ages

    def _barred(self, namespace: str) -> tuple[Finding, ...]:
        """Return why no pass in a namespace may write; others go on."""
        denied = [r for r in self.reflectors if r.denied and r.namespace in (None, namespace)]
        return tuple(Finding(reason="AccessDenied", message=r.denied) for r in denied[:1])

    def _all(self, namespace: str | None = None) -> None:
        for key in self.view.keys(namespace):
            self._add(key)

    def _add(self, key: str) -> None:
        self.queue.add(key, self._now_s())
        self._bell.ring()

    def _gather(self, key: str) -> None:
        """Ask for a pass, soon where more may follow: a roll-out reports dozens of changes."""
        if self.queue.gather(key, GATHER_S, self._now_s()):
            self._bell.ring()

    def _progress(self, key: str) -> None:
        """Ask for a pass when numbers may be told again: before its end a start shows only numbers."""
        if self.queue.add_after(key, COUNTERS_S, self._now_s()):
            self._bell.ring()

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9

    def _routes(self) -> list[tuple[int, list[web.RouteDef]]]:
        async def healthz(_: web.Request) -> web.Response:
            return answer(self.healthy())

        async def readyz(_: web.Request) -> web.Response:
            return answer(self.ready())

        async def exposition(asked: web.Request) -> web.Response:
            pieces, kind = self.metrics.exposition(asked.headers.get("Accept", ""))
            return web.Response(body=beside(pieces), headers={"Content-Type": kind})

        probes = [web.get("/healthz", healthz), web.get("/readyz", readyz)]
        return [
            (self.options.http_port, probes),
            (self.options.metrics_port, [web.get(names.PATH_METRICS, exposition)]),
        ]


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            _log.error("task failed", error=repr(outcome))
