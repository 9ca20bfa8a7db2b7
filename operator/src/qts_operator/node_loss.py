"""Pods on a node that is gone, and whether another node would take them. Pure.

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


def by_name(nodes: Iterable[Node] | None) -> Nodes:
    """Return nodes by name; none where they are not visible, so that nothing counts as lost."""
    return {n.name: n for n in nodes or ()}


def lost_in(pod: Pod, nodes: Nodes, now: float) -> float | None:
    """Return in how many seconds the pod's node counts as lost (0 or less: now); None: the node is well."""
    node = nodes.get(pod.node)
    if node is None or node.ready or not node.unready_since:
        return None
    return node.unready_since + LOST_S - now


def replaceable(pod: Pod, asked: Pods, nodes: Nodes, used: Mapping[str, Mapping[str, int]]) -> bool:
    """Tell whether another node would take the pod; of claimed devices only the scheduler knows."""
    if pod.claims:
        return False
    return any(_takes(n, pod, asked, used.get(n.name, {})) for n in nodes.values() if n.name != pod.node)


def _takes(node: Node, pod: Pod, asked: Pods, used: Mapping[str, int]) -> bool:
    if not node.ready or node.unschedulable or refusing(node, asked.tolerations) is not None:
        return False
    if any(node.labels.get(key) != value for key, value in asked.node_selector.items()):
        return False
    return all(node.allocatable.get(name, 0) - used.get(name, 0) >= n for name, n in pod.limits.items())
