"""What the operator's cache takes for a system with all its objects: python -m bench.operator_cache --json.

The objects of one system are made by the operator itself on a cluster in memory, a pod for each workload
added, and shown to the cache under ever other namespaces and uids, as a watch would show them. The peer
keeps each decoded object whole, as client libraries do. The goal is the slope of the design's bounds, 120 MB
at 1,000 systems and 350 MB at 10,000.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import orjson
from bench.harness import Row, resident, run
from bench.operator_pass import CHILDREN, NAMESPACE, in_memory, until

from qts_core import names
from qts_operator.objects import KINDS
from qts_operator.view import View

GOAL_KB = (350.0 - 120.0) / 9.0  # MB a thousand systems
WARM = 800  # systems until what is remembered of digests has its final size
Live = dict[str, Any]


async def objects_of_one() -> list[Live]:
    """Return everything of one system that the operator watches."""
    async with in_memory() as (api, _):
        api.system(NAMESPACE, "desk-0", {})
        await until(lambda: len(api.names("Deployment", NAMESPACE)) == CHILDREN)
        api.settle(NAMESPACE)
        await asyncio.sleep(1.0)
        served = {names.KIND, *(kind.name for kind in KINDS)}
        found = [live for (kind, _, _), live in api.objects.items() if kind in served]
    return found + [_pod(live) for live in found if live["kind"] in ("Deployment", "StatefulSet")]


def _pod(workload: Live) -> Live:
    """Return a pod of a workload that runs."""
    template, owner = workload["spec"]["template"], workload["metadata"]
    metadata = template["metadata"] | {
        "name": f"{owner['name']}-5d8f7c9b6-x7k2p",
        "namespace": owner["namespace"],
        "uid": owner["uid"] + "-pod",
        "resourceVersion": owner["resourceVersion"],
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}
    status = {"phase": "Running", "podIP": "10.1.2.3", "conditions": [ready]}
    return {
        "kind": "Pod",
        "metadata": metadata,
        "spec": template["spec"] | {"nodeName": "n-1"},
        "status": status,
    }


def _copies(objects: list[Live], count: int, first: int = 0) -> Iterator[Live]:
    """Yield the objects of further systems, decoded anew as from the wire."""
    texts = [(orjson.dumps(live).decode(), live["metadata"]["uid"]) for live in objects]
    for number in range(first, first + count):
        for text, uid in texts:
            fresh = f"{number:08d}-{uid:.>27}"  # of a uid's length
            moved = text.replace(f'"{NAMESPACE}"', f'"team-{number}"')
            yield orjson.loads(moved.replace(f'"{uid}"', f'"{fresh}"'))


def _kb_each(put: Callable[[Live], None], objects: list[Live], count: int, first: int) -> float:
    """Return how many kB the process grows by for each system that is put."""
    gc.collect()
    before = resident()
    for live in _copies(objects, count, first):
        put(live)
    gc.collect()
    return (resident() - before) / count / 1000


def of_the_cache(smoke: bool) -> Row:
    """Measure the cache; it agrees when it knows every object that it was shown."""
    objects = asyncio.run(objects_of_one())
    view, warm, count = View(lambda _: None), 20 if smoke else WARM, 20 if smoke else 2000
    sinks: dict[str, Any] = {kind.name: view.sink_children(kind.name) for kind in KINDS}
    sinks |= {names.KIND: view.sink_systems(), "Pod": view.sink_pods()}

    def put(live: Live) -> None:
        sinks[live["kind"]].put(live)

    _kb_each(put, objects, warm, 0)
    ours = _kb_each(put, objects, count, warm)
    kept: list[Live] = []
    theirs = _kb_each(kept.append, objects, max(10, count // 20), 0)
    known = sum(view.counts().values()) == len(objects) * (warm + count)
    title = f"the cache for a system of {len(objects)} objects"
    return Row(title, round(ours, 2), "kB", "objects kept whole", round(theirs, 1), GOAL_KB, known)


main = partial(run, (of_the_cache,), __doc__ or "")

if __name__ == "__main__":
    sys.exit(main())
