"""GPU placement from nodes and pods: why an agent has its device, or has not, and what is done about it.

The checks run in the order of GATES; the first that leaves no node is the reason, with the nearest miss.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import msgspec

from qts_core.parts import Agent, Toleration
from qts_operator.circuit import Circuit, judge
from qts_operator.progress import short
from qts_operator.snapshot import Node, Pod
from qts_operator.times import seconds, stamp

Answer = Literal["True", "False", "Unknown"]
#: cases that waiting cannot mend: a Preferred agent falls back at once
AT_ONCE = frozenset(
    {"NoGPUNodes", "CountTooLarge", "NoMatchingMIGProfile", "NoMatchingNode", "UntoleratedTaint"}
    | {"GPUUnhealthy"}
)
#: cases that may pass: it falls back after `fallbackAfter`
IN_TIME = frozenset(
    {"GPUsBusy", "NodesUnavailable", "Unschedulable", "ClaimNotAllocated", "QuotaExceeded"} | {"AccessDenied"}
)
#: pods of others are not watched: what they hold is asked for again after so long, as is what follows from it
USAGE_S = 30.0
BY_USAGE = frozenset({"Scheduling", "GPUsBusy", "Unschedulable"})
_QUOTA = re.compile(r"exceeded quota: (\S+), requested: (\S+), used: (\S+), limited: (\S+)")
_GRANT = (
    "grant get, list, watch, create, patch and delete of resourceclaimtemplates in resource.k8s.io, "
    "as the operator's chart does"
)
_UNKNOWN = frozenset({"Scheduling", "NodesNotVisible", "AccessDenied"})
_UNPLACED = "the scheduler has not placed it yet"
_SYSTEM_TAINT = "node.kubernetes.io/"


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What one agent asks for, and what is known of its pods."""

    agent: str
    asked: Agent
    replicas: int
    pods: tuple[Pod, ...] = ()
    failure: str = ""  # why its pods cannot be made: the Deployment's ReplicaFailure
    waiting: tuple[float, ...] = ()  # since when, besides pods without a node
    circuit: Circuit | None = None  # as the status has it
    lost: frozenset[str] = frozenset()  # nodes that took pods of it with them, which are none of `pods`

    @property
    def resource(self) -> str:
        """Return the name of the extended resource, or of the class or template of claims."""
        return self.asked.gpu.device

    @property
    def count(self) -> int:
        """Return the devices that one pod needs."""
        return self.asked.gpu.count

    @property
    def needs(self) -> str:
        """Return the beginning of most sentences."""
        return f"{self.agent} needs {self.count} {self.resource}"

    @property
    def stays(self) -> str:
        """Return where a pod is that nobody can reach, "" when there is none."""
        return f"its pod stays on {', '.join(sorted(self.lost))}, which is lost" if self.lost else ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Where the agent's pods are rendered to run, and what GPUAvailable says of it."""

    device: Literal["GPU", "CPU"] | None
    status: Answer
    reason: str
    message: str
    recheck_s: float | None = None
    cap: int | None = None  # at most so many replicas, while the circuit is open
    circuit: Circuit | None = None


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What is visible of the cluster; `nodes` is None where the operator may not look."""

    nodes: tuple[Node, ...] | None
    used: dict[str, dict[str, int]] = {}  # a node that is not named here was not asked for
    claims: bool = True  # the cluster serves resource claims
    denied: str = ""  # what the server said when they might not be seen
    absent: frozenset[str] = frozenset()  # templates of claims that do not exist


def place(demand: Demand, view: View, *, on_cpu: bool, now: float) -> Verdict:
    """Decide for one agent; `on_cpu`: it fell back earlier and has not rolled since."""
    if demand.asked.gpu.mode == "None":
        return Verdict(device=None, status="True", reason="NotRequested", message="no agent asks for a GPU")
    if demand.replicas == 0:
        return Verdict(
            device="CPU" if on_cpu else "GPU",
            status="True",
            reason="NotRequested",
            message=f"{demand.agent} is at 0 replicas",
        )
    circuit = judge(demand.pods, demand.circuit, now)
    if circuit is not None:
        return _unhealthy(demand, circuit, on_cpu, now)
    if not on_cpu and _placed(demand):
        nodes = ", ".join(sorted({p.node for p in _holders(demand)}))
        text = f"{demand.agent}: {demand.count} {demand.resource} on {nodes}"
        return Verdict(device="GPU", status="True", reason="Allocated", message=text)
    reason, message = _why(demand, view)
    if demand.asked.gpu.mode == "Preferred":
        return _preferred(demand, reason, message, on_cpu, now)
    status: Answer = "Unknown" if reason in _UNKNOWN else "False"
    # nothing tells when a template is made: the controller looks again after up to 17 minutes
    again = USAGE_S if reason in BY_USAGE or demand.asked.gpu.claim_template_name in view.absent else None
    return Verdict(device="GPU", status=status, reason=reason, message=message, recheck_s=again)


def _unhealthy(demand: Demand, circuit: Circuit, on_cpu: bool, now: float) -> Verdict:
    """Hold the agent at 0 until the next try, then at one pod; Preferred runs on the CPU meanwhile."""
    message = (
        f"{circuit.node} rejected {circuit.count} pods of {demand.agent} ({circuit.reason}); "
        f"next try at {stamp(circuit.until)[11:]}"
    )
    if demand.asked.gpu.mode == "Preferred":
        verdict = _preferred(demand, "GPUUnhealthy", message, on_cpu, now)
        return msgspec.structs.replace(verdict, circuit=circuit)
    left = circuit.until - now
    return Verdict(
        device="GPU",
        status="False",
        reason="GPUUnhealthy",
        message=message,
        recheck_s=left if left > 0 else None,
        cap=0 if left > 0 else 1,
        circuit=circuit,
    )


def _preferred(demand: Demand, reason: str, message: str, on_cpu: bool, now: float) -> Verdict:
    waits = [*(p.started for p in demand.pods if not p.node and not p.deleting), *demand.waiting]
    left = seconds(demand.asked.gpu.fallback_after) - (now - min(waits, default=now))
    if on_cpu and reason in BY_USAGE:
        # whether one is free is asked only while a pod waits for it
        message = "free devices are looked for when it rolls next"
    if on_cpu or reason in AT_ONCE or (reason in IN_TIME and left <= 0):
        text = f"{demand.agent} runs on CPU: {message}"
        return Verdict(device="CPU", status="False", reason="FallbackToCPU", message=text)
    status: Answer = "Unknown" if reason in _UNKNOWN else "False"
    again = min(max(left, 0.1), USAGE_S)
    return Verdict(device="GPU", status=status, reason=reason, message=message, recheck_s=again)


def _holders(demand: Demand) -> list[Pod]:
    """Return the pods that hold devices: they have a node and have not ended."""
    held = [p for p in demand.pods if p.node and not p.deleting and p.phase not in ("Failed", "Succeeded")]
    if demand.asked.gpu.dra:
        return [p for p in held if p.claims]
    return [p for p in held if p.limits.get(demand.resource)]


def _placed(demand: Demand) -> bool:
    waiting = [p for p in demand.pods if not p.node and not p.deleting]
    return len(_holders(demand)) >= demand.replicas and not waiting


def _why(demand: Demand, view: View) -> tuple[str, str]:
    """Return reason and message of the first check that leaves no node."""
    if demand.asked.gpu.dra:
        return _claimed(demand, view)
    if view.nodes is None:
        if refused := _refused(demand):
            return "Unschedulable", f"{demand.agent}: {short(refused)}"
        if quota := _over_quota(demand):
            return "QuotaExceeded", quota
        return "NodesNotVisible", f"{demand.needs}; nodes are not visible in namespaced mode"
    left = list(view.nodes)
    for gate in GATES:
        passed, reason, message = gate(demand, left, view)
        if not passed:
            return reason, "; ".join(filter(None, (message, demand.stays)))
        left = passed
    if quota := _over_quota(demand):
        return "QuotaExceeded", quota
    if refused := _refused(demand):  # processors, memory, affinity, or nodes that were not asked for
        return "Unschedulable", f"{demand.agent}: {short(refused)}"
    room = f"{left[0].name} has room and " if left[0].name in view.used else ""
    return "Scheduling", f"{demand.needs}; {room}{demand.stays or _UNPLACED}"


def _refused(demand: Demand) -> str:
    """Return what the scheduler says of a pod that it found no node for."""
    return next((p.unschedulable for p in demand.pods if p.unschedulable and not p.deleting), "")


def _claimed(demand: Demand, view: View) -> tuple[str, str]:
    """Return why claims are not allocated: the scheduler knows, and says it in the pod's condition."""
    if not view.claims and view.denied:
        return "AccessDenied", f"{demand.agent}: {view.denied}; {_GRANT}"
    if demand.lost:  # whether another device is free only the scheduler knows
        return "NodesUnavailable", f"{demand.needs}; {demand.stays}"
    if not view.claims:
        text = "this cluster serves no resource.k8s.io/v1; claims of devices need Kubernetes 1.34"
        return "ClaimNotAllocated", f"{demand.agent}: {text}"
    if demand.asked.gpu.claim_template_name in view.absent:
        text = f"{demand.resource} of gpu.claimTemplateName does not exist; make that ResourceClaimTemplate"
        return "ClaimNotAllocated", f"{demand.agent}: {text}"
    refused = _refused(demand)
    missing = f"device class {demand.asked.gpu.device_class_name} does not exist"
    if missing in refused:
        return "ClaimNotAllocated", f"{demand.agent}: {missing}"
    if "cannot allocate all claims" in refused:
        text = f"no node can allocate {demand.count} {demand.resource}"
        return "ClaimNotAllocated", f"{demand.agent}: {text}"
    if refused:
        return "ClaimNotAllocated", f"{demand.agent}: {short(refused)}"
    if quota := _over_quota(demand):
        return "QuotaExceeded", quota
    return "Scheduling", f"{demand.needs}; {_UNPLACED}"


def _over_quota(demand: Demand) -> str:
    """Return the sentence of a quota that forbids the agent's devices, "" when none does."""
    found = _QUOTA.search(demand.failure)
    if found is None:
        return ""
    asked, used, limit = (dict(i.split("=", 1) for i in part.split(",")) for part in found.groups()[1:])
    key = next((k for k in asked if demand.resource in k), "")
    if not key:
        return ""
    return (
        f"{demand.agent}: quota {found[1]} allows {limit.get(key)} {key}, {used.get(key)} in use, "
        f"{asked[key]} more requested"
    )


Gate = Callable[[Demand, list[Node], View], tuple[list[Node], str, str]]


def eligible(demand: Demand, view: View) -> frozenset[str]:
    """Return the nodes that would take a pod of the agent if their devices were free."""
    left = list(view.nodes or ())
    for gate in GATES[:-1]:
        left = gate(demand, left, view)[0] if left else []
    return frozenset(n.name for n in left)


def _offered(demand: Demand, nodes: list[Node], _: View) -> tuple[list[Node], str, str]:
    passed = [n for n in nodes if n.allocatable.get(demand.resource, 0) > 0]
    if not passed and "/mig-" in demand.resource:
        for node in sorted(nodes, key=lambda n: n.name):
            other = sorted(k for k, v in node.allocatable.items() if "/mig-" in k and v > 0)
            if other:
                text = f"{demand.needs}; nearest: {node.name} offers {other[0]}"
                return passed, "NoMatchingMIGProfile", text
    return passed, "NoGPUNodes", f"{demand.needs}; none of {len(nodes)} nodes offers it"


def _large_enough(demand: Demand, nodes: list[Node], _: View) -> tuple[list[Node], str, str]:
    passed = [n for n in nodes if n.allocatable[demand.resource] >= demand.count]
    largest = max(nodes, key=lambda n: (n.allocatable[demand.resource], n.name))
    has = largest.allocatable[demand.resource]
    return (
        passed,
        "CountTooLarge",
        f"{demand.needs} on one node; the largest, {largest.name}, has {has}",
    )


def _selected(demand: Demand, nodes: list[Node], _: View) -> tuple[list[Node], str, str]:
    wanted = demand.asked.node_selector
    passed = [n for n in nodes if all(n.labels.get(k) == v for k, v in wanted.items())]
    if passed or not wanted:
        return passed, "NoMatchingNode", ""
    misses = {n.name: [k for k in sorted(wanted) if n.labels.get(k) != wanted[k]] for n in nodes}
    nearest = min(nodes, key=lambda n: (len(misses[n.name]), n.name))
    key = misses[nearest.name][0]
    has = nearest.labels.get(key, "no such label")
    text = f"{demand.agent} selects {key}={wanted[key]}; nearest: {nearest.name} has {has}"
    return passed, "NoMatchingNode", text


def _tolerated(demand: Demand, nodes: list[Node], _: View) -> tuple[list[Node], str, str]:
    refused = {n.name: refusing(n, demand.asked.tolerations) for n in nodes}
    passed = [n for n in nodes if refused[n.name] is None]
    first = min(nodes, key=lambda n: n.name)
    text = f"{first.name} fits but has taint {refused[first.name]}, which {demand.agent} does not tolerate"
    return passed, "UntoleratedTaint", text


def refusing(node: Node, tolerations: tuple[Toleration, ...]) -> str | None:
    """Return the taint that keeps a pod off the node, None when there is none."""
    for key, value, effect in node.taints:
        if effect == "PreferNoSchedule" or key.startswith(_SYSTEM_TAINT):
            continue
        if not any(_tolerates(t, key, value, effect) for t in tolerations):
            return f"{key}={value}:{effect}" if value else f"{key}:{effect}"
    return None


def _tolerates(toleration: Toleration, key: str, value: str, effect: str) -> bool:
    if toleration.effect not in (None, effect):
        return False
    if toleration.operator == "Exists":
        return toleration.key in (None, key)
    return toleration.key == key and (toleration.value or "") == value


def _open(_: Demand, nodes: list[Node], __: View) -> tuple[list[Node], str, str]:
    passed = [n for n in nodes if n.ready and not n.unschedulable]
    states = [f"{n.name} is {'unschedulable' if n.unschedulable else 'not ready'}" for n in nodes]
    text = f"the only matching nodes cannot take pods: {', '.join(sorted(states)[:5])}"
    return passed, "NodesUnavailable", text


def _free(demand: Demand, nodes: list[Node], view: View) -> tuple[list[Node], str, str]:
    """Leave the nodes with room; where none is known, those that nobody asked about are not full either."""
    known = [n for n in nodes if n.name in view.used]
    taken = {n.name: view.used[n.name].get(demand.resource, 0) for n in known}
    passed = [n for n in known if n.allocatable[demand.resource] - taken[n.name] >= demand.count]
    passed = passed or [n for n in nodes if n.name not in view.used]
    total = sum(n.allocatable[demand.resource] for n in nodes)
    plural = "node" if len(nodes) == 1 else "nodes"
    text = f"{demand.needs}; {sum(taken.values())} of {total} on {len(nodes)} matching {plural} are in use"
    return passed, "GPUsBusy", text


#: capacity last: it is counted only where a pod could go at all
GATES: tuple[Gate, ...] = (_offered, _large_enough, _selected, _tolerated, _open, _free)
