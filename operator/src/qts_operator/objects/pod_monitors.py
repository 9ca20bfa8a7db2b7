"""The PodMonitor, where the cluster has that kind: Prometheus finds the agents without being told."""

from __future__ import annotations

from qts_core import names
from qts_operator.objects.frame import Frame, Manifest

KIND = "PodMonitor"


def _target(label: str, short: str) -> Manifest:
    meta = "__meta_kubernetes_pod_label_" + "".join(c if c.isalnum() else "_" for c in label)
    return {"sourceLabels": [meta], "targetLabel": short}


#: a metric's own `agent` (whose vote it was) wins over the label of the process that tells it
_ENDPOINT: Manifest = {
    "port": "metrics",
    "path": names.PATH_METRICS,
    "honorLabels": True,
    "relabelings": [_target(names.LABEL_SYSTEM, "system"), _target(names.LABEL_AGENT, "agent")],
}


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
                "podMetricsEndpoints": [_ENDPOINT],
            },
        }
    ]
