"""A whole pass as a step machine: step(state, response) → (state, request). Pure, so it can be explored.

look → write … → look again → report → restart … → tell … → end. The status is written after all writes and
from a fresh look; a restart only once its record is in the status; Events only once the status is.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from qts_core import names
from qts_core.errors import ConfigError
from qts_operator import (
    budget,
    circuit,
    events,
    node_loss,
    progress,
    refusals,
    restarts,
    rotation,
    starting,
    status,
    writes,
)
from qts_operator.explain import lines
from qts_operator.objects.frame import Defaults, Frame
from qts_operator.plan import Action, Apply, due
from qts_operator.pruning import without
from qts_operator.resolve import Verdicts, external, record_of, resolve, touched
from qts_operator.snapshot import Finding, Snapshot
from qts_operator.superseded import superseded
from qts_operator.times import stamp
from qts_operator.writes import Done, Failed, Taken, lacks_right

COUNTERS_S = 5.0
Phase = Literal["look", "read", "write", "again", "report", "restart", "tell", "end"]
Tree = dict[str, Any]


class Look(msgspec.Struct, frozen=True):
    """Ask for what is known now."""


class Read(msgspec.Struct, frozen=True):
    """Ask for the live objects that these actions would change."""

    actions: tuple[Action, ...]


class Report(msgspec.Struct, frozen=True):
    """Write the status of exactly this resource."""

    namespace: str
    name: str
    uid: str
    status: Tree


class Tell(msgspec.Struct, frozen=True):
    """Write an Event."""

    event: Tree


class Seen(msgspec.Struct, frozen=True):
    """What is known now."""

    snapshot: Snapshot


class Live(msgspec.Struct, frozen=True):
    """Live objects by kind and name."""

    objects: dict[tuple[str, str], Tree]


class Stopped(msgspec.Struct, frozen=True):
    """The request was not sent: the Lease is not ours."""


Request = Look | Read | Action | Report | restarts.Restart | Tell
Response = Seen | Live | Done | Taken | Failed | Stopped


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """Where a pass stands, and what it found on its way."""

    phase: Phase
    defaults: Defaults
    told_s: float  # seconds since the status was last written
    snapshot: Snapshot | None = None
    frame: Frame | None = None
    verdicts: Verdicts = {}
    writes: writes.State = writes.State(todo=())
    status: Tree = {}
    due: tuple[restarts.Restart, ...] = ()
    news: tuple[Tree, ...] = ()
    recheck_s: tuple[float, ...] = ()  # when to look again
    wrote: bool = False
    failed: Failed | None = None  # what ended the pass early
    stopped: bool = False


Step = tuple[Pass, Request | None]


def begin(defaults: Defaults, told_s: float) -> Step:
    """Return a new pass and its first request."""
    return Pass(phase="look", defaults=defaults, told_s=told_s), Look()


def step(state: Pass, response: Response) -> Step:
    """Take the answer to the last request; return what to ask next, None at the end."""
    if isinstance(response, Stopped):
        return _end(msgspec.structs.replace(state, stopped=True))
    match state.phase, response:
        case "look", Seen(snapshot=snapshot):
            return _plan(msgspec.structs.replace(state, snapshot=snapshot))
        case "read", Live(objects=live):
            return _report_plan(state, live)
        case "write", Done() | Taken() | Failed():
            return _write(msgspec.structs.replace(state, writes=writes.step(state.writes, response)))
        case "again", Seen(snapshot=snapshot):
            return _settle(_checked(state, _same_system(state, snapshot)))
        case "report", Done():
            return _after_report(msgspec.structs.replace(state, wrote=True))
        case "restart", Done() | Failed(code=404 | 409):
            return _restart(msgspec.structs.replace(state, due=state.due[1:]))
        case "tell", Done() | Failed():
            # an Event is news, not state: one that is refused is not worth another pass
            return _tell(msgspec.structs.replace(state, news=state.news[1:]))
        case "report", Failed() if lacks_right(response):
            # no condition can tell of it, but an Event can; the pass has failed all the same
            told = events.unreported(_seen(state), response.message)
            return _tell(msgspec.structs.replace(state, failed=response, news=(told,)))
        case _, Failed():
            return _end(msgspec.structs.replace(state, failed=response))
    raise TypeError(f"{type(response).__name__} is no answer in phase {state.phase}")


def _seen(state: Pass) -> Snapshot:
    if state.snapshot is None:
        raise TypeError(f"phase {state.phase} before the first look")
    return state.snapshot


def _framed(state: Pass) -> Frame:
    if state.frame is None:
        raise TypeError(f"phase {state.phase} before the plan")
    return state.frame


def _same_system(state: Pass, fresh: Snapshot) -> Snapshot:
    """Return a fresh look at the children of the generation that the pass began with."""
    first = _seen(state)
    return msgspec.structs.replace(
        fresh, uid=first.uid, generation=first.generation, spec=first.spec, status=first.status
    )


def _checked(state: Pass, fresh: Snapshot) -> Pass:
    """Take the look after the writes; what somebody changed meanwhile is not applied, whoever wrote it."""
    progress, frame = state.writes, _framed(state)
    # a Deployment that was made with a number is left to its autoscaler next
    new = external(fresh, frame.spec).keys() - frame.external.keys()
    if new or due(frame, touched(fresh, frame), fresh.kept):
        progress = msgspec.structs.replace(progress, stale=True)
    return msgspec.structs.replace(state, snapshot=fresh, writes=progress)


def _plan(state: Pass) -> Step:
    snapshot = _seen(state)
    if any(f.reason == "AccessDenied" for f in snapshot.blocked):
        # what may not be seen would be made again, or deleted, on a guess
        return _report(state)
    try:
        frame, verdicts = resolve(snapshot, state.defaults)
    except ConfigError as error:
        fault = Finding(reason="SpecRejected", message=str(error)[:1000])
        blocked = msgspec.structs.replace(snapshot, blocked=(fault, *snapshot.blocked))
        return _report(msgspec.structs.replace(state, snapshot=blocked))
    actions = due(frame, touched(snapshot, frame), snapshot.kept)
    state = msgspec.structs.replace(state, frame=frame, verdicts=verdicts)
    if frame.spec.paused:
        state = msgspec.structs.replace(state, writes=writes.State(todo=tuple(actions)), phase="read")
        return state, Read(tuple(actions))
    return _write(msgspec.structs.replace(state, writes=writes.begin(actions)))


def _report_plan(state: Pass, live: dict[tuple[str, str], Tree]) -> Step:
    """Report what would be done; nothing of it is."""
    told = tuple(lines(list(state.writes.todo), live))
    return _report(msgspec.structs.replace(state, writes=writes.State(todo=())), plan=told)


def _write(state: Pass) -> Step:
    action = writes.request(state.writes)
    if action is not None:
        return msgspec.structs.replace(state, phase="write"), action
    if state.writes.writes:
        return msgspec.structs.replace(state, phase="again", wrote=True), Look()
    return _settle(state)


def _settle(state: Pass) -> Step:
    due, again, exhausted = _restarts(state)
    due = [r for r in due if not r.counted or _remembered(_seen(state), r)]
    if rotation.under_way(_framed(state), _seen(state)):
        again.append(rotation.AGAIN_S)
    if _framed(state).withheld or _seen(state).login is not None:
        again.append(rotation.MENDED_S)
    again += [v.recheck_s for v in state.verdicts.values() if v.recheck_s is not None]
    again += refusals.again_s(_seen(state), _framed(state))
    again += progress.again_s(_seen(state).pods, _seen(state).now)
    state = msgspec.structs.replace(state, due=tuple(due), recheck_s=tuple(again))
    return _report(state, exhausted=exhausted)


def _report(state: Pass, *, plan: tuple[str, ...] = (), exhausted: str = "") -> Step:
    """Write the status if it differs; while progressing, numbers alone at most every 5 s."""
    snapshot = _seen(state)
    facts = status.Facts(
        snapshot=snapshot,
        frame=state.frame,
        verdicts=state.verdicts,
        state=state.writes,
        plan=plan,
        restarts={r.agent: _record(snapshot, r) for r in state.due if r.counted},
        exhausted=exhausted,
    )
    new = status.build(facts)
    told = _kept(snapshot, new)
    change = status.differs(told, snapshot.status)
    news = tuple(events.altered(snapshot, state.writes.altered))
    again = (*state.recheck_s, *starting.again_s(snapshot, new))
    state = msgspec.structs.replace(state, status=new, news=news, recheck_s=again)
    if not change:
        return _restart(state)
    moving = any(c["type"] == "Progressing" and c["status"] == "True" for c in new["conditions"])
    # the record of a restart is never held back: it must be there before the pod goes
    if change == "counters" and moving and not state.due and state.told_s < COUNTERS_S:
        again = (*state.recheck_s, COUNTERS_S - state.told_s)
        return _tell(msgspec.structs.replace(state, recheck_s=again))
    request = Report(snapshot.namespace, snapshot.name, snapshot.uid, told)
    return msgspec.structs.replace(state, phase="report"), request


def _after_report(state: Pass) -> Step:
    news = events.transitions(_seen(state), state.status)
    return _restart(msgspec.structs.replace(state, news=(*news, *state.news)))


def _restart(state: Pass) -> Step:
    if state.due:
        return msgspec.structs.replace(state, phase="restart"), state.due[0]
    return _tell(state)


def _tell(state: Pass) -> Step:
    if state.news:
        return msgspec.structs.replace(state, phase="tell"), Tell(state.news[0])
    return _end(state)


def _end(state: Pass) -> Step:
    return msgspec.structs.replace(state, phase="end"), None


def _restarts(state: Pass) -> tuple[list[restarts.Restart], list[float], str]:
    """Return the restarts that are due, when to look again, and whose budget is spent."""
    snapshot, frame = _seen(state), _framed(state)
    due: list[restarts.Restart] = _overtaken(snapshot, frame)
    again: list[float] = []
    exhausted, nodes = "", node_loss.by_name(snapshot.nodes)
    used: node_loss.Used = snapshot.used
    for workload in frame.workloads():
        pods = snapshot.pods_of(workload.name)
        rest = circuit.left_over(pods)
        due += [restarts.Restart(agent=workload.name, pod=p, reason=p.reason, counted=False) for p in rest]
        if frame.wanted(workload) == 0:
            continue
        entry = record_of(snapshot, workload.name)
        verdict = restarts.decide(
            workload,
            pods,
            frame.spec.pods(workload.name),
            entry,
            nodes=nodes,
            used=used,
            told=snapshot.statusz,
            generation=snapshot.generation,
            now=snapshot.now,
        )
        if verdict.due is not None:
            due.append(verdict.due)
            used = node_loss.taken(used, verdict.due.pod, verdict.due.onto) if verdict.due.onto else used
        if verdict.recheck_s is not None:
            again.append(verdict.recheck_s)
        exhausted = exhausted or verdict.exhausted
    return due, again, exhausted


def _overtaken(snapshot: Snapshot, frame: Frame) -> list[restarts.Restart]:
    """Return what is left of a roll-out of Redis that a newer one waits for."""
    part = names.REDIS_PART
    child = snapshot.children.get(("StatefulSet", frame.part(part)))
    mine = child if child is not None and child.owner_uid == frame.uid else None
    left = superseded(mine, snapshot.pods_of(part))
    return [restarts.Restart(agent=part, pod=p, reason="Superseded", counted=False) for p in left]


def _record(snapshot: Snapshot, restart: restarts.Restart) -> Tree:
    """Return what the status says of a restart before it happens: a crash in between counts it once."""
    former = record_of(snapshot, restart.agent)
    if (former.get("lastRestart") or {}).get("podUID") == restart.pod.uid:
        return former
    return {
        "restarts": int(former.get("restarts", 0)) + 1,
        "lastRestart": {"podUID": restart.pod.uid, "at": stamp(snapshot.now), "reason": restart.reason},
        "recentRestarts": budget.noted(former, snapshot.generation, snapshot.now),
    }


def _kept(snapshot: Snapshot, told: Tree) -> Tree:
    """Return a status without what an older definition lacks: with it the server would refuse all of it."""
    return dict(without({"status": told}, snapshot.pruned).get("status") or {})


def _remembered(snapshot: Snapshot, restart: restarts.Restart) -> bool:
    """Tell whether the record of a restart would be kept; without it nobody counts, and nothing ends them."""
    told = {"agentStatuses": [_record(snapshot, restart)]}
    return _kept(snapshot, told) == told


def unfinished(state: Pass) -> bool:
    """Tell whether another pass must follow, though nothing else asks for one."""
    writing = state.writes
    refused = bool(writing.unwell or writing.findings or state.failed)
    return refused or writing.stale or writing.waiting


def changes(actions: tuple[Action, ...]) -> list[Apply]:
    """Return the actions that change an object which is there."""
    return [a for a in actions if isinstance(a, Apply) and a.uid is not None]
