"""Nodes that kwok plays take every pod for a while; real nodes take none. Needs `cluster fake-nodes N`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

from tests.control_plane_campaign.judge import opened

from qts_core.errors import ConfigError
from qts_operator.cluster import LEASES, NODES, PODS, Cluster, path_of, whole
from qts_operator.middleware import ApiError
from qts_operator.session import Access

PLAYED = "type=kwok"
HEARD_S = 120.0
RENEW_S, TURNS = 5.0, 6  # every sixth time it looks at the pods too
_MERGE = {"Content-Type": "application/merge-patch+json"}


@asynccontextmanager
async def every_pod(api: Cluster) -> AsyncIterator[None]:
    """Take the taint off kwok's nodes and cordon the others; put both back. ConfigError when kwok plays none."""
    nodes = (await api.list(NODES, None, {}, whole)).items
    played = [n for n in nodes if n["metadata"].get("labels", {}).get("type") == "kwok"]
    if not played:
        raise ConfigError("no node has the label type=kwok; `cluster fake-nodes 8 --gpus 8` makes some")
    real = [n for n in nodes if n not in played and not n["spec"].get("unschedulable")]

    async def change(node: dict[str, Any], spec: dict[str, Any]) -> None:
        path = path_of(NODES, None, node["metadata"]["name"])
        await api.session.call("PATCH", path, kind="Node", body={"spec": spec}, headers=_MERGE)

    try:
        for node in played:
            await change(node, {"taints": None})
        for node in real:
            await change(node, {"unschedulable": True})
        await _heard(api, {node["metadata"]["name"] for node in played})
        beating = asyncio.create_task(_beat(api, [node["metadata"]["name"] for node in played]))
        try:
            yield
        finally:
            beating.cancel()
    finally:
        for node in played:
            await change(node, {"taints": node["spec"].get("taints")})
        for node in real:
            await change(node, {"unschedulable": None})


@contextmanager
def awake(access: Access, nodes: Sequence[str]) -> Iterator[None]:
    """Beat for kwok's nodes from a thread while tests that block run."""

    async def beat() -> None:
        async with opened(access) as judge:
            beating = asyncio.create_task(_beat(judge.api, nodes))
            await asyncio.to_thread(over.wait)
            beating.cancel()

    over = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(beat()), name="kwok-beat")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


async def _heard(api: Cluster, nodes: set[str]) -> None:
    """Wait until the scheduler puts a pod on one of these nodes.

    After the API server was away it goes by what it knew before for half a minute: it would take a real node.
    """
    async with asyncio.timeout(HEARD_S):
        while await _placed(api) not in nodes:
            pass


async def _placed(api: Cluster) -> str:
    """Return where a pod that may run anywhere is put, nothing when it is put nowhere for a while; it is gone then."""
    container = {"name": "probe", "image": "localhost/nothing:1"}
    spec = {
        "containers": [container],
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
    }
    metadata = {"generateName": "probe-", "namespace": "default"}
    pod = await api.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    try:
        for _ in range(20):
            await asyncio.sleep(0.1)
            live = await api.get(PODS, "default", name)
            if live is not None and live["spec"].get("nodeName"):
                return str(live["spec"]["nodeName"])
        return ""
    finally:
        with contextlib.suppress(ApiError):
            await api.delete(PODS, "default", name, uid)


async def _beat(api: Cluster, nodes: Sequence[str]) -> None:
    """Do what kwok does not on a busy machine: renew the nodes' Leases in time, and mark pods ready again.

    Pods of a node that was silent are marked not ready; a kubelet would mark them ready again, kwok never does.
    A node without its label is dead: nobody plays it.
    """
    alive = {*nodes}
    for turn in itertools.count():
        with contextlib.suppress(ApiError):
            labelled = (await api.list(NODES, None, {"labelSelector": PLAYED}, whole)).items
            alive = {node["metadata"]["name"] for node in labelled} & {*nodes}
        body = {"spec": {"renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}}
        for node in sorted(alive):
            await _patched(api, path_of(LEASES, "kube-node-lease", node), "Lease", body)
        if turn % TURNS == 0:
            await _mark_ready(api, alive)
        await asyncio.sleep(RENEW_S)


async def _mark_ready(api: Cluster, alive: set[str]) -> None:
    pods = []
    with contextlib.suppress(ApiError):
        pods = (await api.list(PODS, None, {"fieldSelector": "status.phase=Running"}, whole)).items
    for pod in (pod for pod in pods if pod["spec"].get("nodeName") in alive):
        conditions = {c["type"]: c for c in pod["status"].get("conditions") or ()}
        up = conditions.get("ContainersReady", {}).get("status") == "True"
        ready = conditions.get("Ready", {"type": "Ready"})
        if up and ready.get("status") != "True" and "deletionTimestamp" not in pod["metadata"]:
            path = path_of(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"]) + "/status"
            now = conditions | {"Ready": ready | {"status": "True"}}
            body = {"status": {"conditions": [*now.values()]}}
            await _patched(api, path, "Pod", body)


async def _patched(api: Cluster, path: str, kind: str, body: dict[str, Any]) -> None:
    """Change one object; what is refused or late keeps nothing else waiting for its turn."""
    with contextlib.suppress(ApiError):
        await api.session.call("PATCH", path, kind=kind, body=body, headers=_MERGE)
