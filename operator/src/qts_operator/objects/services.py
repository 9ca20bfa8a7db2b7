"""Headless Services: how the processes of a system find each other before they are ready."""

from __future__ import annotations

from typing import Any

from qts_core import names
from qts_core.roster import Workload
from qts_operator.objects.frame import Frame, Manifest


def build(frame: Frame) -> list[Manifest]:
    """Return one Service for each workload."""
    return [_service(frame, workload) for workload in frame.workloads()]


def _service(frame: Frame, workload: Workload) -> Manifest:
    ports = [_port("http", names.PORT_HTTP), _port("metrics", names.PORT_METRICS)]
    if workload.agent:
        ports.insert(0, _port("zmq", frame.spec.agent(workload.name).port))
    labels = {names.LABEL_AGENT: workload.name}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": frame.metadata(frame.part(workload.name), workload.name, **labels),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": frame.selector(workload.name),
            "ports": ports,
        },
    }


def _port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "port": number, "targetPort": number, "protocol": "TCP"}
