"""What a write of our resource costs the API server, by its definition: python -m bench.definition --json.

Needs $KUBECONFIG of a cluster. Variants are served side by side, each under a group of its own, and are
asked in turn.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

from bench.harness import Row, command, told
from tests.control_plane_campaign.judge import Judge, opened
from tests.control_plane_campaign.workloads import spec

from qts_core import crd, names
from qts_core.errors import ConfigError
from qts_operator.cluster import DEFINITIONS, path_of
from qts_operator.session import from_kubeconfig

Tree = dict[str, Any]
ROUNDS, CALLS = 5, 15
APPLY = {"Content-Type": "application/apply-patch+yaml"}
FORCED = {"fieldManager": "bench", "force": "true"}
CONDITIONS = ("Ready", "Progressing", "Degraded", "Scheduled", "RedisReady", "MessagingReady", "Suspended")


def variants() -> dict[str, Tree]:
    """Return definitions by what is different about them."""
    ours = crd.crd()
    with patch.object(crd, "_stored", lambda default, _: default is not None):
        filled = crd.crd()
    open_ = json.loads(json.dumps(ours))
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    open_["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = free
    return {"as it is": ours, "every default stored": filled, "no rules": _unruled(ours), "no schema": open_}


def _unruled(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: _unruled(v) for k, v in node.items() if k != "x-kubernetes-validations"}
    return [_unruled(v) for v in node] if isinstance(node, list) else node


def status(number: int) -> Tree:
    """Return a status as a system has it; `number` makes it another one."""
    dated = {"reason": "Some", "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1}
    told = [dated | {"type": t, "status": "True", "message": f"{number}"} for t in CONDITIONS]
    agents = [{"name": f"a{n}", "desired": 1, "ready": 1, "restarts": 0} for n in range(5)]
    return {"observedGeneration": 1, "agents": f"{number}/4", "agentStatuses": agents, "conditions": told}


class Served:
    """One variant under a group of its own."""

    def __init__(self, judge: Judge, group: str, definition: Tree) -> None:
        self._call, self._group = judge.session.call, group
        self._name = f"{names.PLURAL}.{group}"
        spec_ = definition["spec"] | {"group": group}
        self._definition = definition | {"metadata": {"name": self._name}, "spec": spec_}
        self._path = f"/apis/{group}/{names.VERSION}/namespaces/default/{names.PLURAL}"
        self._count = 0

    def _body(self, name: str, **more: Any) -> Tree:
        api = f"{self._group}/{names.VERSION}"
        return {"apiVersion": api, "kind": names.KIND, "metadata": {"name": name}} | more

    async def serve(self) -> None:
        """Define it."""
        await self._call("POST", path_of(DEFINITIONS, None), kind="Any", body=self._definition)

    async def leave(self) -> None:
        """Remove it, and all of its kind."""
        await self._call("DELETE", path_of(DEFINITIONS, None, self._name), kind="Any")

    async def create(self) -> None:
        """Create one more resource."""
        self._count += 1
        await self._call("POST", self._path, kind="Any", body=self._body(f"d{self._count}", spec=spec()))

    async def report(self) -> None:
        """Apply another status to the first one."""
        self._count += 1
        body = self._body("d1", status=status(self._count))
        path = f"{self._path}/d1/status"
        await self._call("PATCH", path, kind="Any", params=FORCED, body=body, headers=APPLY)

    async def size(self) -> float:
        """Return the bytes of the first one as JSON."""
        return float(len(json.dumps(await self._call("GET", f"{self._path}/d1", kind="Any"))))


async def measured() -> list[Row]:
    """Return the median of each call for each variant, and how large a resource is."""
    taken: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    async with opened(from_kubeconfig(os.environ.get("KUBECONFIG"))) as judge:
        served = {k: Served(judge, f"v{n}.bench.io", d) for n, (k, d) in enumerate(variants().items())}
        try:
            for each in served.values():
                await each.serve()
            await asyncio.sleep(10.0)  # the server works out its OpenAPI anew
            for number in range(ROUNDS):
                for name, each in random.sample(list(served.items()), len(served)):
                    for what, call in (("create", each.create), ("status", each.report)):
                        for _ in range(CALLS):
                            began = time.perf_counter()
                            await call()
                            if number:
                                taken[name, what].append((time.perf_counter() - began) * 1000)
            sizes = {name: await each.size() for name, each in served.items()}
        finally:
            for each in served.values():
                await each.leave()
    return list(_rows(taken, sizes))


def _rows(taken: dict[tuple[str, str], list[float]], sizes: dict[str, float]) -> Iterator[Row]:
    for (name, what), found in sorted(taken.items()):
        peer = statistics.median(taken["as it is", what])
        yield Row(
            f"{what}, {name}, p50", round(statistics.median(found), 1), "ms", "as it is", round(peer, 1)
        )
    for name, size in sizes.items():
        yield Row(f"a resource with its status, {name}", size, "bytes")


def main() -> int:
    """Measure; 2 where there is no cluster to measure on."""
    parser = command(__doc__)
    options = parser.parse_args()
    try:
        return told(asyncio.run(measured()), options.json)
    except ConfigError as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
