"""The PodMonitor, where the cluster has that kind: Prometheus finds the agents without being told."""

from __future__ import annotations

from qts_core import names
from qts_operator.objects.frame import Frame, Manifest

KIND = "PodMonitor"


def build(frame: Frame) -> list[Manifest]:
    """Return one monitor of all agents and the feed, unless the resource or the cluster wants none."""
    if KIND not in frame.offered or frame.spec.observability.pod_monitor == "Never":
        return []
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": KIND,
            "metadata": frame.metadata(frame.part("agents"), "agents"),
            "spec": {
                "selector": {
                    "matchLabels": frame.selector(),
                    "matchExpressions": [{"key": names.LABEL_AGENT, "operator": "Exists"}],
                },
                "podTargetLabels": [names.LABEL_SYSTEM, names.LABEL_AGENT],
                "podMetricsEndpoints": [{"port": "metrics", "path": names.PATH_METRICS}],
            },
        }
    ]
