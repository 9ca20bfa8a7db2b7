"""Which pod the operator restarts, and when: what the kubelet cannot see, within a budget. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from qts_core.parts import RestartPolicy
from qts_core.probes import Status
from qts_core.roster import Workload
from qts_operator.circuit import rejected
from qts_operator.snapshot import Pod
from qts_operator.times import seconds

SILENT_S = 30.0
#: PADS is asked every 3 s while a peer is silent; its answer must be about this pod, not the one before
ANSWER_S = 5.0
LONGEST_S = 1800.0


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """One pod to delete, once the record of it is in the status."""

    agent: str
    pod: Pod
    reason: str
    counted: bool = True  # False: what is left of a rejected pod, which nobody misses


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is due now, or when to look again, or that the budget is spent."""

    due: Restart | None = None
    recheck_s: float | None = None
    exhausted: str = ""


def decide(
    workload: Workload,
    pods: tuple[Pod, ...],
    policy: RestartPolicy,
    history: dict[str, Any],
    *,
    told: Status | None,
    at: float | None,
    now: float,
) -> Verdict:
    """Decide for one agent; `history` is its entry of the status, `at` the time of its last restart."""
    found = _candidate(workload, pods, told, now)
    if found is None:
        return Verdict()
    if any(p.deleting or (not p.ready and p.uid != found.pod.uid) for p in pods if not rejected(p)):
        return Verdict(recheck_s=5.0)
    recent = at is not None and now - at < seconds(policy.window)
    count = int(history.get("restarts", 0)) if recent else 0
    if count >= policy.max_restarts:
        text = f"{workload.name} was restarted {count} times in {policy.window}; last reason {found.reason}"
        return Verdict(exhausted=text)
    delay = min(seconds(policy.backoff) * float(2**count), LONGEST_S)
    if at is not None and recent and now - at < delay:
        return Verdict(recheck_s=delay - (now - at))
    return Verdict(due=found)


def _candidate(workload: Workload, pods: tuple[Pod, ...], told: Status | None, now: float) -> Restart | None:
    for pod in pods:
        if pod.phase == "Failed" and not pod.deleting and not rejected(pod):
            return Restart(agent=workload.name, pod=pod, reason=pod.reason or "PodFailed")
    peer = (told.peers.get(workload.wire) or {}) if told is not None else {}
    if peer.get("state") == "dead" and float(peer.get("age_s") or 0.0) >= SILENT_S:
        for pod in pods:
            heard_late = now - pod.ready_since < SILENT_S + ANSWER_S
            if pod.ready and not pod.deleting and not heard_late:
                return Restart(agent=workload.name, pod=pod, reason="PeerSilent")
    return None
