"""Drive one pass: perform what `steps.py` asks for. Errors of a pass end here and back off its own key."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars

from qts_core import names
from qts_core.telemetry import trace_id_hex
from qts_operator import events, status, steps, writes
from qts_operator.apply import error_of
from qts_operator.cluster import PODS, SYSTEMS
from qts_operator.context import Context
from qts_operator.digests import Resource
from qts_operator.digests import resource as resource_of
from qts_operator.expectations import Expectations, Object
from qts_operator.look import Eyes
from qts_operator.middleware import ApiError
from qts_operator.objects import BY_KIND
from qts_operator.plan import Action, Apply, Create
from qts_operator.restarts import Restart
from qts_operator.snapshot import Finding, Snapshot
from qts_operator.tracing import PassTrace
from qts_operator.view import key_of
from qts_operator.workqueue import LAST_S
from qts_operator.writes import Done, Failed, identity, lacks_right

_log = structlog.get_logger("qts_operator.reconcile")
# What a person has to put right (a stranger's object, a refused field) costs one read to look at again,
# and the person is waiting.
FINDING_LAST_S = 15.0
# but an object that the server refuses for what it says is refused until the resource says something else,
# which asks for a pass by itself
REFUSED = "ObjectRejected"
# A server that fails does so for every system, and each event of a roll-out is one more try: after a storm of
# minutes those to whom nothing happens any more would wait for minutes too.
UNWELL_LAST_S = 30.0
UNANSWERED = (0, 504)
Write = Action | steps.Report | Restart | steps.Tell


class Reconciler:
    """One pass at a time for each key."""

    def __init__(self, context: Context) -> None:
        self._c = context
        self._eyes = Eyes(context)
        self._expected = Expectations()
        self._told_s: dict[str, float] = {}
        self._unsure: set[str] = set()  # whose status may have been written, though nobody answered
        self._refused: dict[str, Finding] = {}
        self._mute: dict[str, str] = {}  # systems whose status may not be written, and what the server said

    def mute(self) -> str:
        """Return why some status may not be written; "": each may. No condition can tell of it."""
        return next(iter(self._mute.values()), "")

    async def run(self, key: str) -> None:
        """Make one pass; never raise."""
        with self._c.traces.of(key) as trace, bound_contextvars(**_facts(key, trace)):
            await self._run(key, trace)

    async def _run(self, key: str, trace: PassTrace) -> None:
        started, result, reason = time.perf_counter(), "ok", ""
        try:
            result, reason = await self._pass(key, trace)
        except ApiError as error:
            result, reason = "error", error.reason or str(error.code)
            self._later(key, error.retry_after, UNWELL_LAST_S if _unwell(error.code) else LAST_S)
            _log.warning("pass failed", reason=reason, code=error.code, error=error.message)
        except Exception as error:
            # one bad resource must not stop the others; its own key backs off
            result, reason = "error", type(error).__name__
            self._later(key, None, LAST_S)
            _log.exception("pass failed", reason=reason)
        self._c.metrics.reconcile.labels(result, reason).inc()
        trace.result, trace.error = result, (reason or result) if result == "error" else ""
        if trace.error:
            trace.keep()
        lasted = time.perf_counter() - started
        self._c.metrics.reconcile_seconds.labels(result).observe(lasted, trace.exemplar)

    async def _pass(self, key: str, trace: PassTrace) -> tuple[str, str]:
        namespace, _, name = key.partition("/")
        resource = await self._known(namespace, name)
        if resource is None or resource.deleting:
            self._forget(key, namespace, name)
            return "noop", ""
        if not self._c.leads() or not await self._seen(key):
            return "wait", ""
        if key in self._unsure:
            resource = await self._read(resource)
        trace.attributes["qts.generation"] = resource.generation
        bind_contextvars(generation=resource.generation)
        told_s = self._c.now_s() - self._told_s.get(key, float("-inf"))
        state, request = steps.begin(self._c.defaults, told_s)
        refused = self._refused.pop(key, None)
        while request is not None:
            written = state.writes.writes
            asked_ns = time.time_ns()
            response = await self._perform(resource, request, state.snapshot)
            if isinstance(response, steps.Seen):
                response = steps.Seen(msgspec.structs.replace(response.snapshot, refused=refused))
            trace.child("snapshot", asked_ns)
            answered_ns = time.time_ns()
            state, request = steps.step(state, response)
            trace.child("plan", answered_ns)
            self._eyes.claim(key, state.frame)
            if not written and state.writes.writes:
                self._c.metrics.event_to_write.observe(self._c.queue.since_s(key, self._c.now_s()))
        ended = self._after(key, state)
        self._mute.pop(key, None)  # whose status may not be written, that one's pass fails
        return ended

    async def _known(self, namespace: str, name: str) -> Resource | None:
        """Return a system as the watch shows it; where none may be listed, its status tells so.

        Of what it owns we know that it is, or was.
        """
        systems = self._c.view.systems
        if not self._c.view.listed(namespace) and self._c.leads():
            known, live = systems.get(namespace, name), await self._c.api.glance(namespace, name)
            if live is not None:
                systems.put(resource_of(live))
            elif known is not None:
                systems.remove(known)
        return systems.get(namespace, name)

    async def _perform(
        self, resource: Resource, request: steps.Request, seen: Snapshot | None
    ) -> steps.Response:
        """Do what the pass asks for; a refusal comes back as a value."""
        if isinstance(request, steps.Look):
            return steps.Seen(await self._eyes.look(resource))
        if isinstance(request, steps.Read):
            return steps.Live(await self._live(request))
        if not self._c.leads() or not await self._there(seen, request):
            return steps.Stopped()
        return await self._write(resource, request)

    async def _there(self, seen: Snapshot | None, request: Write) -> bool:
        """Tell whether the resource still is, before what it once had is made again.

        The collector deletes its objects after it, but each kind's watch has a pace of its own.
        """
        made = isinstance(request, Create) or (isinstance(request, Apply) and request.uid is None)
        if not made or seen is None or seen.status.get("observedGeneration") != seen.generation:
            return True
        live = await self._c.api.get(SYSTEMS, seen.namespace, seen.name)
        metadata = (live or {}).get("metadata", {})
        return metadata.get("uid") == seen.uid and "deletionTimestamp" not in metadata

    async def _write(self, resource: Resource, request: Write) -> steps.Response:
        """Send a write; what the watch shows of it, before its answer or after, asks for no pass."""
        key, version = key_of(resource.namespace, resource.name), ""
        item: Object | None = None
        self._c.view.echoes.begin(key)
        try:
            answer = await self._send(resource, request)
            if isinstance(answer, Done) and answer.version:
                kind, name = _written(request)
                item, version = (kind, resource.namespace, name), answer.version
        finally:
            self._c.view.echoes.end(key, item, version)
        if item is not None and isinstance(request, Apply):
            self._expected.note(key, item, version, self._c.now_s())
        return answer

    async def _send(self, resource: Resource, request: Write) -> writes.Response:
        try:
            if isinstance(request, steps.Report):
                return await self._report(resource, request)
            if isinstance(request, Restart):
                return await self._restart(request)
            if isinstance(request, steps.Tell):
                await self._c.recorder.tell(request.event)
                return Done()
        except ApiError as error:
            if isinstance(request, steps.Report) and error.code in UNANSWERED:
                self._unsure.add(key_of(resource.namespace, resource.name))
            return self._barred(key_of(resource.namespace, resource.name), request, error_of(error))
        answer = await self._c.hand.perform(request)
        if isinstance(answer, Failed):
            self._barred(key_of(resource.namespace, resource.name), request, answer)
        return answer

    async def _read(self, resource: Resource) -> Resource:
        """Return the resource as the server has it: on an older status, transitions would be dated anew."""
        live = await self._c.api.get(SYSTEMS, resource.namespace, resource.name)
        self._unsure.discard(key_of(resource.namespace, resource.name))
        if live is None:
            return resource
        self._c.view.systems.put(resource_of(live))
        return self._c.view.systems.get(resource.namespace, resource.name) or resource

    def _barred(self, key: str, request: Write, failed: Failed) -> Failed:
        """Count a right that is missing; a pod that may not be deleted is told by the next pass."""
        if lacks_right(failed):
            if not isinstance(request, steps.Tell):  # who writes Events has counted it
                self._c.metrics.denied.labels(_written(request)[0]).inc()
            if isinstance(request, steps.Report):
                self._mute[key] = f"{names.KIND}: {failed.message}"
        if isinstance(request, Restart) and failed.code == 403:
            text = failed.message or f"Pod/{request.pod.name}: delete is forbidden"
            self._refused[key] = Finding(reason="AccessDenied", message=text)
        return failed

    async def _report(self, resource: Resource, request: steps.Report) -> Done:
        answer = await self._c.api.put_status(request.namespace, request.name, request.uid, request.status)
        key, now_s = key_of(request.namespace, request.name), self._c.now_s()
        told = resource_of(answer)
        self._c.view.systems.put(told)
        if (resource.generation, resource.deleting) != (told.generation, told.deleting):
            # a user's change came just before; the watch may bring nothing newer than this answer
            self._c.queue.add(key, now_s)
        self._c.metrics.writes.labels(names.KIND, "status").inc()
        self._told_s[key] = now_s
        return Done(version=told.version)

    async def _restart(self, restart: Restart) -> Done:
        pod = restart.pod
        _log.warning("restart", pod=pod.name, reason=restart.reason)
        await self._c.api.delete(PODS, pod.namespace, pod.name, pod.uid)
        self._c.metrics.restarted(pod.namespace, pod.system, restart.agent, restart.reason)
        return Done()

    async def _live(self, request: steps.Read) -> dict[tuple[str, str], dict[str, Any]]:
        found = {}
        for action in steps.changes(request.actions):
            kind, metadata = action.manifest["kind"], action.manifest["metadata"]
            live = await self._c.api.get(BY_KIND[kind], metadata["namespace"], metadata["name"])
            if live is not None:
                found[(kind, metadata["name"])] = live
        return found

    def _after(self, key: str, state: steps.Pass) -> tuple[str, str]:
        """Plan the next look at the system; return how the pass went, and why."""
        if state.status and state.snapshot is not None:
            told = {c["type"]: c["status"] for c in state.status["conditions"]}
            self._c.metrics.systems.tell(
                state.snapshot.namespace,
                state.snapshot.name,
                told,
                moving=status.moving_since(state.status),
                gpus=None if state.frame is None else status.held(state.snapshot, state.frame),
                rests=status.rests(state.status, state.snapshot, state.frame),
            )
        if state.failed is not None:
            failed = state.failed
            raise ApiError(failed.code, failed.reason, failed.message, retry_after=failed.retry_after)
        now = self._c.now_s()
        for seconds in state.recheck_s:
            self._c.queue.add_after(key, seconds, now)
        if state.writes.unwell or state.writes.findings:
            self._later(key, state.writes.retry_after, _last_s(state.writes))
            return ("error", _unwell_of(state)) if state.writes.unwell else ("refused", _refused(state))
        self._c.queue.succeed(key)
        if state.writes.stale or state.writes.waiting:
            self._c.queue.add_after(key, 1.0, now)
        spread = self._c.random.uniform(1.0, 1.1)  # many systems are made at once
        self._c.queue.add_after(key, self._eyes.recheck_s(key, now) * spread, now)
        return "wait" if state.stopped else "ok" if state.wrote else "noop", ""

    async def _seen(self, key: str) -> bool:
        """Tell whether the cache shows all our writes; what stays unseen is read after 5 s."""
        stores = self._c.view.children

        def version(item: tuple[str, str, str]) -> str | None:
            # what somebody deleted right after our write is seen too
            return stores[item[0]].seen(item[1], item[2])

        if self._expected.pending(key, version, self._c.now_s()):
            self._c.queue.put_off(key, 0.2, self._c.now_s())
            return False
        for item in self._expected.overdue(key, self._c.now_s()):
            await self._c.hand.learn(*item)
        return True

    def _later(self, key: str, retry_after: float | None, last_s: float) -> None:
        self._c.metrics.queue_retries.inc()
        delay = self._c.queue.fail(key, self._c.now_s(), last_s)
        if retry_after is not None and retry_after > delay:
            self._c.queue.add_after(key, retry_after, self._c.now_s())

    def _forget(self, key: str, namespace: str, name: str) -> None:
        self._expected.forget(key)
        self._eyes.forget(key, namespace, name)
        self._c.answers.forget(key)
        self._c.traces.forget(key)
        self._c.queue.succeed(key)
        self._told_s.pop(key, None)
        self._unsure.discard(key)
        self._refused.pop(key, None)
        self._mute.pop(key, None)
        self._c.metrics.forget(namespace, name)


def _facts(key: str, trace: PassTrace) -> dict[str, Any]:
    """Return what every line of a pass says; its id is that of its trace, whether that is kept or not."""
    namespace, _, name = key.partition("/")
    told = {"reconcile_id": trace_id_hex(trace.context), "namespace": namespace, "system": name}
    return told | {"generation": None}  # until the resource is at hand


def _refused(state: steps.Pass) -> str:
    """Log the first object that was refused; return the reason, which condition and Event give too."""
    found = state.writes.findings[0]
    _log.warning("refused", reason=found.reason, error=found.message)
    return found.reason


def _unwell_of(state: steps.Pass) -> str:
    """Log why a write came to nothing that may come right by itself; return the condition's reason."""
    _log.warning("pass failed", reason="SpecNotApplied", error=state.writes.unwell)
    return "SpecNotApplied"


def _last_s(told: writes.State) -> float:
    """Return how far apart tries may get."""
    if told.unwell:
        return UNWELL_LAST_S
    return LAST_S if all(f.reason == REFUSED for f in told.findings) else FINDING_LAST_S


def _unwell(code: int) -> bool:
    """Tell an answer that speaks of the server, or none at all, from one that speaks of what was asked."""
    return code in (0, 429) or code >= 500


def _written(request: Write) -> tuple[str, str]:
    """Return kind and name of what a request is about; an Event has none before it is made."""
    match request:
        case steps.Report(name=name):
            return names.KIND, name
        case Restart(pod=pod):
            return PODS.name, pod.name
        case steps.Tell():
            return events.KIND.name, ""
        case action:
            return identity(action)
