"""Deployments of the agents and the feed; their pods are replaced only when the template differs."""

from __future__ import annotations

from typing import Any

from qts_core import names
from qts_core.roster import Workload
from qts_operator.objects.frame import Frame, Manifest, template_hash, version_of
from qts_operator.objects.pods import template
from qts_operator.objects.revisions import noted


def build(frame: Frame) -> list[Manifest]:
    """Return one Deployment for each workload that this operator can render."""
    return [_deployment(frame, w) for w in frame.workloads() if w.name not in frame.unsupported]


def _deployment(frame: Frame, workload: Workload) -> Manifest:
    pod = template(frame, workload)
    labels = {names.LABEL_AGENT: workload.name, names.LABEL_VERSION: version_of(frame.image(workload))}
    metadata = frame.metadata(frame.part(workload.name), workload.name, **labels)
    made = frame.made_of(workload.name)
    notes = noted(made, template_hash(pod), ("agent", "agentGPU"))
    metadata["annotations"] = notes | _parked(frame, workload)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            **_count(frame, workload),
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": frame.selector(workload.name)},
            "strategy": _strategy(frame, workload),
            "template": pod,
        },
    }


def _count(frame: Frame, workload: Workload) -> dict[str, int]:
    """Return the number of replicas; nothing where it is somebody else's."""
    return {} if frame.left(workload) else {"replicas": frame.wanted(workload)}


def _parked(frame: Frame, workload: Workload) -> dict[str, str]:
    """Return the note of what somebody else's number was, while ours stands in its place."""
    if workload.name not in frame.external or frame.left(workload):
        return {}
    return {names.ANNOTATION_REPLICAS_BEFORE_SUSPEND: str(frame.external[workload.name])}


def _strategy(frame: Frame, workload: Workload) -> dict[str, Any]:
    """Never two deciders or two feeds; a device is freed before it is asked for again."""
    if workload.role != "voter":
        return {"type": "Recreate"}
    surge, unavailable = (0, 1) if frame.on_gpu(workload) else (1, 0)
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
