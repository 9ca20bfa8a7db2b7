"""Which pod the operator restarts, and when: what the kubelet cannot see, within a budget. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from qts_core.parts import Pods
from qts_core.probes import Status
from qts_core.roster import Workload
from qts_operator import budget
from qts_operator.circuit import rejected
from qts_operator.node_loss import Nodes, Used, lost_in, spare
from qts_operator.snapshot import Pod
from qts_operator.times import seconds

SILENT_S = 30.0
#: PADS is asked every 3 s while a peer is silent; its answer must be about this pod, not the one before
ANSWER_S = 5.0
LONGEST_S = 1800.0
#: how often a node is looked for that would take a pod of a lost one
SPARE_S = 30.0


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """One pod to delete, once the record of it is in the status."""

    agent: str
    pod: Pod
    reason: str
    onto: str = ""  # the node that would take the next one, where this one's is lost
    counted: bool = True  # False: what is left of a rejected pod, which nobody misses


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is due now, or when to look again, or that the budget is spent."""

    due: Restart | None = None
    recheck_s: float | None = None
    exhausted: str = ""


def decide(
    workload: Workload,
    pods: tuple[Pod, ...],
    asked: Pods,
    history: dict[str, Any],
    *,
    nodes: Nodes,
    used: Used,
    told: Status | None,
    generation: int,
    now: float,
) -> Verdict:
    """Decide for one agent; `history` is its entry of the status, `generation` that of the resource.

    `nodes` are those that are visible, `used` the devices that are known to be taken on each.
    """
    policy = asked.restart_policy
    due_in = {p.uid: s for p in pods if (s := lost_in(p, nodes, now)) is not None}
    lost = {uid for uid, in_s in due_in.items() if in_s <= 0.0}
    found = _failed(workload, pods)
    for pod in pods:
        if found is None and pod.uid in lost and not pod.deleting:
            onto = spare(pod, asked, nodes, used)
            found = Restart(agent=workload.name, pod=pod, reason="NodeLost", onto=onto) if onto else None
    found = found or _silent(workload, tuple(p for p in pods if p.uid not in lost), told, now)
    if found is None:
        # a node that comes later asks for no pass
        staying = [p.uid for p in pods if p.uid in due_in and not p.deleting]
        waiting = [SPARE_S if uid in lost else due_in[uid] for uid in staying]
        return Verdict(recheck_s=min(waiting, default=None))
    # what lies on a lost node neither gets ready nor ends, so nothing waits for it
    others = [p for p in pods if p.uid != found.pod.uid and p.uid not in lost and not rejected(p)]
    if any(p.deleting or not p.ready for p in others):
        return Verdict(recheck_s=5.0)
    if (history.get("lastRestart") or {}).get("podUID") == found.pod.uid:
        return Verdict(due=found)  # it is in the record already: an operator ended before it came to it
    window_s = seconds(policy.window)
    times = budget.recent(history, generation, window_s, now)
    if len(times) >= policy.max_restarts:
        often = f"{workload.name} was restarted {len(times)} times in {policy.window}"
        again_s = times[0] + window_s - now if times else None
        remedy = f"mend its cause, or raise spec.{workload.section}.restartPolicy.maxRestarts"
        return Verdict(exhausted=f"{often}; last reason {found.reason}; {remedy}", recheck_s=again_s)
    delay = min(seconds(policy.backoff) * float(2 ** len(times)), LONGEST_S)
    if times and now - times[-1] < delay:
        return Verdict(recheck_s=delay - (now - times[-1]))
    return Verdict(due=found)


def _failed(workload: Workload, pods: tuple[Pod, ...]) -> Restart | None:
    for pod in pods:
        if pod.phase == "Failed" and not pod.deleting and not rejected(pod):
            return Restart(agent=workload.name, pod=pod, reason=pod.reason or "PodFailed")
    return None


def _silent(workload: Workload, pods: tuple[Pod, ...], told: Status | None, now: float) -> Restart | None:
    peer = (told.peers.get(workload.wire) or {}) if told is not None else {}
    if peer.get("state") == "dead" and float(peer.get("age_s") or 0.0) >= SILENT_S:
        for pod in pods:
            heard_late = now - pod.ready_since < SILENT_S + ANSWER_S
            if pod.ready and not pod.deleting and not heard_late:
                return Restart(agent=workload.name, pod=pod, reason="PeerSilent")
    return None
