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
from typing import Any

import msgspec
import structlog

from qts_operator.main import Engine, Options
from qts_operator.middleware import Call, Point, SimulatedCrash, crashing
from qts_operator.session import Access

from .journal import Journal, at_rest, counts, statuses, templates
from .judge import NAME, Judge, end_of, orphans_of, restarts, secrets_of
from .oracles import Evidence
from .workloads import WORKLOADS, Crash, Plan, Tree

PATIENCE_S = 300.0
QUIET_S = 1.0
_NAMESPACE = re.compile(r"/namespaces/([^/]+)/")


class Wire:
    """What the engine writes, by namespace, and where it dies for it."""

    def __init__(self) -> None:
        self.writes: defaultdict[str, list[str]] = defaultdict(list)
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
        namespace = found[1]
        self.last_s[namespace] = time.monotonic()
        if point == "before":
            self.writes[namespace].append(
                f"{call.verb} {call.path.rpartition('/namespaces/')[2].partition('/')[2]}"
            )
        if namespace not in self._armed or namespace in self.died:
            return False
        crash, since = self._armed[namespace]
        if point == crash.point and len(self.writes[namespace]) - since == crash.write:
            self.died.add(namespace)
            return True
        return False


class Faults:
    """Tracebacks and errors nobody looked at, by namespace; "" where none is named. And the log."""

    def __init__(self) -> None:
        self.found: defaultdict[str, list[str]] = defaultdict(list)
        self.log: defaultdict[str, list[str]] = defaultdict(list)

    def install(self) -> None:
        """Listen to the log and to the loop."""
        structlog.configure(processors=[self._logged], logger_factory=structlog.ReturnLoggerFactory())
        asyncio.get_running_loop().set_exception_handler(self._unhandled)

    def take(self, namespace: str) -> tuple[list[str], str]:
        """Return and forget the faults and the log of a namespace."""
        return self.found.pop(namespace, []), "\n".join(self.log.pop(namespace, []))

    def _logged(self, _: Any, method: str, event: Any) -> str:
        namespace = str(event.get("system") or event.get("namespace") or "").partition("/")[0]
        self.log[namespace].append(str(event))
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

    async def kill(self) -> None:
        """End the engine without its good-bye: the Lease stays held."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def play(self, plans: dict[str, Plan]) -> dict[str, Evidence]:
        """Play one plan in each namespace, all of one workload; return what was observed."""
        workload = WORKLOADS[next(iter(plans.values())).workload]
        seen = {namespace: Evidence(plan=plan) for namespace, plan in plans.items()}
        before = {ns: restarts(self.journal.live[ns]) for ns in plans}
        secrets = {ns: secrets_of(self.journal.live[ns]) for ns in plans}
        for namespace, plan in plans.items():
            self.journal.begin(namespace)
            self.wire.writes[namespace].clear()
            self.wire.arm(namespace, next(iter(plan.crashes), None))
        await asyncio.gather(*(self._judge.act(workload, ns, dict(self.journal.live[ns])) for ns in plans))
        rested = await self._settle(seen, applied=workload.applied)
        while self.wire.died:
            dead = set(self.wire.died)
            await self.kill()
            for namespace in plans:
                crashes = seen[namespace].plan.crashes if namespace in dead else ()
                seen[namespace].died += namespace in dead
                if namespace in dead:
                    seen[namespace].recovery = len(self.wire.writes[namespace])
                self.wire.arm(namespace, next(iter(crashes[seen[namespace].died :]), None))
            await self.start()
            rested |= await self._settle({ns: seen[ns] for ns in dead}, applied=workload.applied)
        await self._second_pass(seen, rested)
        await self._observe(seen, before, secrets)
        return seen

    async def _settle(self, seen: dict[str, Evidence], *, applied: bool) -> dict[str, int]:
        """Wait until each system is at rest or dead; return the number of writes at rest."""
        began, rested = time.monotonic(), {}
        open_ = set(seen)
        while open_ and time.monotonic() - began < PATIENCE_S:
            now = time.monotonic()
            for namespace in list(open_):
                quiet_s = now - max(self.wire.last_s[namespace], self.journal.last_s[namespace], began)
                if namespace in self.wire.died:
                    open_.discard(namespace)
                elif not self.journal.versions[namespace]:
                    continue  # what was done to the system was not seen yet
                elif quiet_s >= QUIET_S and at_rest(self.journal.live[namespace], NAME, applied=applied):
                    seen[namespace].rested = True
                    seen[namespace].seconds = now - began
                    rested[namespace] = len(self.wire.writes[namespace])
                    open_.discard(namespace)
            await asyncio.sleep(0.05)
        return rested

    async def _second_pass(self, seen: dict[str, Evidence], rested: dict[str, int]) -> None:
        """Ask for one more pass of each system, and tell what was written from rest on."""
        if self._engine is None:
            raise RuntimeError("no engine was started")
        before = {namespace: len(self.wire.writes[namespace]) for namespace in seen}
        for namespace in seen:
            self._engine.poke(f"{namespace}/{NAME}")
        async with asyncio.timeout(PATIENCE_S):
            while any(self._engine.queue.busy(f"{namespace}/{NAME}") for namespace in seen):
                await asyncio.sleep(0.02)
        for namespace, evidence in seen.items():
            writes = self.wire.writes[namespace]
            at = rested.get(namespace, len(writes))
            evidence.after_rest = tuple(writes[at : before[namespace]])
            evidence.by_second_pass = tuple(writes[before[namespace] :])

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
            evidence.recovery = len(writes) - evidence.recovery if evidence.died else 0
            evidence.counts, evidence.templates = counts(versions), templates(versions)
            evidence.pods_deleted = sum(w.startswith("DELETE pods/") for w in writes)
            evidence.faults = (*common, *faults)
            evidence.statuses = statuses(versions)
            values = {*secrets[namespace], *secrets_of(live[namespace])}
            evidence.leaks = tuple(_leaks(values, [(v.item, v.live) for v in versions], log))


def _leaks(values: set[str], shown: list[tuple[str, Tree]], log: str) -> list[str]:
    texts = [(item, msgspec.json.encode(live)) for item, live in shown if not item.startswith("Secret/")]
    texts.append(("the log", msgspec.json.encode(log)))
    sought = [msgspec.json.encode(value)[1:-1] for value in values]
    return sorted({place for place, text in texts for value in sought if value in text})
