"""Pods that are not there because the API server refuses them: whose, in which words, where to look. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from qts_core import names
from qts_core.roster import Workload
from qts_operator.behind import field_of_pod
from qts_operator.conditions import said
from qts_operator.objects.frame import Frame
from qts_operator.snapshot import Child, Finding, Snapshot
from qts_operator.times import seconds_of
from qts_operator.writes import over_quota

#: what is missing may be made beside the system, a webhook may start with it, a quota may let the pods in;
#: then a person is needed
AFTER_S = 60.0
MORE = "raise the quota or ask for less"


def told(snapshot: Snapshot, frame: Frame) -> Finding | None:
    """Return what Scheduled says of refused pods; a quota comes first."""
    every = list(_refused(snapshot, frame))
    for workload, child in every:
        if over_quota(child.failure):
            text = f"{workload.name}: {child.failure}"
            return Finding(reason="QuotaExceeded", message=text, condition="Scheduled")
    for workload, child in every:
        text = f"{workload.name}: {_words(snapshot, workload, child)}"
        return Finding(reason="PodsRefused", message=text, condition="Scheduled")
    return None


def finding(snapshot: Snapshot, frame: Frame) -> Finding | None:
    """Return the first workload whose pods stay refused until a person acts, and who shares its fate."""
    every = [e for e in _lasting(snapshot, frame) if snapshot.now - e[1].failing_since >= AFTER_S]
    if not every:
        return _redis(snapshot)
    workload, child = every[0]
    others = ", ".join(w.name for w, _ in every[1:])
    words = f"{child.kind}/{child.name}: {_words(snapshot, workload, child)}"
    words += f"; refused too: {others}" if others else ""
    if over_quota(child.failure):
        return Finding(reason="QuotaExceeded", message=f"{words}; {MORE}")
    text = (
        f"{words}; change {field_of_pod(workload.name, child.failure)}, or make or change what refuses them"
    )
    return Finding(reason="ObjectRejected", message=text)


def unwritten(snapshot: Snapshot, told: Finding) -> Finding | None:
    """Return what a quota that refuses an object of ours is once the status has said so for a minute."""
    former = said(snapshot.status, told.condition)
    since = seconds_of(former["lastTransitionTime"]) if former.get("reason") == told.reason else None
    if since is None or snapshot.now - since < AFTER_S:
        return None
    return Finding(reason="QuotaExceeded", message=f"{told.message[:900]}; {MORE}")


def again_s(snapshot: Snapshot, frame: Frame) -> list[float]:
    """Return in how many seconds a refusal becomes a finding."""
    since = [child.failing_since for _, child in _lasting(snapshot, frame)]
    redis = snapshot.owned("StatefulSet", names.REDIS_PART)
    since += [redis.failing_since] if redis is not None and redis_without_pod(snapshot) else []
    left = (AFTER_S - (snapshot.now - each) for each in since)
    return [seconds for seconds in left if seconds > 0]


def _redis(snapshot: Snapshot) -> Finding | None:
    """Return that Redis has been without a pod for a minute."""
    child, where = snapshot.owned("StatefulSet", names.REDIS_PART), redis_without_pod(snapshot)
    if child is None or not where or snapshot.now - child.failing_since < AFTER_S:
        return None
    text = f"it has no pod: a quota, limits, the security of pods or a webhook may refuse it; {where}"
    remedy = "change the spec, or make or change what refuses it"
    return Finding(reason="ObjectRejected", message=f"StatefulSet/{child.name}: {text}; {remedy}")


def redis_without_pod(snapshot: Snapshot) -> str:
    """Return where to look when Redis has no pod, "" when it has one or its controller has not looked yet.

    What keeps a StatefulSet from making its pod is in no status: a quota, limits, the security of pods.
    """
    child = snapshot.owned("StatefulSet", names.REDIS_PART)
    if child is None or child.observed < child.generation or child.current:
        return ""
    if snapshot.pods_of(names.REDIS_PART):  # its controller has not counted it yet
        return ""
    return f"kubectl -n {snapshot.namespace} describe statefulset {child.name} says why"


def _refused(snapshot: Snapshot, frame: Frame) -> Iterator[tuple[Workload, Child]]:
    for workload in frame.workloads():
        child = snapshot.owned("Deployment", workload.name)
        if child is not None and child.failure:
            yield workload, child


def _lasting(snapshot: Snapshot, frame: Frame) -> Iterator[tuple[Workload, Child]]:
    """Yield what a person has to see to, of workloads that lack a pod.

    An autoscaler's spares come and go, and who only prefers a device falls back where a quota has no more.
    """
    for workload, child in _refused(snapshot, frame):
        spares = frame.left(workload) and min(child.available, child.updated) >= 1
        if frame.wanted(workload) > 0 and not spares and not _falls_back(frame, workload, child.failure):
            yield workload, child


def _falls_back(frame: Frame, workload: Workload, failure: str) -> bool:
    if not over_quota(failure) or not frame.on_gpu(workload):
        return False
    asked = frame.spec.agent(workload.name).gpu
    return asked.mode == "Preferred" and asked.device in failure


def _words(snapshot: Snapshot, workload: Workload, child: Child) -> str:
    """Return the server's sentence, and where the newest is: Kubernetes keeps the first in the status."""
    labels = f"{names.LABEL_SYSTEM}={snapshot.name},{names.LABEL_AGENT}={workload.name}"
    where = f"kubectl -n {snapshot.namespace} describe replicasets -l {labels}"
    return f"its pods are refused: {child.failure[:500]}; {where} has the newest try"
