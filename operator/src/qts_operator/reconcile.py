"""Drive one pass: look, decide, write, report. Errors of a pass end here and back off its own key."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import structlog

from qts_core import names
from qts_core.clock import Clock
from qts_core.errors import ConfigError
from qts_core.roster import BY_NAME
from qts_operator import events, restarts, status, steps
from qts_operator.apply import Hand
from qts_operator.cluster import PODS, Api
from qts_operator.digests import Resource, requested
from qts_operator.digests import resource as resource_of
from qts_operator.expectations import Expectations
from qts_operator.explain import lines
from qts_operator.metrics import Metrics
from qts_operator.objects import BY_KIND, desired
from qts_operator.objects.frame import Defaults, Frame
from qts_operator.plan import Action, Apply, plan
from qts_operator.resolve import Verdicts, history, resolve, touched
from qts_operator.session import ApiError
from qts_operator.snapshot import Finding, Snapshot
from qts_operator.statusz import Answers
from qts_operator.view import View, key_of
from qts_operator.workqueue import LAST_S, WorkQueue

_log = structlog.get_logger("qts_operator.reconcile")
COUNTERS_S = 5.0
SECRETS_S = 600.0
USAGE_S = 30.0
NODES_ASKED = 20
# What a person has to put right (a stranger's object, a refused field) costs one read to look at again,
# and the person is waiting: an API server that fails is left alone for longer.
FINDING_LAST_S = 15.0


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What all passes share."""

    api: Api
    view: View
    hand: Hand
    queue: WorkQueue
    answers: Answers
    metrics: Metrics
    clock: Clock
    random: Random
    defaults: Defaults
    nodes_visible: bool
    leads: Callable[[], bool]
    blocked: Callable[[], tuple[Finding, ...]]
    offered: Callable[[], frozenset[str]]


class Reconciler:
    """One pass at a time for each key."""

    def __init__(self, context: Context) -> None:
        self._c = context
        self._expected = Expectations()
        self._secrets_read: dict[str, float] = {}
        self._usage: dict[str, tuple[float, dict[str, int]]] = {}
        self._told_s: dict[str, float] = {}

    def now_s(self) -> float:
        """Return monotonic seconds."""
        return self._c.clock.monotonic_ns() / 1e9

    async def run(self, key: str) -> None:
        """Make one pass; never raise."""
        started, result, reason = time.perf_counter(), "ok", ""
        try:
            result = await self._pass(key)
        except ApiError as error:
            result, reason = "error", error.reason or str(error.code)
            self._later(key, error.retry_after)
            _log.warning("pass failed", system=key, code=error.code, error=error.message)
        except Exception as error:
            # one bad resource must not stop the others; its own key backs off
            result, reason = "error", type(error).__name__
            self._later(key, None)
            _log.exception("pass failed", system=key)
        self._c.metrics.reconcile.labels(result, reason).inc()
        self._c.metrics.reconcile_seconds.labels(result).observe(time.perf_counter() - started)

    async def _pass(self, key: str) -> str:
        namespace, _, name = key.partition("/")
        resource = self._c.view.systems.get(namespace, name)
        if resource is None or resource.deleting:
            self._forget(key, namespace, name)
            return "noop"
        if not self._c.leads():
            return "wait"
        if not await self._seen(key):
            return "wait"
        snapshot = await self._look(resource)
        try:
            frame, verdicts = resolve(snapshot, self._c.defaults)
        except ConfigError as error:
            fault = Finding(reason="SpecRejected", message=str(error)[:1000])
            snapshot = msgspec.structs.replace(snapshot, blocked=(fault, *snapshot.blocked))
            facts = status.Facts(snapshot=snapshot, frame=None, verdicts={}, state=steps.begin([]))
            return await self._report(key, facts, wrote=False)
        snapshot = await self._with_secrets(snapshot, frame)
        actions = plan(desired(frame), touched(snapshot, frame), frame.uid, snapshot.kept)
        if frame.spec.paused:
            told = tuple(lines(actions, await self._live(actions)))
            state = steps.begin([])
            facts = status.Facts(snapshot=snapshot, frame=frame, verdicts=verdicts, state=state, plan=told)
            return await self._report(key, facts, wrote=False)
        state = await self._write(key, steps.begin(actions))
        after = await self._look(resource) if state.writes else snapshot
        return await self._settle(key, after, frame, verdicts, state)

    async def _settle(
        self, key: str, snapshot: Snapshot, frame: Frame, verdicts: Verdicts, state: steps.State
    ) -> str:
        """Report what is now so, restart what is due, and plan the next look."""
        due, exhausted = self._restarts(snapshot, frame)
        facts = status.Facts(
            snapshot=snapshot,
            frame=frame,
            verdicts=verdicts,
            state=state,
            restarts={r.agent: _record(snapshot, r) for r in due},
            exhausted=exhausted,
        )
        result = await self._report(key, facts, wrote=bool(state.writes))
        for restart in due:
            await self._restart(restart)
        for verdict in verdicts.values():
            if verdict.recheck_s is not None:
                self._c.queue.add_after(key, verdict.recheck_s, self.now_s())
        self._next(key, state)
        return result

    def _next(self, key: str, state: steps.State) -> None:
        now = self.now_s()
        if state.unwell or state.findings:
            self._c.metrics.queue_retries.inc()
            self._c.queue.fail(key, now, LAST_S if state.unwell else FINDING_LAST_S)
            return
        self._c.queue.succeed(key)
        if state.stale or state.waiting:
            self._c.queue.add_after(key, 1.0, now)
        again = self._c.answers.recheck_s(key, self._c.random.random())
        if again is not None:
            self._c.queue.add_after(key, again, now)

    async def _look(self, resource: Resource) -> Snapshot:
        """Return what is known now."""
        view, key = self._c.view, key_of(resource.namespace, resource.name)
        spec, told = resource.decoded()
        pods = tuple(view.pods.of(resource.namespace, resource.name))
        children = {
            (kind, child.name): child
            for kind, store in view.children.items()
            for child in store.of(resource.namespace, resource.name)
        }
        pads = tuple(p for p in pods if p.agent == "pads")
        nodes = tuple(e.node for e in view.nodes.all()) if self._c.nodes_visible else None
        snapshot = Snapshot(
            namespace=resource.namespace,
            name=resource.name,
            uid=resource.uid,
            generation=resource.generation,
            now=self._c.clock.wall_ns() / 1e9,
            spec=spec,
            status=told,
            children=children,
            pods=pods,
            nodes=nodes,
            statusz=await self._c.answers.ask(key, pads, self.now_s()),
            blocked=self._c.blocked(),
            offered=self._c.offered(),
            kept=self._c.hand.kept,
        )
        if not resource.gpu or nodes is None:
            return snapshot
        return msgspec.structs.replace(snapshot, used=await self._used(snapshot))

    async def _used(self, snapshot: Snapshot) -> dict[str, dict[str, int]]:
        """Return what pods hold on nodes with devices, asked only while one of ours waits for one."""
        if not any(not p.node for p in snapshot.pods) and snapshot.pods:
            return {}
        asked = {
            ((a or {}).get("gpu") or {}).get("resourceName", "nvidia.com/gpu")
            for a in (snapshot.spec.get("agents") or {}).values()
        }
        offering = [n.name for n in snapshot.nodes or () if any(n.allocatable.get(r) for r in asked)]
        used = {}
        for name in sorted(offering)[:NODES_ASKED]:
            known = self._usage.get(name)
            if known is None or self.now_s() - known[0] >= USAGE_S:
                params = {"fieldSelector": f"spec.nodeName={name}"}
                listing = await self._c.api.list(PODS, None, params)
                known = (self.now_s(), _sum(listing.items))
                self._usage[name] = known
            used[name] = known[1]
        return used

    async def _with_secrets(self, snapshot: Snapshot, frame: Frame) -> Snapshot:
        """Return the snapshot with the Secrets, which are never listed: each is asked for by name."""
        key = key_of(snapshot.namespace, snapshot.name)
        fresh = self.now_s() - self._secrets_read.get(key, float("-inf")) < SECRETS_S
        children, store = dict(snapshot.children), self._c.view.children["Secret"]
        for manifest in desired(frame):
            if manifest["kind"] != "Secret":
                continue
            name = manifest["metadata"]["name"]
            known = store.get(snapshot.namespace, name) if fresh else None
            if known is None:
                known = await self._c.hand.learn("Secret", snapshot.namespace, name)
            if known is not None:
                children[("Secret", name)] = known
            else:
                children.pop(("Secret", name), None)
        if not fresh:
            self._secrets_read[key] = self.now_s()
        return msgspec.structs.replace(snapshot, children=children)

    async def _write(self, key: str, state: steps.State) -> steps.State:
        while (action := steps.request(state)) is not None:
            if not self._c.leads():
                return msgspec.structs.replace(state, stale=True)
            first = not state.writes
            state = steps.step(state, await self._c.hand.perform(action))
            if first and state.writes:
                self._c.metrics.event_to_write.observe(self._c.queue.since_s(key, self.now_s()))
            if isinstance(action, Apply):
                self._note(key, action)
        return state

    def _note(self, key: str, action: Apply) -> None:
        kind, metadata = action.manifest["kind"], action.manifest["metadata"]
        answer = self._c.view.children[kind].get(metadata["namespace"], metadata["name"])
        if answer is not None:
            item = (kind, answer.namespace, answer.name)
            self._expected.note(key, item, answer.version, self.now_s())

    async def _seen(self, key: str) -> bool:
        """Tell whether the cache shows all our writes; what stays unseen is read after 5 s."""
        stores = self._c.view.children

        def version(item: tuple[str, str, str]) -> str | None:
            known = stores[item[0]].get(item[1], item[2])
            return known.version if known is not None else None

        if self._expected.pending(key, version, self.now_s()):
            self._c.queue.add_after(key, 0.2, self.now_s())
            return False
        for item in self._expected.overdue(key, self.now_s()):
            await self._c.hand.learn(*item)
        return True

    async def _live(self, actions: list[Action]) -> dict[tuple[str, str], dict[str, Any]]:
        found = {}
        for action in actions:
            if isinstance(action, Apply) and action.uid is not None:
                kind, metadata = action.manifest["kind"], action.manifest["metadata"]
                live = await self._c.api.get(BY_KIND[kind], metadata["namespace"], metadata["name"])
                if live is not None:
                    found[(kind, metadata["name"])] = live
        return found

    async def _report(self, key: str, facts: status.Facts, *, wrote: bool) -> str:
        """Write the status if it differs; while progressing, numbers alone at most every 5 s."""
        snapshot, new = facts.snapshot, status.build(facts)
        change = status.differs(new, snapshot.status)
        told = {c["type"]: c["status"] for c in new["conditions"]}
        self._c.metrics.systems.tell(
            snapshot.namespace, snapshot.name, told, moving=status.moving_since(new), gpus=status.gpus(new)
        )
        if not change:
            return "ok" if wrote else "noop"
        since = self.now_s() - self._told_s.get(key, float("-inf"))
        if change == "counters" and told["Progressing"] == "True" and since < COUNTERS_S:
            self._c.queue.add_after(key, COUNTERS_S - since, self.now_s())
            return "wait"
        if not self._c.leads():
            return "wait"
        answer = await self._c.api.put_status(snapshot.namespace, snapshot.name, snapshot.uid, new)
        self._c.view.systems.put(resource_of(answer))
        self._c.metrics.writes.labels(names.KIND, "status").inc()
        self._told_s[key] = self.now_s()
        for event in events.transitions(snapshot, new):
            await self._c.api.create(events.KIND, event)
        return "ok"

    def _restarts(self, snapshot: Snapshot, frame: Frame) -> tuple[list[restarts.Restart], str]:
        due, exhausted = [], ""
        for workload in frame.workloads():
            if frame.wanted(workload) == 0:
                continue
            entry = history(snapshot, workload.name)
            verdict = restarts.decide(
                workload,
                snapshot.pods_of(workload.name),
                frame.spec.pods(workload.name).restart_policy,
                entry,
                told=snapshot.statusz,
                at=status.seconds_of((entry.get("lastRestart") or {}).get("at", "")),
                now=snapshot.now,
            )
            if verdict.due is not None:
                due.append(verdict.due)
            if verdict.recheck_s is not None:
                key = key_of(snapshot.namespace, snapshot.name)
                self._c.queue.add_after(key, verdict.recheck_s, self.now_s())
            exhausted = exhausted or verdict.exhausted
        return due, exhausted

    async def _restart(self, restart: restarts.Restart) -> None:
        pod = restart.pod
        _log.warning("restart", pod=pod.name, namespace=pod.namespace, reason=restart.reason)
        try:
            await self._c.api.delete(PODS, pod.namespace, pod.name, pod.uid)
        except ApiError as error:
            if error.code not in (404, 409):
                raise
        self._c.metrics.restarts.labels(BY_NAME[restart.agent].name, restart.reason).inc()

    def _later(self, key: str, retry_after: float | None) -> None:
        self._c.metrics.queue_retries.inc()
        delay = self._c.queue.fail(key, self.now_s())
        if retry_after is not None and retry_after > delay:
            self._c.queue.add_after(key, retry_after, self.now_s())

    def _forget(self, key: str, namespace: str, name: str) -> None:
        self._expected.forget(key)
        self._c.answers.forget(key)
        self._c.queue.succeed(key)
        self._secrets_read.pop(key, None)
        self._told_s.pop(key, None)
        for child in self._c.view.children["Secret"].of(namespace, name):
            self._c.view.children["Secret"].remove(child)
        self._c.metrics.systems.forget(namespace, name)


def _record(snapshot: Snapshot, restart: restarts.Restart) -> dict[str, Any]:
    """Return what the status says of a restart before it happens: a crash in between counts it once."""
    former = history(snapshot, restart.agent)
    last = former.get("lastRestart") or {}
    count = int(former.get("restarts", 0)) + (last.get("podUID") != restart.pod.uid)
    at = status.stamp(snapshot.now)
    return {
        "restarts": count,
        "lastRestart": {"podUID": restart.pod.uid, "at": at, "reason": restart.reason},
    }


def _sum(pods: list[dict[str, Any]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for pod in pods:
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            continue
        for name, count in requested(pod.get("spec") or {}).items():
            total[name] = total.get(name, 0) + count
    return total
