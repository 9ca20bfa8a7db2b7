"""The PodMonitor, where the cluster has that kind: Prometheus finds the agents without being told."""

from __future__ import annotations

import re

from qts_core import names
from qts_core.errors import ConfigError
from qts_operator.objects.frame import Frame, Manifest

KIND = "PodMonitor"
_LABEL = re.compile(rf"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?{names.LABEL_WORD}=({names.LABEL_WORD})?")


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


def labels_of(text: str) -> dict[str, str]:
    """Return labels written as `key=value`, comma-separated; ConfigError names what is none."""
    pairs = [pair.strip() for pair in text.split(",") if pair.strip()]
    for pair in pairs:
        if not _LABEL.fullmatch(pair):
            raise ConfigError(f"--monitor-labels: {pair!r} is no label; give key=value, comma-separated")
    return dict(pair.split("=") for pair in pairs)


def build(frame: Frame) -> list[Manifest]:
    """Return one monitor of all agents and the feed, unless the resource or the cluster wants none."""
    if KIND not in frame.offered or frame.spec.observability.pod_monitor == "Never":
        return []
    metadata = frame.metadata(frame.part("agents"), "agents")
    metadata["labels"] = frame.images.monitor_labels | metadata["labels"]
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": KIND,
            "metadata": metadata,
            "spec": {
                "selector": {
                    "matchLabels": frame.selector(),
                    "matchExpressions": [{"key": names.LABEL_AGENT, "operator": "Exists"}],
                },
                "podMetricsEndpoints": [_ENDPOINT],
            },
        }
    ]
