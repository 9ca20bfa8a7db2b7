"""The operator's memory for thousands of systems on an API server: python -m bench.operator_memory --json.

Needs $KUBECONFIG of the shared cluster with `cluster fake-nodes N`, on the machine where its etcd runs. The
operator makes one system with pods; the controllers are stopped, and etcd is given copies of all its objects
(bench/etcd.py). Then an operator starts on each of --systems: until it is synced, after its first passes, and
at rest. It finds every object as another operator left it, so it writes nothing, which is checked; what the
making of so many systems leaves behind is told by `bench.operator`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from bench.etcd import Etcd, Mould, etcd
from bench.harness import Row, command, told
from bench.operator_process import Process
from bench.operator_stand import LIMIT_S, Stand, is_shared, kwok, quiet, standing
from bench.operator_statuses import stopped
from bench.operator_stream import MANAGED, is_ready
from tests.control_plane_campaign.workloads import spec

from qts_core.errors import ConfigError
from qts_operator.cluster import PODS, SYSTEMS, Cluster, path_of, whole
from qts_operator.objects import KINDS, Kind

RSS_MB = ((1000, 120.0), (5000, 200.0), (10_000, 350.0))  # systems, and what the operator may take for them
SYNC_S = ((10_000, 30.0),)
REST_S = 60.0
Live = dict[str, Any]


class Filled(NamedTuple):
    """A server with a system that can be copied."""

    stand: Stand
    etcd: Etcd
    mould: Mould
    counts: dict[str, int]  # by kind, of one system


@asynccontextmanager
async def filled() -> AsyncIterator[Filled]:
    """Let the operator make one system, then stop everybody else."""
    if not is_shared():
        raise ConfigError(
            "$KUBECONFIG: give that of the shared cluster (`cluster up`), whose controllers can be stopped"
        )
    async with etcd() as store, standing("memory", 1, kwok) as stand:
        namespace, name = stand.systems[0]
        operator = stand.begin()
        await stand.judge.make(namespace, name, spec())
        async with asyncio.timeout(LIMIT_S):
            while not is_ready(await stand.judge.api.get(SYSTEMS, namespace, name) or {}):
                await asyncio.sleep(0.5)
        await quiet(operator, 6.0)
        operator.stop()
        with stopped():
            counts, lives = await _objects(stand.judge.api, namespace)
            kept = [
                (k, v) for k, v in await store.of(namespace) if _kind(k) in {kind.plural for kind in lives}
            ]
            uids = [live["metadata"]["uid"] for found in lives.values() for live in found]
            yield Filled(stand, store, Mould(kept, namespace, uids), counts)


def _kind(key: bytes) -> str:
    """Return the plural of what a key of etcd is of."""
    words = key.decode().split("/")
    return "services" if words[2:4] == ["services", "specs"] else words[-3]


async def _objects(api: Cluster, namespace: str) -> tuple[dict[str, int], dict[Kind, list[Live]]]:
    """Return how many objects of each kind a system has, and the objects."""
    found = {SYSTEMS: (await api.list(SYSTEMS, namespace, {}, whole)).items}
    for kind in (PODS, *(kind for kind in KINDS if not kind.optional)):
        found[kind] = (await api.list(kind, namespace, MANAGED, whole)).items
    return {kind.name: len(lives) for kind, lives in found.items()}, found


class Copies:
    """The systems that are there beside the first one."""

    def __init__(self, filled: Filled) -> None:
        self._it = filled
        self.there = range(1, 1)

    async def become(self, systems: int) -> None:
        """Add copies until so many systems are there, and wait until the API server shows them."""
        fresh, self.there = range(self.there.stop, systems), range(1, systems)
        await self._shown(await self._it.etcd.put(self._it.mould.cast(fresh)))

    async def go(self) -> None:
        """Take all copies away."""
        if not self.there:
            return
        gone = await self._it.etcd.drop(self._it.mould.keys(self.there))
        await self._shown(gone)
        await self._it.etcd.tidy(gone)
        self.there = range(1, 1)

    async def _shown(self, revision: int) -> None:
        """Wait until the API server has heard of a revision; it says so by kind."""
        asked = {"resourceVersion": str(revision), "resourceVersionMatch": "NotOlderThan", "limit": "1"}
        for kind in (SYSTEMS, PODS, *(kind for kind in KINDS if not kind.optional)):
            await self._it.stand.judge.session.call("GET", path_of(kind, None), kind=kind.name, params=asked)


async def until(check: Callable[[], bool], every_s: float) -> None:
    """Wait until a check holds; TimeoutError after LIMIT_S."""
    async with asyncio.timeout(LIMIT_S):
        while not await asyncio.to_thread(check):
            await asyncio.sleep(every_s)


def passed(operator: Process, systems: int) -> bool:
    """Tell whether each system had a pass; a scrape of ten thousand systems costs seconds."""
    return operator.sum("qts_leader") == 1.0 and operator.sum("qts_reconcile_total") >= systems


async def of_a_start(it: Filled, systems: int, rest_s: float) -> AsyncIterator[Row]:
    """Yield what an operator takes that starts on so many systems."""
    title = f"{systems} systems of {sum(it.counts.values())} objects with pods"
    began = time.monotonic()
    operator = it.stand.begin()
    await until(operator.ready, 0.1)
    yield Row(
        f"{title}, start to all synced",
        round(time.monotonic() - began, 2),
        "s",
        goal=allowed(SYNC_S, systems),
    )
    yield Row(f"{title}, memory when synced", round(operator.rss_mb(), 1), "MB")
    await until(lambda: passed(operator, systems), 5.0)
    await asyncio.sleep(rest_s)
    goal = allowed(RSS_MB, systems)
    known = {kind: operator.sum("qts_reflector_objects", kind=kind) for kind in it.counts}
    same = all(known[kind] == count * systems for kind, count in it.counts.items() if kind != "Secret")
    yield Row(f"{title}, memory at rest", round(operator.rss_mb(), 1), "MB", goal=goal, agrees=same)
    yield Row(f"{title}, most memory ever", round(operator.peak_mb(), 1), "MB")
    writes = float(operator.writes())
    yield Row(f"{title}, writes by a start", writes, "writes", goal=0.0, agrees=writes == 0)
    operator.stop()


def allowed(goals: tuple[tuple[int, float], ...], systems: int) -> float | None:
    """Return the goal of the least number that is not below this one."""
    return next((goal for number, goal in goals if systems <= number), None)


async def rows(sizes: list[int], rest_s: float) -> AsyncIterator[Row]:
    """Yield every figure."""
    async with filled() as it:
        copies = Copies(it)
        try:
            for systems in sizes:
                await copies.become(systems)
                async for row in of_a_start(it, systems, rest_s):
                    yield row
        finally:
            await copies.go()


async def run(given: argparse.Namespace) -> bool:
    """Print every row; tell whether all that must agree does."""
    good = True
    async for row in rows(sorted(given.systems), given.rest):
        good &= told([row], given.json) == 0
    return good


def main(argv: list[str] | None = None) -> int:
    """Measure; 1 when something was written or not seen, 2 where there is no cluster to measure on."""
    parser = command(__doc__)
    parser.add_argument("--systems", type=int, nargs="+", default=[1000, 5000, 10_000])
    parser.add_argument("--rest", type=float, default=REST_S, help="seconds of rest")
    given = parser.parse_args(argv)
    if min(given.systems) < 2 or given.rest < 0:
        parser.error("--systems: give 2 or more; --rest: 0 or more")
    try:
        return 0 if asyncio.run(run(given)) else 1
    except ConfigError as error:
        print(f"bench.operator_memory: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
