"""PodDisruptionBudgets, only where an agent has a spare: a budget on a single pod blocks every drain."""

from __future__ import annotations

from qts_core import names
from qts_operator.objects.frame import Frame, Manifest


def build(frame: Frame) -> list[Manifest]:
    """Return one budget for each agent that has, or may be given, at least two replicas."""
    return [
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": frame.metadata(
                frame.part(workload.name), workload.name, **{names.LABEL_AGENT: workload.name}
            ),
            "spec": {
                "maxUnavailable": 1,
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": {"matchLabels": frame.selector(workload.name)},
            },
        }
        for workload in frame.workloads()
        if workload.agent and _spare(frame, workload.name)
    ]


def _spare(frame: Frame, name: str) -> bool:
    asked = frame.spec.agent(name)
    return asked.replicas >= 2 or asked.replicas_managed_by == "External"
