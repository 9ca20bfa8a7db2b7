"""ResourceClaimTemplates of agents that ask for devices by class (DRA): one a request, never changed."""

from __future__ import annotations

from qts_core.roster import Workload
from qts_operator.objects.frame import Frame, Manifest, short_hash

KIND = "ResourceClaimTemplate"
REQUEST = "gpu"


def build(frame: Frame) -> list[Manifest]:
    """Return the template of each agent on a device of a class, where the cluster knows such claims."""
    if KIND not in frame.offered:
        return []
    return [_template(frame, w) for w in frame.workloads() if made(frame, w)]


def claim(frame: Frame, workload: Workload) -> str | None:
    """Return the name of the template that the workload's pods claim devices by, None without a claim."""
    if not frame.on_gpu(workload):
        return None
    gpu = frame.spec.agent(workload.name).gpu
    if gpu.device_class_name:
        return frame.part(f"{workload.name}-gpu-{short_hash(f'{gpu.device_class_name} {gpu.count}')}")
    return gpu.claim_template_name


def made(frame: Frame, workload: Workload) -> bool:
    """Tell whether the workload's template is ours to make, not the user's."""
    return frame.on_gpu(workload) and bool(frame.spec.agent(workload.name).gpu.device_class_name)


def _template(frame: Frame, workload: Workload) -> Manifest:
    gpu = frame.spec.agent(workload.name).gpu
    asked = {
        "deviceClassName": gpu.device_class_name,
        "allocationMode": "ExactCount",
        "count": gpu.count,
    }
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": KIND,
        "metadata": frame.metadata(str(claim(frame, workload)), workload.name),
        "spec": {"spec": {"devices": {"requests": [{"name": REQUEST, "exactly": asked}]}}},
    }
