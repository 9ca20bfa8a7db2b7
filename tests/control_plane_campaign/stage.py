"""Where plans are played: one real engine over many systems at once, each of which dies where its own plan says.

A death stops the pass of that system for good, in the middle of a request; nothing of the process acts for it
afterwards. Once every system is dead or at rest, the whole engine is killed without a good-bye and another
one starts over all of them. So one start of an engine serves as many plans as there are systems.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections import defaultdict
from statistics import median
from typing import Any

import msgspec
import structlog

from qts_operator.main import Engine, Options
from qts_operator.middleware import Call, Point, SimulatedCrash, crashing
from qts_operator.session import Access

from .journal import Journal, counts, roll_outs, statuses
from .judge import NAME, Judge, end_of, orphans_of, restarts, secrets_of
from .oracles import Evidence
from .rest import Rest, at_rest, caught_up, excused
from .workloads import WORKLOADS, Crash, Plan, Tree

PATIENCE_S = 300.0
QUIET_S = 0.25
SOON_S = 1.2  # a pass that is due so soon follows from what was just done
TRIES = 5  # at a second pass that nothing in the cluster disturbs
_NAMESPACE = re.compile(r"/namespaces/([^/]+)/")
_DRAWN = re.compile(r"^(\w+ pods/.+)-[a-z0-9]{5,10}-[a-z0-9]{5}$")  # the end of a pod's name


class Wire:
    """What the engine writes, by namespace, and where it dies for it."""

    def __init__(self) -> None:
        self.writes: defaultdict[str, list[str]] = defaultdict(list)
        self.made: defaultdict[str, list[str]] = defaultdict(list)  # those that the server did not refuse
        self.deleted: defaultdict[str, set[str]] = defaultdict(
            set
        )  # pods; one is deleted once, however often it is asked
        self.died: set[str] = set()
        self.last_s: defaultdict[str, float] = defaultdict(float)
        self._armed: dict[str, tuple[Crash, int]] = {}

    def arm(self, namespace: str, crash: Crash | None) -> None:
        """Die at the given write from now on, or never."""
        self.died.discard(namespace)
        self._armed.pop(namespace, None)
        if crash is not None:
            self._armed[namespace] = (crash, len(self.writes[namespace]))

    def crash(self, point: Point, call: Call) -> bool:
        """Count a write; tell whether the process is dead for its system from here on."""
        found = _NAMESPACE.search(call.path)
        if not call.writes or call.kind in ("Lease", "Event") or found is None:
            return False
        namespace, text = found[1], _text(call)
        self.last_s[namespace] = time.monotonic()
        if point == "before":
            self.writes[namespace].append(text)
            if text.startswith("DELETE pods/"):
                self.deleted[namespace].add(call.path)
        elif point == "answered":
            self.made[namespace].append(text)
        if namespace not in self._armed or namespace in self.died:
            return False
        crash, since = self._armed[namespace]
        # a refusal is an answer too
        if ("answered" if point == "refused" else point, text) != (crash.point, crash.write.text):
            return False
        if self.writes[namespace][since:].count(text) == crash.write.nth:
            self.died.add(namespace)
            return True
        return False


def _text(call: Call) -> str:
    """Return what is written, alike in all namespaces and runs."""
    return _DRAWN.sub(r"\1-…", f"{call.verb} {call.path.rpartition('/namespaces/')[2].partition('/')[2]}")


class Faults:
    """Tracebacks and errors nobody looked at, by namespace; "" where none is named. And the log."""

    def __init__(self) -> None:
        self.found: defaultdict[str, list[str]] = defaultdict(list)
        self.log: defaultdict[str, list[str]] = defaultdict(list)

    def install(self) -> None:
        """Listen to the log and to the loop."""
        whose = structlog.contextvars.merge_contextvars
        structlog.configure(processors=[whose, self._logged], logger_factory=structlog.ReturnLoggerFactory())
        asyncio.get_running_loop().set_exception_handler(self._unhandled)

    def take(self, namespace: str) -> tuple[list[str], str]:
        """Return and forget the faults and the log of a namespace."""
        return self.found.pop(namespace, []), "\n".join(self.log.pop(namespace, []))

    def _logged(self, _: Any, method: str, event: Any) -> str:
        namespace = str(event.get("namespace") or "")
        self.log[namespace].append(str(event))
        if isinstance(event.get("exc_info"), SimulatedCrash):
            return ""  # the planned death of a worker
        if event.get("exc_info") or method in ("error", "exception", "critical"):
            self.found[namespace].append(
                f"{event.get('event')}: {event.get('error', '')} {sys.exc_info()[1]!r}"
            )
        return ""

    def _unhandled(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), SimulatedCrash):
            self.found[""].append(f"{context['message']}: {context.get('exception')!r}")


class Stage:
    """Plays one plan in each namespace at a time."""

    def __init__(self, access: Access, judge: Judge, namespaces: list[str], prefix: str) -> None:
        self._access, self._judge, self._prefix = access, judge, prefix
        self.namespaces = namespaces
        self.wire, self.journal, self.faults = Wire(), Journal(), Faults()
        self._engine: Engine | None = None
        self._task: asyncio.Task[None] | None = None
        self._watching: list[asyncio.Task[None]] = []
        self.starts = 0

    async def open(self) -> None:
        """Begin to listen, to watch and to operate."""
        self.faults.install()
        reflectors = self.journal.follow(self._judge.api, self._prefix)
        self._watching = [asyncio.create_task(reflector.run()) for reflector in reflectors]
        await asyncio.gather(*(reflector.synced.wait() for reflector in reflectors))
        await self.start()

    async def close(self) -> None:
        """Stop everything."""
        await self.kill()
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)

    async def start(self) -> None:
        """Start an engine and wait until it leads and sees everything."""
        options = Options(
            access=self._access,
            identity="one",
            namespace=self.namespaces[0],
            http_port=0,
            metrics_port=0,
            workers=len(self.namespaces) + 16,
        )
        self._engine = Engine(options, middlewares=(crashing(self.wire.crash),))
        self._task = asyncio.create_task(self._engine.run())
        self.starts += 1
        async with asyncio.timeout(PATIENCE_S):
            while not self._engine.leads() or self._engine.ready():
                await asyncio.sleep(0.02)

    @property
    def engine(self) -> Engine:
        """Return the engine that runs; RuntimeError before the first start."""
        if self._engine is None:
            raise RuntimeError("no engine was started")
        return self._engine

    async def kill(self) -> None:
        """End the engine without its good-bye: the Lease stays held."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def play(self, plans: dict[str, Plan], *, again: bool = False) -> dict[str, Evidence]:
        """Play one plan in each namespace; return what was observed. `again`: start anew once all rest."""
        seen = {namespace: Evidence(plan=plan) for namespace, plan in plans.items()}
        before = {ns: restarts(self.journal.live[ns]) for ns in plans}
        secrets = {ns: secrets_of(self.journal.live[ns]) for ns in plans}
        for namespace, plan in plans.items():
            self.journal.begin(namespace)
            self._judge.asked.pop(namespace, None)
            self.wire.writes[namespace].clear()
            self.wire.made[namespace].clear()
            self.wire.deleted[namespace].clear()
            self.wire.arm(namespace, next(iter(plan.crashes), None))
        acts = (
            self._judge.act(WORKLOADS[plan.workload], ns, dict(self.journal.live[ns]))
            for ns, plan in plans.items()
        )
        await asyncio.gather(*acts)
        rests: dict[str, Rest] = {}
        await self._settle(seen, rests)
        while self.wire.died:
            await self._next_life(seen)
            await self._settle(seen, rests)
        for namespace in seen:
            self.wire.arm(namespace, None)
        if again:
            await self.kill()
            await self.start()
        for evidence in seen.values():
            evidence.others_s = median(each.seconds for each in seen.values())
        await self._second_pass(seen, rests)
        await self._observe(seen, before, secrets)
        return seen

    async def _next_life(self, seen: dict[str, Evidence]) -> None:
        """Kill the engine, arm the next death of those who died, and start another one."""
        dead = set(self.wire.died)
        await self.kill()
        for namespace in dead:
            evidence = seen[namespace]
            evidence.died += 1
            evidence.died_at = len(self.wire.writes[namespace])
            evidence.rested = False
            self.wire.arm(namespace, next(iter(evidence.plan.crashes[evidence.died :]), None))
        for namespace in seen.keys() - dead:
            self.wire.arm(namespace, None)
        await self.start()

    async def _settle(self, seen: dict[str, Evidence], rests: dict[str, Rest]) -> None:
        """Wait until each system is at rest or dead; one that has died or that the world has moved must rest anew."""
        began = time.monotonic()
        open_ = {ns for ns in seen if not seen[ns].rested or rests[ns].moves != self.journal.moves[ns]}
        while open_ and time.monotonic() - began < PATIENCE_S:
            for namespace in list(open_):
                if namespace in self.wire.died:
                    open_.discard(namespace)
                elif self._rests(namespace, seen[namespace]):
                    self._mark(namespace, seen[namespace], rests)
                    seen[namespace].seconds = time.monotonic() - began
                    open_.discard(namespace)
            await asyncio.sleep(0.05)
        for namespace in open_:
            seen[namespace].rested = False

    def _rests(self, namespace: str, seen: Evidence) -> bool:
        """Tell whether nothing is left to do for a system, by what is there and by the engine's own books."""
        live, key, engine = self.journal.live[namespace], f"{namespace}/{NAME}", self.engine
        last_s = max(self.wire.last_s[namespace], self.journal.last_s[namespace])
        if time.monotonic() - last_s < QUIET_S or not engine.leads() or engine.queue.busy(key):
            return False
        due_s = engine.queue.due_s(key, engine._now_s())
        if due_s is not None and due_s < SOON_S:
            return False
        applied = WORKLOADS[seen.plan.workload].applied
        if applied and engine.queue._tries.get(key):
            return False  # a write that failed is due again, however long its back-off
        asked, versions = self._judge.asked[namespace], self.journal.versions[namespace]
        asked[:] = [each for each in asked if not each.shown(live, versions)]
        return (
            not asked
            and at_rest(live, NAME, applied=applied)
            and caught_up(engine.view, namespace, NAME, live)
        )

    def _mark(self, namespace: str, seen: Evidence, rests: dict[str, Rest]) -> None:
        """Note that a system rests; what was written since it last did is told but for what the world caused."""
        former, writes = rests.get(namespace), self._counted(namespace, seen)
        if former is not None:
            seen.after_rest += tuple(w for w in writes[former.writes :] if not excused(w))
        rests[namespace] = Rest(len(writes), self.journal.moves[namespace])
        if not seen.rested:
            seen.rested_at = len(self.wire.writes[namespace])
        seen.rested = True

    def _counted(self, namespace: str, seen: Evidence) -> list[str]:
        """Return the writes that no rest has; where a stranger's object is in the way each pass asks again."""
        wire = self.wire
        return (wire.writes if WORKLOADS[seen.plan.workload].applied else wire.made)[namespace]

    async def _second_pass(self, seen: dict[str, Evidence], rests: dict[str, Rest]) -> None:
        """Ask for one more pass of each system, and tell what was written from rest on."""
        open_ = set(seen)
        for _ in range(TRIES):
            await self._settle({ns: seen[ns] for ns in open_}, rests)
            before = {ns: len(self._counted(ns, seen[ns])) for ns in open_}
            for namespace in open_:
                self.engine.poke(f"{namespace}/{NAME}")
            async with asyncio.timeout(PATIENCE_S):
                while any(self.engine.queue.busy(f"{namespace}/{NAME}") for namespace in open_):
                    await asyncio.sleep(0.02)
            for namespace in list(open_):
                writes, rest = self._counted(namespace, seen[namespace]), rests.get(namespace)
                if rest is None or rest.moves == self.journal.moves[namespace]:
                    at = len(writes) if rest is None else rest.writes
                    seen[namespace].after_rest += tuple(writes[at : before[namespace]])
                    seen[namespace].by_second_pass = tuple(writes[before[namespace] :])
                    open_.discard(namespace)
            if not open_:
                return
        for namespace in open_:
            seen[namespace].rested = False

    async def _observe(
        self, seen: dict[str, Evidence], before: dict[str, dict[str, int]], secrets: dict[str, list[str]]
    ) -> None:
        live = await self._judge.everything(self._prefix)
        common, _ = self.faults.take("")
        for namespace, evidence in seen.items():
            versions, writes = self.journal.versions[namespace], self.wire.writes[namespace]
            faults, log = self.faults.take(namespace)
            evidence.end = end_of(namespace, live[namespace], before[namespace])
            evidence.orphans = tuple(orphans_of(live[namespace]))
            evidence.writes = tuple(writes)
            evidence.counts = counts(versions)
            evidence.rolled = roll_outs(self.journal.first[namespace], versions)
            evidence.pods_deleted = len(self.wire.deleted[namespace])
            evidence.faults = (*common, *faults)
            evidence.statuses = statuses(versions)
            values = {*secrets[namespace], *secrets_of(live[namespace])}
            evidence.leaks = tuple(_leaks(values, [(v.item, v.live) for v in versions], log))


def _leaks(values: set[str], shown: list[tuple[str, Tree]], log: str) -> list[str]:
    texts = [(item, msgspec.json.encode(live)) for item, live in shown if not item.startswith("Secret/")]
    texts.append(("the log", msgspec.json.encode(log)))
    sought = [msgspec.json.encode(value)[1:-1] for value in values]
    return sorted({place for place, text in texts for value in sought if value in text})
