"""A system is deleted and made again under its name while pods of the one before run on: nothing false is told."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.cluster.moments import told, watching
from tests.control_plane_campaign.judge import opened
from tests.control_plane_campaign.workloads import spec
from tests.kwok import every_pod

from qts_operator.cluster import SYSTEMS
from qts_operator.look import SKEW_S
from qts_operator.session import from_kubeconfig

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("leading", "played_nodes"),
]


async def test_pods_that_outlive_their_system_use_no_secrets_of_the_next(
    kube: Any, namespace: str, until: Callable[..., Any]
) -> None:
    """The collector takes the Secrets first; the new ones are made as soon as the old are gone."""
    async with opened(from_kubeconfig(os.environ["KUBECONFIG"])) as judge, every_pod(judge.api):
        await asyncio.to_thread(_again, kube, namespace, until)


def _again(kube: Any, namespace: str, until: Callable[..., Any]) -> None:
    kube.system(namespace, "desk", spec())
    until(lambda: kube.condition(namespace, "desk", "Ready")[0] == "True", "Ready")
    time.sleep(SKEW_S)  # so long nobody can tell the pods of two systems apart
    (left,) = kube.get("-n", namespace, "pods", "-l", "app.kubernetes.io/component=amos")["items"]
    _keep(kube, namespace, left["metadata"])
    former = kube.owned(namespace)["Secret/desk-curve"]["metadata"]["uid"]
    kube.run("-n", namespace, "delete", "qts", "desk")
    kube.system(namespace, "desk", spec())
    with watching(SYSTEMS, namespace) as seen:

        def made() -> bool:
            secret = kube.owned(namespace).get("Secret/desk-curve")
            return secret is not None and secret["metadata"]["uid"] != former

        until(made, "Secrets of the new one")
        until(lambda: kube.condition(namespace, "desk", "Ready")[0] == "True", "Ready again")
        degraded = {told(m.live, "Degraded")[1] for m in list(seen) if m.event != "DELETED"}
    assert degraded <= {"", "Healthy"}
    pods = kube.get("-n", namespace, "pods", "-l", "app.kubernetes.io/component=amos")["items"]
    assert left["metadata"]["uid"] in {p["metadata"]["uid"] for p in pods}


def _keep(kube: Any, namespace: str, pod: dict[str, Any]) -> None:
    """Give a pod a second owner, which stays: the collector leaves it alone when the first is gone."""
    keeper = kube.get("-n", namespace, "configmap", "kube-root-ca.crt")["metadata"]
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": keeper["name"], "uid": keeper["uid"]}
    change = {"metadata": {"ownerReferences": [*pod["ownerReferences"], owner]}}
    kube.run("-n", namespace, "patch", "pod", pod["name"], "--type=merge", "-p", json.dumps(change))
