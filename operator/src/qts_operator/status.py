"""The status of a resource from what was observed, never from what was intended. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from qts_core import names
from qts_core.roster import AGENTS, BY_NAME, BY_WIRE, Workload
from qts_operator import adopt, gpu, node_loss, reach, refusals, restricted, rotation, starting
from qts_operator.checks import degraded
from qts_operator.conditions import Condition, said
from qts_operator.objects.frame import Frame
from qts_operator.progress import LOOPS, NO_IMAGE, Cause, held_by, short
from qts_operator.resolve import Verdicts, record_of
from qts_operator.snapshot import Child, Finding, Snapshot
from qts_operator.starting import STARTING_UP
from qts_operator.times import seconds_of, stamp
from qts_operator.writes import State, over_quota

#: characters of Ready's message: room for a cause and a remedy of every workload
EVERY_CAUSE = 3000


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the status is written from."""

    snapshot: Snapshot
    frame: Frame | None  # None: the spec cannot be read
    verdicts: Verdicts
    state: State
    plan: tuple[str, ...] = ()  # while paused
    restarts: dict[str, dict[str, Any]] = {}  # agent → restarts and lastRestart, newly due
    exhausted: str = ""

    def child(self, kind: str, name: str) -> Child | None:
        """Return an owned object, None when it is missing or another resource's."""
        return self.snapshot.owned(kind, name)


def build(facts: Facts) -> dict[str, Any]:
    """Return the whole status; only transitions carry a time."""
    snapshot, frame = facts.snapshot, facts.frame
    former = snapshot.status
    status: dict[str, Any] = {}
    able = frame is not None and not frame.unsupported and not snapshot.blocked
    applied = able and facts.state.complete and not facts.plan
    observed = snapshot.generation if applied else former.get("observedGeneration")
    if observed is not None:
        status["observedGeneration"] = observed
    if frame is not None:
        status |= _counters(facts, frame)
    else:
        status |= {k: former[k] for k in ("agents", "gpus", "images", "agentStatuses") if k in former}
    if frame is not None and frame.gang is not None:
        status["gang"] = frame.gang.told()
    if facts.plan:
        status["plan"] = list(facts.plan[:20])
    told = conditions(facts, current=observed == snapshot.generation)
    since = {
        (c.get("type"), c.get("status")): c.get("lastTransitionTime") for c in former.get("conditions") or ()
    }
    status["conditions"] = [_dated(c, since, snapshot) for c in told]
    return status


def conditions(facts: Facts, *, current: bool) -> list[Condition]:
    """Return the eight conditions in their fixed order, and Restricted where rights are missing."""
    fault = degraded(facts.snapshot, facts.frame, facts.state)
    if fault is None and facts.exhausted:
        fault = Finding(reason="RestartBudgetExhausted", message=facts.exhausted)
    if facts.frame is None:
        found = fault or Finding(reason="SpecNotApplied", message="the spec cannot be read")
        lost = [Condition(t, "Unknown", found.reason, found.message) for t in _OBSERVED]
        return [
            Condition("Ready", "False", found.reason, found.message),
            Condition("Progressing", "False", found.reason, found.message),
            Condition("Degraded", "True", found.reason, found.message),
            *lost,
            *restricted.condition(facts.snapshot, None),
        ]
    frame = facts.frame
    device, redis = _gpu(facts), reach.redis(facts.snapshot, frame)
    messaging = reach.messaging(facts.snapshot, frame)
    return [
        _ready(facts, frame, fault, (redis, messaging), current),
        _progressing(facts, frame, redis, current),
        Condition("Degraded", "True", fault.reason, fault.message)
        if fault
        else Condition("Degraded", "False", "Healthy", ""),
        _scheduled(facts, frame),
        device,
        redis,
        messaging,
        _suspended(facts, frame),
        *restricted.condition(facts.snapshot, frame),
    ]


_COMPLETE = Condition("Progressing", "False", "Complete", "")
_OBSERVED = ("Scheduled", "GPUAvailable", "RedisReady", "MessagingReady", "Suspended")


def differs(new: dict[str, Any], former: dict[str, Any]) -> str:
    """Return "" for equal, "counters" when numbers or a roll-out's stage moved alone, else "conditions"."""
    if new == former:
        return ""
    told, before = (list(map(_news, s.get("conditions", ()))) for s in (new, former))
    moved = new.get("observedGeneration") != former.get("observedGeneration")
    return "conditions" if told != before or moved else "counters"


def _news(condition: dict[str, Any]) -> tuple[str, str, str]:
    """Return what of a condition is told at once; how far a roll-out is can wait for the next numbers."""
    stage = (condition["type"], condition["status"]) == ("Progressing", "True")
    return condition["type"], condition["status"], "" if stage else condition["reason"]


def moving_since(told: dict[str, Any]) -> float | None:
    """Return since when a roll-out is under way or stuck, seconds since the epoch; None when settled."""
    for condition in told.get("conditions") or ():
        if condition["type"] == "Progressing":
            moving = condition["status"] == "True" or condition["reason"] == "RolloutStuck"
            return seconds_of(condition["lastTransitionTime"]) if moving else None
    return None


def rests(told: dict[str, Any], snapshot: Snapshot, frame: Frame | None) -> bool:
    """Tell whether a pause is all that keeps a system from being ready: changes wait, what runs is whole.

    What was switched on in it has no Deployment yet, and PADS was not told of it: what is lost PADS knows.
    """
    if frame is None or not told.get("plan"):
        return False
    pads = snapshot.statusz
    known = BY_WIRE.keys() if pads is None else {"pads", *pads.peers}
    owned = {w: snapshot.owned("Deployment", w.name) for w in frame.workloads()}
    made = {w.name: child for w, child in owned.items() if child is not None or w.wire in known}
    whole = all(c is not None and c.ready >= max(1, c.replicas) for c in made.values())
    heard = pads is None or made.keys().isdisjoint(reach.silent(pads, frame))
    return whole and heard and _BAD.isdisjoint((c["type"], c["status"]) for c in told["conditions"])


_BAD = {("Degraded", "True"), ("RedisReady", "False")}


def held(snapshot: Snapshot, frame: Frame) -> dict[str, int]:
    """Return how many GPUs the pods of each agent hold that asks for any."""
    return {w.name: _held(snapshot, frame, w) for w in AGENTS if frame.runs(w) and _asks(frame, w)}


def _asks(frame: Frame, workload: Workload) -> bool:
    return workload.gpu and frame.spec.agent(workload.name).gpu.mode != "None"


def _held(snapshot: Snapshot, frame: Frame, workload: Workload) -> int:
    asked = frame.spec.agent(workload.name).gpu
    pods = [p for p in snapshot.pods_of(workload.name) if p.node and not p.deleting]
    lost = node_loss.stranded(pods, snapshot.nodes, snapshot.now)
    alive = [p for p in pods if p.phase not in ("Failed", "Succeeded") and p not in lost]
    return sum(asked.count if p.claims else p.limits.get(asked.device, 0) for p in alive)


def _dated(told: Condition, since: dict[tuple[Any, Any], Any], snapshot: Snapshot) -> dict[str, Any]:
    return {
        "type": told.type,
        "status": told.status,
        "reason": told.reason,
        "message": told.message,
        "lastTransitionTime": since.get((told.type, told.status)) or stamp(snapshot.now),
        "observedGeneration": snapshot.generation,
    }


def _counters(facts: Facts, frame: Frame) -> dict[str, Any]:
    agents = [w for w in AGENTS if frame.runs(w)]
    ready = sum(1 for w in agents if _live(facts, frame, w))
    able = [w for w in agents if _asks(frame, w) and not frame.spec.suspend]
    asked = sum(frame.spec.agent(w.name).gpu.count * frame.asked(w) for w in able)
    allocated = sum(held(facts.snapshot, frame).values())
    counters: dict[str, Any] = {
        "agents": f"{ready}/{len(agents)}",
        "gpus": f"{allocated}/{asked}",
        "images": _images(frame),
        "agentStatuses": [_agent(facts, frame, w) for w in frame.workloads()],
    }
    revisions = [c.revision for c in facts.snapshot.children.values() if c.revision]
    if revisions:
        counters["templateRevision"] = min(revisions)
    return counters


def _images(frame: Frame) -> dict[str, str]:
    """Return what omitted images resolved to; of several workloads the one longest without a roll."""
    told = {}
    for family, of in (("agent", adopt.parts(frame)), ("agentGPU", None), ("redis", [names.REDIS_PART])):
        parts = of or [w.name for w in frame.workloads() if w.gpu] or ["pads"]
        oldest = min(parts, key=lambda part: frame.made_of(part).revision)
        told[family] = frame.image_for(oldest, family)
    return told


def _agent(facts: Facts, frame: Frame, workload: Workload) -> dict[str, Any]:
    child = facts.child("Deployment", workload.name)
    entry: dict[str, Any] = {
        "name": workload.name,
        "desired": frame.wanted(workload),
        "ready": child.ready if child else 0,
    }
    placement = frame.placements.get(workload.name)
    if placement:
        entry["placement"] = placement
    if child is not None and child.revision:
        entry["templateRevision"] = child.revision
    record = facts.restarts.get(workload.name) or record_of(facts.snapshot, workload.name)
    entry["restarts"] = int(record.get("restarts", 0))
    entry |= {key: record[key] for key in ("lastRestart", "recentRestarts") if record.get(key)}
    if workload.name in frame.stopped:
        entry["stopped"] = True
    verdict = facts.verdicts.get(workload.name)
    if verdict is not None and verdict.circuit is not None:
        entry["circuit"] = verdict.circuit.told()
    return entry


def _live(facts: Facts, frame: Frame, workload: Workload) -> bool:
    """Tell whether the workload runs what was last written, with every replica available."""
    child, wanted = facts.child("Deployment", workload.name), frame.wanted(workload)
    if child is None or wanted == 0 or child.observed < child.generation:
        return False
    if frame.left(workload):
        return min(child.available, child.updated) >= 1  # the others are spares that come and go
    return child.replicas == wanted and child.available >= wanted and child.updated >= wanted


def _ready(
    facts: Facts,
    frame: Frame,
    fault: Finding | None,
    needs: Sequence[Condition],
    current: bool,
) -> Condition:
    if frame.spec.suspend:
        return Condition("Ready", "False", "Suspended", "the system is suspended")
    if fault is not None:
        return Condition("Ready", "False", fault.reason, fault.message)
    if not current:
        quota = _quota(facts)
        if quota is not None:
            return Condition("Ready", "False", quota.reason, quota.message[:1000])
        waits = "the system is paused: status.plan says what is not done" if frame.spec.paused else ""
        text = waits or facts.state.unwell or "the spec is not applied yet"
        return Condition("Ready", "False", "SpecNotApplied", text)
    missing = {w.name: _reason(facts, frame, w) for w in frame.workloads() if not _live(facts, frame, w)}
    redis, messaging = needs
    grace = starting.grace(facts.snapshot, facts.snapshot.status)
    if missing and reach.explains(redis, facts.snapshot):
        # agents without Redis are not ready by design: they have no cause of their own to tell
        own = [f"{name}: {why.text}" for name, why in missing.items() if why.holds]
        starts = not own and reach.starts(redis, facts.snapshot, grace)
        why = "; ".join([redis.message, *own])[:1000]
        return _starting(Condition("Ready", "False", "RedisNotReady", why), starts)
    if missing:
        starts = all(grace.covers(why, rolling=_rolls(facts, name)) for name, why in missing.items())
        return _starting(_behind(missing), starts)
    if redis.status != "True":
        starts = reach.starts(redis, facts.snapshot, grace)
        return _starting(Condition("Ready", "False", "RedisNotReady", redis.message), starts)
    if messaging.status == "False":
        starts = messaging.reason == "PeersSilent" and grace.system_s > 0
        return _starting(Condition("Ready", "False", "MessagingDown", messaging.message), starts)
    agents = sum(1 for w in frame.workloads() if w.agent)
    feed = " and the feed" if frame.runs(BY_NAME["market"]) else ""
    return Condition("Ready", "True", "AllReady", f"{agents}/{agents} agents{feed} are ready")


def _rolls(facts: Facts, name: str) -> bool:
    """Tell whether a workload's newest template has never been available."""
    child = facts.child("Deployment", name)
    return child is None or child.rolling


def _starting(told: Condition, starts: bool) -> Condition:
    """Return what keeps a system from being ready, under another reason while that comes up in its time."""
    return msgspec.structs.replace(told, reason=STARTING_UP) if starts else told


def _behind(missing: dict[str, Cause]) -> Condition:
    """Return Ready while workloads are not; its reason is the class of the cause, for `kubectl get`."""
    held_first = sorted(missing.items(), key=lambda each: not each[1].holds)
    text = "; ".join(f"{name}: {why.text}" for name, why in held_first)[:EVERY_CAUSE]
    reasons = {why.reason for why in missing.values()}
    if "QuotaExceeded" in reasons:
        return Condition("Ready", "False", "QuotaExceeded", text)
    if not reasons.isdisjoint(NO_IMAGE):
        return Condition("Ready", "False", "ImageNotPulled", text)
    if LOOPS in reasons:
        return Condition("Ready", "False", "CrashLooping", text)
    if not any(BY_NAME[name].agent for name in missing):
        return Condition("Ready", "False", "FeedNotReady", text)
    return Condition("Ready", "False", "AgentsNotReady", text)


def _quota(facts: Facts) -> Finding | None:
    """Return the quota that did not let us write an object."""
    return next((f for f in facts.state.findings if f.condition == "Scheduled"), None)


def _reason(facts: Facts, frame: Frame, workload: Workload) -> Cause:
    """Return why a workload is not ready, nearest cause first."""
    start = frame.gang
    if start is not None and start.held and workload.name in frame.caps:
        return Cause("WaitingForGang", f"WaitingForGang: {start.message}")
    verdict = facts.verdicts.get(workload.name)
    if verdict is not None and verdict.status == "False" and verdict.device == "GPU":
        return Cause(verdict.reason, f"{verdict.reason}: {verdict.message}")
    child = facts.child("Deployment", workload.name)
    if child is not None and child.failure:
        reason = "QuotaExceeded" if over_quota(child.failure) else "ReplicaFailure"
        return Cause(reason, child.failure[:300])
    if frame.external.get(workload.name) == 0:
        return Cause("ScaledToZero", "its autoscaler keeps it at 0 replicas")
    return held_by(facts.snapshot.pods_of(workload.name), facts.snapshot.now, frame.image_field(workload))


def _progressing(facts: Facts, frame: Frame, redis: Condition, current: bool) -> Condition:
    if frame.spec.paused:
        return Condition("Progressing", "False", "Paused", f"{len(facts.plan)} changes are planned")
    children = [facts.child("Deployment", w.name) for w in frame.workloads()]
    if frame.spec.redis.mode == "Managed":
        children.append(facts.child("StatefulSet", names.REDIS_PART))
    stuck = sorted(c.name for c in children if c is not None and c.stuck)
    if stuck:
        text = f"no progress for 10 minutes: {', '.join(stuck)}"
        return Condition("Progressing", "False", "RolloutStuck", text)
    open_ = [c for c in children if c is None or not c.rolled_out]
    starting = redis.reason == "StartingUp"  # it never was ready, of which its StatefulSet says nothing
    changing = rotation.under_way(frame, facts.snapshot)
    if not open_ and current and not starting:
        return Condition("Progressing", "True", "Rotating", changing) if changing else _COMPLETE
    if facts.snapshot.status.get("observedGeneration") is None or any(c is None for c in open_):
        return Condition("Progressing", "True", "Creating", "objects are being created")
    was = said(facts.snapshot.status, "Suspended").get("status")
    resuming = not frame.spec.suspend and was == "True"
    text = "roll-out under way" if open_ else "the newest spec is not written in full"
    text = redis.message if starting and current and not open_ else text
    return Condition("Progressing", "True", "Resuming" if resuming else "RollingOut", text)


def _scheduled(facts: Facts, frame: Frame) -> Condition:
    quota = _quota(facts)
    if quota is not None:
        return Condition("Scheduled", "False", quota.reason, quota.message[:1000])
    if frame.gang is not None and frame.gang.held:
        return Condition("Scheduled", "False", "WaitingForGang", frame.gang.message)
    refused = refusals.told(facts.snapshot, frame)
    if refused is not None:
        return Condition("Scheduled", "False", refused.reason, refused.message[:1000])
    for pod in sorted(facts.snapshot.pods, key=lambda p: p.name):
        if pod.unschedulable and not pod.deleting:
            return Condition(
                "Scheduled", "False", "Unschedulable", f"{pod.agent}: {short(pod.unschedulable)}"
            )
    wanted = sum(frame.wanted(w) for w in frame.workloads()) + (frame.spec.redis.mode == "Managed")
    placed = sum(1 for p in facts.snapshot.pods if p.node and not p.deleting)
    if placed < wanted:
        where = refusals.redis_without_pod(facts.snapshot)
        text = "some pods do not exist yet" + (f"; Redis has none: {where}, if it stays so" if where else "")
        return Condition("Scheduled", "False", "Creating", text)
    return Condition("Scheduled", "True", "Scheduled", "every pod has a node")


def _gpu(facts: Facts) -> Condition:
    asked = {n: v for n, v in facts.verdicts.items() if v.reason != "NotRequested"}
    if not asked:
        return Condition("GPUAvailable", "True", "NotRequested", "no agent asks for a GPU")
    order = {"False": 0, "Unknown": 1, "True": 2}

    def rank(verdict: gpu.Verdict) -> tuple[int, int]:
        return order[verdict.status], 1 if verdict.reason == "FallbackToCPU" else 0

    worst = min(asked.values(), key=rank)
    same = [v.message for v in asked.values() if rank(v) == rank(worst)]
    return Condition("GPUAvailable", worst.status, worst.reason, "; ".join(same))


def _suspended(facts: Facts, frame: Frame) -> Condition:
    if not frame.spec.suspend:
        return Condition("Suspended", "False", "NotSuspended", "")
    children = [facts.child("Deployment", w.name) for w in frame.workloads()]
    if all(c is not None and c.replicas == 0 and c.current == 0 for c in children):
        return Condition("Suspended", "True", "Suspended", "all replicas are 0; Redis and its data stay")
    return Condition("Suspended", "False", "Suspending", "agents are being stopped")
