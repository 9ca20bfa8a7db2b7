"""Pods on a node that is gone, and which other node would take them. Pure.

Kubernetes waits five minutes before it evicts such a pod; a deleted one is replaced at once, though it stays
`Terminating` until its kubelet is back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qts_core.parts import Pods
from qts_operator.gpu import refusing
from qts_operator.snapshot import Node, Pod

LOST_S = 60.0
Nodes = Mapping[str, Node]
Used = Mapping[str, Mapping[str, int]]  # node → resource → count


def by_name(nodes: Iterable[Node] | None) -> Nodes:
    """Return nodes by name; none where they are not visible, so that nothing counts as lost."""
    return {n.name: n for n in nodes or ()}


def lost_in(pod: Pod, nodes: Nodes, now: float) -> float | None:
    """Return in how many seconds the pod's node counts as lost (0 or less: now); None: the node is well."""
    node = nodes.get(pod.node)
    if node is None or node.ready or not node.unready_since:
        return None
    return node.unready_since + LOST_S - now


def stranded(pods: Iterable[Pod], nodes: Iterable[Node] | None, now: float) -> tuple[Pod, ...]:
    """Return the pods whose devices nobody can reach: their node counts as lost, and they have not ended."""
    asking = [p for p in pods if (p.limits or p.claims) and not p.deleting]
    alive = [p for p in asking if p.phase not in ("Failed", "Succeeded")]
    seen = by_name(nodes) if alive else {}
    return tuple(p for p in alive if (due_in := lost_in(p, seen, now)) is not None and due_in <= 0.0)


def spare(pod: Pod, asked: Pods, nodes: Nodes, used: Used) -> str:
    """Return a node that would take the pod, "" for none; of claimed devices only the scheduler knows.

    A node that `used` does not name was not asked for, and has no device free.
    """
    if pod.claims:
        return ""
    return next((n for n in offering(pod, asked, nodes) if _free(nodes[n], pod, used.get(n))), "")


def offering(pod: Pod, asked: Pods, nodes: Nodes) -> list[str]:
    """Return the other nodes that would take the pod if all their devices were free."""
    return [n.name for n in nodes.values() if n.name != pod.node and _takes(n, pod, asked)]


def taken(used: Used, pod: Pod, node: str) -> Used:
    """Return what is used once the pod is on that node: the next one looks for another device."""
    if not pod.limits:
        return used
    there = used.get(node, {})
    return {**used, node: {**there, **{k: there.get(k, 0) + n for k, n in pod.limits.items()}}}


def _takes(node: Node, pod: Pod, asked: Pods) -> bool:
    if not node.ready or node.unschedulable or refusing(node, asked.tolerations) is not None:
        return False
    if any(node.labels.get(key) != value for key, value in asked.node_selector.items()):
        return False
    return _free(node, pod, {})


def _free(node: Node, pod: Pod, used: Mapping[str, int] | None) -> bool:
    if not pod.limits or used is None:
        return not pod.limits
    return all(node.allocatable.get(name, 0) - used.get(name, 0) >= n for name, n in pod.limits.items())
