"""Deployments of the agents and the feed; their pods are replaced only when the template differs."""

from __future__ import annotations

from typing import Any

from qts_core import names
from qts_core.roster import Workload
from qts_operator.objects.frame import Frame, Manifest, template_hash, version_of
from qts_operator.objects.pods import LATEST_REVISION, template


def build(frame: Frame) -> list[Manifest]:
    """Return one Deployment for each workload."""
    return [_deployment(frame, workload) for workload in frame.workloads()]


def _deployment(frame: Frame, workload: Workload) -> Manifest:
    pod = template(frame, workload)
    labels = {names.LABEL_AGENT: workload.name, names.LABEL_VERSION: version_of(frame.image(workload))}
    metadata = frame.metadata(frame.part(workload.name), workload.name, **labels)
    metadata["annotations"] = {
        names.ANNOTATION_TEMPLATE_REVISION: str(LATEST_REVISION),
        names.ANNOTATION_TEMPLATE_HASH: template_hash(pod),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": frame.wanted(workload),
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": frame.selector(workload.name)},
            "strategy": _strategy(frame, workload),
            "template": pod,
        },
    }


def _strategy(frame: Frame, workload: Workload) -> dict[str, Any]:
    """Never two deciders or two feeds; a device is freed before it is asked for again."""
    if workload.role != "voter":
        return {"type": "Recreate"}
    surge, unavailable = (0, 1) if frame.on_gpu(workload) else (1, 0)
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
