"""Pods that are not there because the API server refuses them: whose, in which words, where to look. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from qts_core import names
from qts_core.roster import Workload
from qts_operator.objects.frame import Frame
from qts_operator.snapshot import Child, Finding, Snapshot
from qts_operator.writes import over_quota

#: what is missing may be made beside the system, and a webhook may start with it; then a person is needed
AFTER_S = 60.0


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
    """Return the first Deployment whose pods stay refused until a person acts: a quota may let them in."""
    for workload, child in _lasting(snapshot, frame):
        if snapshot.now - child.failing_since >= AFTER_S:
            words = f"{child.kind}/{child.name}: {_words(snapshot, workload, child)}"
            text = f"{words}; change the spec, or make or change what refuses them"
            return Finding(reason="ObjectRejected", message=text)
    return None


def again_s(snapshot: Snapshot, frame: Frame) -> list[float]:
    """Return in how many seconds a refusal becomes a finding."""
    left = (AFTER_S - (snapshot.now - c.failing_since) for _, c in _lasting(snapshot, frame))
    return [seconds for seconds in left if seconds > 0]


def redis_without_pod(snapshot: Snapshot) -> str:
    """Return where to look when Redis has no pod, "" when it has one or its controller has not looked yet.

    What keeps a StatefulSet from making its pod is in no status: a quota, limits, the security of pods.
    """
    child = snapshot.owned("StatefulSet", names.REDIS_PART)
    if child is None or child.observed < child.generation or snapshot.pods_of(names.REDIS_PART):
        return ""
    return f"kubectl -n {snapshot.namespace} describe statefulset {child.name} says why, if it stays so"


def _refused(snapshot: Snapshot, frame: Frame) -> Iterator[tuple[Workload, Child]]:
    for workload in frame.workloads():
        child = snapshot.owned("Deployment", workload.name)
        if child is not None and child.failure:
            yield workload, child


def _lasting(snapshot: Snapshot, frame: Frame) -> Iterator[tuple[Workload, Child]]:
    """Yield what no quota refuses, of workloads that lack a pod: an autoscaler's spares come and go."""
    for workload, child in _refused(snapshot, frame):
        spares = frame.left(workload) and min(child.available, child.updated) >= 1
        if frame.wanted(workload) > 0 and not spares and not over_quota(child.failure):
            yield workload, child


def _words(snapshot: Snapshot, workload: Workload, child: Child) -> str:
    """Return the server's sentence, and where the newest is: Kubernetes keeps the first in the status."""
    labels = f"{names.LABEL_SYSTEM}={snapshot.name},{names.LABEL_AGENT}={workload.name}"
    where = f"kubectl -n {snapshot.namespace} describe replicasets -l {labels}"
    return f"its pods are refused: {child.failure[:500]}; {where} has the newest try"
