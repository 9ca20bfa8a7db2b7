"""A world without pods: a test controller says of every workload that it is ready as soon as it is there.

With it the API server, etcd and the operator are all that works: what a roll-out costs Kubernetes' own
controllers, its scheduler and the nodes is left out. They are stopped meanwhile where the cluster lets them
be, and started again; elsewhere the cluster must be one without a controller-manager.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from bench.operator_stand import HOME, cluster, is_shared
from bench.operator_stream import MANAGED, heard
from tests.control_plane_campaign.judge import Judge, unless

from qts_core.errors import ConfigError
from qts_operator.cluster import SYSTEMS, path_of
from qts_operator.objects import BY_KIND, KINDS

OTHERS = ("kube-controller-manager", "kube-scheduler", "kwok")  # in the order in which they are stopped
WORKLOADS = ("Deployment", "StatefulSet")
DOUBT_S = 5.0  # within which a controller-manager has seen a new Deployment
NUMBERS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
Live = dict[str, Any]


@asynccontextmanager
async def controlled(judge: Judge, spaces: list[str]) -> AsyncIterator[None]:
    """Play the controller; take away what was made, as no collector of garbage does."""
    with stopped():
        await nobody_else(judge)
        try:
            async with playing(judge):
                yield
        finally:
            await emptied(judge, spaces)


@contextmanager
def stopped() -> Iterator[None]:
    """Stop the others where $KUBECONFIG is of the shared cluster; start again those that ran."""
    running = those_running(cluster("status")) if is_shared() else []
    done = []
    try:
        for name in running:
            done.append(name)
            cluster("stop", name)
        yield
    finally:
        for name in reversed(done):
            cluster("start", name)


def those_running(told: str) -> list[str]:
    """Return which of the others run, by what `cluster status` tells."""
    lines = {words[0] for line in told.splitlines() if (words := line.split())[1:2] == ["running,"]}
    return [name for name in OTHERS if name in lines]


async def nobody_else(judge: Judge) -> None:
    """Ask for a Deployment without pods; ConfigError when anybody tells its status.

    A Lease would not do: a controller-manager that runs alone needs none.
    """
    labels = {"of": "nobody"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "none", "image": "none"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "nobody"}, "spec": spec}
    kind = BY_KIND["Deployment"]
    await judge.post(path_of(kind, HOME), body)
    try:
        for _ in range(int(DOUBT_S / 0.5)):
            await asyncio.sleep(0.5)
            live = await judge.api.get(kind, HOME, "nobody")
            if ((live or {}).get("status") or {}).get("observedGeneration"):
                raise ConfigError(
                    "--statuses: a controller-manager sets the statuses of Deployments here; stop it "
                    "(`cluster stop kube-controller-manager`), or name a cluster without one in $KUBECONFIG"
                )
    finally:
        await judge.delete(kind, HOME, "nobody", {})


@asynccontextmanager
async def playing(judge: Judge) -> AsyncIterator[None]:
    """Say of each Deployment and StatefulSet of ours that it is ready, at once and after each change."""
    async with asyncio.TaskGroup() as writing:

        def tell(kind: str, live: Live) -> None:
            status, metadata = ready(live, kind), live["metadata"]
            if status is not None:
                path = path_of(BY_KIND[kind], metadata["namespace"], metadata["name"]) + "/status"
                writing.create_task(judge.patch(path, {"status": status}))

        async with AsyncExitStack() as ears:
            for kind in WORKLOADS:
                await ears.enter_async_context(heard(judge, BY_KIND[kind], MANAGED, partial(tell, kind)))
            yield


def ready(live: Live, kind: str) -> Live | None:
    """Return the status of a workload whose pods are all ready; None where that is told already."""
    told, generation = live.get("status") or {}, live["metadata"]["generation"]
    count = live["spec"].get("replicas", 1)
    seen = (told.get("observedGeneration") or 0) >= generation
    if seen and all((told.get(name) or 0) == count for name in NUMBERS):
        return None
    status = dict.fromkeys(NUMBERS, count) | {"observedGeneration": generation}
    if kind == "StatefulSet":
        revision = f"{live['metadata']['name']}-{generation}"
        status |= {"currentReplicas": count, "currentRevision": revision, "updateRevision": revision}
    return status


async def emptied(judge: Judge, spaces: list[str]) -> None:
    """Delete the systems and then their objects; the namespaces go once a controller-manager runs again."""

    async def empty(kind: Any, space: str, params: dict[str, str]) -> None:
        with unless(404):  # an optional kind that is not served
            await judge.session.call("DELETE", path_of(kind, space), kind=kind.name, params=params)

    await asyncio.gather(*(empty(SYSTEMS, space, {}) for space in spaces))
    await asyncio.gather(*(empty(kind, space, MANAGED) for kind in KINDS for space in spaces))
