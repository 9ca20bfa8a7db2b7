"""Replicas that an autoscaler writes, on a real API server; `kubectl scale` plays the autoscaler."""

from __future__ import annotations

from typing import Any

import pytest

from qts_core import names
from qts_operator.fields import owned

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
QBMIA = {"replicas": 2, "replicasManagedBy": "External"}


def test_an_autoscaler_keeps_what_it_writes(kube, namespace, operator, until) -> None:
    """It begins at two, stays where it is scaled to, is 0 while suspended and comes back as it was."""

    def live() -> dict[str, Any]:
        return kube.get("-n", namespace, "deployment/desk-qbmia")

    def is_at(count: int, *, ours: bool) -> bool:
        found = live()
        return found["spec"]["replicas"] == count and ("replicas" in owned(found)["spec"]) is ours

    def scale(count: int) -> None:
        kube.run("-n", namespace, "scale", "deployment/desk-qbmia", f"--replicas={count}")

    operator()
    kube.system(namespace, "desk", {"agents": {"qbmia": QBMIA}})
    until(lambda: kube.status(namespace, "desk").get("agentStatuses"), "a status")
    until(lambda: is_at(2, ours=False), "left at 2")
    scale(4)
    kube.system(namespace, "desk", {"agents": {"qbmia": QBMIA | {"podLabels": {"team": "x"}}}})
    until(lambda: "team" in live()["spec"]["template"]["metadata"]["labels"], "a change of ours")
    assert is_at(4, ours=False)
    kube.system(namespace, "desk", {"suspend": True, "agents": {"qbmia": QBMIA}})
    until(lambda: is_at(0, ours=True), "suspended")
    assert live()["metadata"]["annotations"][names.ANNOTATION_REPLICAS_BEFORE_SUSPEND] == "4"
    kube.system(namespace, "desk", {"agents": {"qbmia": QBMIA}})
    until(lambda: is_at(4, ours=False), "resumed")
    scale(3)
    managers = {m["manager"] for m in live()["metadata"]["managedFields"]}
    assert names.HANDOVER_MANAGER not in managers, "the first write of the autoscaler takes the number over"
    kube.system(namespace, "desk", {"agents": {"qbmia": {"replicas": 2}}})
    until(lambda: is_at(2, ours=True), "taken back")
