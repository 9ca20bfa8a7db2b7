"""CPU of one pass of the operator over a system at rest, in memory: python -m bench.operator_pass --json.

The peer is the same pass with everything that was remembered dropped before it, so it renders all objects.
A second figure is that of planning one changed field, against the same with nothing remembered; a third that
of a pod on a watch, from its line to its digest, against the whole line decoded.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson
import structlog
from bench.harness import Row, run

from qts_operator import digests, lines, memo
from qts_operator.main import Engine, Options
from qts_operator.objects import desired
from qts_operator.objects.frame import Defaults
from qts_operator.plan import Action, due
from qts_operator.resolve import resolve
from qts_operator.session import Access
from qts_operator.snapshot import Pod, Snapshot
from qts_operator.testing import FakeCluster, fields_of

NAMESPACE, GOAL_MS = "trading", 2.0
CHILDREN = 5  # Deployments of one system
QUIET_S = 6.0  # numbers alone are told every 5 s at most


async def until(check: Callable[[], bool]) -> None:
    """Wait until a check holds; TimeoutError after two minutes."""
    async with asyncio.timeout(120):
        while not check():
            await asyncio.sleep(0.01)


async def _quiet(api: FakeCluster) -> None:
    """Wait until nothing was written for QUIET_S."""
    written, since = -1, time.monotonic()

    def quiet() -> bool:
        nonlocal written, since
        if len(api.writes()) != written:
            written, since = len(api.writes()), time.monotonic()
        return time.monotonic() - since >= QUIET_S

    await until(quiet)


async def _pass_ms(engine: Engine, keys: list[str], rounds: int, before: Callable[[], None]) -> float:
    """Return milliseconds of CPU a pass; `before` is called before each round of all systems."""
    spent = 0.0
    for _ in range(rounds):
        before()
        began = time.process_time()
        for key in keys:
            engine.poke(key)
        await asyncio.sleep(0)
        await until(lambda: not any(engine.queue.busy(key) for key in keys))
        spent += time.process_time() - began
    return spent / (rounds * len(keys)) * 1000


@asynccontextmanager
async def in_memory() -> AsyncIterator[tuple[FakeCluster, Engine]]:
    """Run an engine over a cluster in memory."""
    api = FakeCluster()
    options = Options(
        access=Access(server="http://nowhere"), identity="bench", http_port=0, metrics_port=0, workers=1
    )
    engine = Engine(options, api=api)
    task = asyncio.create_task(engine.run())
    try:
        yield api, engine
    finally:
        engine.stop()
        await task


async def _measured(systems: int, rounds: int) -> Row:
    async with in_memory() as (api, engine):
        names = [f"desk-{n}" for n in range(systems)]
        for name in names:
            api.system(NAMESPACE, name, {})
        keys = [f"{NAMESPACE}/{name}" for name in names]
        await until(lambda: len(api.names("Deployment", NAMESPACE)) == CHILDREN * systems)
        api.settle(NAMESPACE)
        await _quiet(api)
        await _pass_ms(engine, keys, 1, lambda: None)
        written = len(api.writes())
        ours = await _pass_ms(engine, keys, rounds, lambda: None)
        theirs = await _pass_ms(engine, keys, max(1, rounds // 4), memo.forget)
        silent = len(api.writes()) == written
    title = f"a pass over one of {systems} systems at rest, CPU"
    return Row(title, round(ours, 3), "ms", "all objects rendered", round(theirs, 3), GOAL_MS, silent)


def at_rest(smoke: bool) -> Row:
    """Measure passes that write nothing; one that writes does not agree."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    return asyncio.run(_measured(5 if smoke else 20, 4 if smoke else 20))


def of_a_change(smoke: bool) -> Row:
    """Measure from a resource with one changed field to the plan; plans that differ do not agree."""
    rounds = 20 if smoke else 200

    def plans(before: Callable[[], None]) -> tuple[list[list[Action]], float]:
        made, spent = [], 0.0
        for number in range(rounds):
            before()
            policy = {"metricsFrom": {"kubernetes.io/metadata.name": f"team-{number}"}}
            spec = {"networkPolicy": policy}
            asked = Snapshot(namespace=NAMESPACE, name="desk", uid="u", generation=1, now=0.0, spec=spec)
            began = time.process_time()
            frame, _ = resolve(asked, Defaults())
            made.append(due(frame, {}, {}))
            spent += time.process_time() - began
        return made, spent / rounds * 1000

    memo.forget()
    ours, ours_ms = plans(lambda: None)
    theirs, theirs_ms = plans(memo.forget)
    title = "the plan of one changed field, CPU"
    return Row(
        title, round(ours_ms, 3), "ms", "nothing remembered", round(theirs_ms, 3), None, ours == theirs
    )


def of_a_line(smoke: bool) -> Row:
    """Measure from a pod's line to its digest; digests that differ do not agree."""
    asked = Snapshot(namespace=NAMESPACE, name="desk", uid="u", generation=1, now=0.0, spec={})
    frame, _ = resolve(asked, Defaults())
    template = next(m for m in desired(frame) if m["kind"] == "Deployment")["spec"]["template"]
    fields = {"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": fields_of(template)}
    identity = {"name": "desk-pads-0", "namespace": NAMESPACE, "uid": "p", "resourceVersion": "7"}
    told = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:09Z"}
    live = {
        "metadata": template["metadata"] | identity | {"managedFields": [fields]},
        "spec": template["spec"] | {"nodeName": "node-1"},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [told]},
    }
    line = orjson.dumps({"type": "MODIFIED", "object": live})
    rounds = 200 if smoke else 5000

    def digested(read: Callable[[bytes], dict[str, Any]]) -> tuple[Pod, float]:
        began = time.process_time()
        for _ in range(rounds):
            found = digests.pod(read(line)["object"])
        return found, (time.process_time() - began) / rounds * 1e6

    (ours, ours_us), (theirs, theirs_us) = digested(lines.pod), digested(orjson.loads)
    title = f"a pod's line of {len(line)} bytes to its digest, CPU"
    return Row(title, round(ours_us, 1), "us", "decoded whole", round(theirs_us, 1), None, ours == theirs)


main = partial(run, (at_rest, of_a_change, of_a_line), __doc__ or "")

if __name__ == "__main__":
    sys.exit(main())
