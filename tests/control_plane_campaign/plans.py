"""Plans against a real API server: kill the operator before, during or after one write, start it again, compare.

Each plan has a namespace, an engine and a Lease of its own, so many run side by side in one process. The judge
is a second client. A plan is one line of JSON; a failure prints it with both end states.

    KUBECONFIG=… python -m tests.control_plane_campaign.plans [--workloads create,change] [--side 12]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import difflib
import json
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import orjson

from qts_core import names
from qts_core.crd import crd
from qts_operator.cluster import DEFINITIONS, SYSTEMS, Cluster, path_of
from qts_operator.main import Engine, Options
from qts_operator.metrics import Metrics
from qts_operator.middleware import ApiError, Call, Point, crashing
from qts_operator.objects import KINDS, Kind
from qts_operator.session import Access, Session, from_kubeconfig

NAME = "desk"
NAMESPACES = Kind("Namespace", "", "v1", "namespaces")
POINTS: tuple[Point, ...] = ("before", "sent", "answered")
PATIENCE_S = 90.0
QUIET_S = 1.5
_MERGE = {"Content-Type": "application/merge-patch+json"}
_MASKED = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation")
Tree = dict[str, Any]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One crash: at which write of the workload, and on which side of it; write 0: none."""

    workload: str
    write: int = 0
    point: Point = "before"


class Workload(msgspec.Struct, frozen=True):
    """Specs that are brought to rest before, and the change under test; None deletes the resource."""

    before: tuple[Tree, ...]
    change: Tree | None


GPU = {"agents": {"quasar": {"gpu": {"mode": "Preferred"}}, "amos": {"gpu": {"mode": "Required"}}}}
WORKLOADS = {
    "create": Workload((), {}),
    "create-gpu": Workload((), GPU),
    "change": Workload(({},), {"config": {"systemSeed": 7}, "agents": {"amos": {"replicas": 2}}}),
    "suspend": Workload(({},), {"suspend": True}),
    "resume": Workload(({"suspend": True},), {"suspend": False}),
    "disable": Workload(({},), {"agents": {"qbmia": {"enabled": False}}}),
    "delete": Workload(({},), None),
}


async def _persistent(call: Call, rest: Callable[[Call], Awaitable[Any]]) -> Any:
    """Ask again when a busy server did not answer: the judge is not what is tested."""
    for _ in range(10):
        try:
            return await rest(call)
        except ApiError as error:
            if error.code not in (0, 429, 500, 503, 504):
                raise
        await asyncio.sleep(0.5)
    return await rest(call)


class Judge:
    """The second client: plays the user and reads what is there."""

    def __init__(self, access: Access) -> None:
        self.session = Session(access, Metrics(), "judge", (_persistent,))
        self.api = Cluster(self.session)

    async def definition(self) -> None:
        """Make sure that the kind is served."""
        if await self.api.get(DEFINITIONS, "", names.CRD_NAME) is None:
            await self.session.call("POST", path_of(DEFINITIONS, None), kind="Definition", body=crd())
        while True:
            with contextlib.suppress(ApiError):
                await self.api.list(SYSTEMS, None, {})
                return
            await asyncio.sleep(0.2)

    async def namespace(self, name: str) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await self.session.call("POST", path_of(NAMESPACES, None), kind="Namespace", body=body)

    async def ask(self, namespace: str, spec: Tree | None) -> None:
        """Create, change or delete the resource as a user does."""
        path = path_of(SYSTEMS, namespace, NAME)
        if spec is None:
            await self.session.call("DELETE", path, kind=names.KIND)
        elif await self.api.get(SYSTEMS, namespace, NAME) is None:
            body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": NAME}}
            await self.session.call(
                "POST", path_of(SYSTEMS, namespace), kind=names.KIND, body=body | {"spec": spec}
            )
        else:
            await self.session.call("PATCH", path, kind=names.KIND, body={"spec": spec}, headers=_MERGE)

    async def objects(self, namespace: str) -> dict[str, Tree]:
        """Return everything of ours, by kind and name."""
        label = {"labelSelector": f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"}
        found = {}
        for kind in KINDS:
            if not kind.optional:
                for live in (await self.api.list(kind, namespace, label)).items:
                    found[f"{kind.name}/{live['metadata']['name']}"] = live
        return found

    async def rested(self, namespace: str) -> bool:
        """Tell whether the last generation is applied, or all is gone with its resource."""
        live = await self.api.get(SYSTEMS, namespace, NAME)
        if live is None:
            return not await self.objects(namespace)
        return (live.get("status") or {}).get("observedGeneration") == live["metadata"]["generation"]

    async def end(self, namespace: str) -> str:
        """Return the end state with everything masked that no two runs share."""
        live = await self.api.get(SYSTEMS, namespace, NAME)
        owner = live["metadata"]["uid"] if live else ""
        found = await self.objects(namespace)
        shown = {key: _masked(item, owner) for key, item in found.items()}
        text = orjson.dumps(shown, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
        # hashes of what carries the namespace's name; the hashed text itself is compared above
        text = re.sub(r'(quantumtrading.io/(?:config|template)-hash": ")[0-9a-f]+', r"\1…", text)
        return text.replace(namespace, "NAMESPACE")


def _masked(live: Tree, owner: str) -> Tree:
    metadata = {k: v for k, v in live["metadata"].items() if k not in _MASKED}
    notes = {k: v for k, v in metadata.get("annotations", {}).items() if "quantumtrading" in k}
    owners = ["ours" if o["uid"] == owner else "orphan" for o in metadata.pop("ownerReferences", ())]
    spec = {k: v for k, v in (live.get("spec") or {}).items() if k not in ("clusterIP", "clusterIPs")}
    data = (
        sorted(live.get("data") or {}) if live.get("kind") == "Secret" or "type" in live else live.get("data")
    )
    return {"metadata": metadata | {"annotations": notes}, "owners": owners, "spec": spec, "data": data}


class Runner:
    """Plays plans; `writes` counts what a workload costs in a run without faults."""

    def __init__(self, access: Access, judge: Judge) -> None:
        self._access, self._judge, self._count = access, judge, 0
        self.ends: dict[str, str] = {}

    async def play(self, plan: Plan) -> tuple[str, int]:
        """Return the end state of one plan and the writes of its workload; TimeoutError without rest."""
        self._count += 1
        namespace = f"plan-{os.getpid()}-{self._count}"
        await self._judge.namespace(namespace)
        workload, seen, died = WORKLOADS[plan.workload], [0], asyncio.Event()
        armed = [False]

        def crash(point: Point, call: Call) -> bool:
            if not armed[0] or not call.writes or call.kind in ("Lease", "Event"):
                return False
            if point == "before":
                seen[0] += 1
            if seen[0] == plan.write and point == plan.point and not died.is_set():
                died.set()
                return True
            return False

        async with self._engine(namespace, crash) as engine:
            for spec in workload.before:
                await self._judge.ask(namespace, spec)
                await self._rest(namespace)
            armed[0] = True
            await self._judge.ask(namespace, workload.change)
            rest = asyncio.create_task(self._rest(namespace))
            dead = asyncio.create_task(died.wait())
            await asyncio.wait({rest, dead}, return_when=asyncio.FIRST_COMPLETED)
            for task in (rest, dead):
                task.cancel()
            await asyncio.gather(rest, dead, return_exceptions=True)
            engine.kill()
        written = seen[0]
        if plan.write:
            armed[0] = False
            async with self._engine(namespace, crash) as again:
                await self._rest(namespace)
                again.kill()
        end = await self._judge.end(namespace)
        path = path_of(NAMESPACES, None, namespace)
        await self._judge.session.call("DELETE", path, kind="Namespace")
        return end, written

    @contextlib.asynccontextmanager
    async def _engine(self, namespace: str, crash: Callable[[Point, Call], bool]):
        options = Options(
            access=self._access,
            identity="one",
            namespace=namespace,
            watched=(namespace,),
            nodes=False,
            http_port=0,
            metrics_port=0,
            workers=2,
        )
        engine = Engine(options, middlewares=(crashing(crash),))
        task = asyncio.create_task(engine.run())
        try:
            yield _Killable(task)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _rest(self, namespace: str) -> None:
        """Wait until the resource is at rest and stays so."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while not await self._judge.rested(namespace):
                    await asyncio.sleep(0.1)
                before = await self._judge.end(namespace)
                await asyncio.sleep(QUIET_S)
                if await self._judge.rested(namespace) and before == await self._judge.end(namespace):
                    return


class _Killable:
    """An engine that can be ended without its good-bye: the Lease stays held."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def kill(self) -> None:
        self._task.cancel()


def columns(plan: Plan, expected: str, found: str) -> str:
    """Return the plan and what differs between the two end states."""
    lines = difflib.unified_diff(
        expected.splitlines(), found.splitlines(), "reference", "plan", lineterm="", n=2
    )
    return "\n".join([msgspec.json.encode(plan).decode(), *list(lines)[:60]])


async def _all(
    runner: Runner, plans: list[Plan], side: int, check: Callable[[Plan, str], Awaitable[None]]
) -> None:
    gate = asyncio.Semaphore(side)

    async def one(plan: Plan) -> None:
        async with gate:
            try:
                end, _ = await runner.play(plan)
            except TimeoutError:
                end = f"no rest within {PATIENCE_S:g} s"
            await check(plan, end)

    await asyncio.gather(*(one(plan) for plan in plans))


async def campaign(access: Access, workloads: list[str], side: int) -> int:
    """Crash at every write of each workload; return how many plans ended elsewhere than the reference."""
    judge = Judge(access)
    await judge.session.open()
    broken = 0
    try:
        await judge.definition()
        runner = Runner(access, judge)
        for name in workloads:
            started = time.perf_counter()
            reference, writes = await runner.play(Plan(workload=name))
            plans = [Plan(workload=name, write=n, point=p) for n in range(1, writes + 1) for p in POINTS]
            failed: list[str] = []

            async def check(
                plan: Plan, end: str, reference: str = reference, failed: list[str] = failed
            ) -> None:
                if end != reference:
                    failed.append(columns(plan, reference, end))

            await _all(runner, plans, side, check)
            broken += len(failed)
            told = {"workload": name, "writes": writes, "plans": len(plans), "failed": len(failed)}
            print(json.dumps(told | {"seconds": round(time.perf_counter() - started, 1)}), flush=True)
            for text in failed[:3]:
                print(text, flush=True)
    finally:
        await judge.session.close()
    return broken


def main() -> int:
    """Run the campaign on $KUBECONFIG."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--side", type=int, default=8, help="plans side by side")
    given = parser.parse_args()
    names_ = given.workloads.split(",")
    unknown = sorted(set(names_) - WORKLOADS.keys())
    if unknown:
        parser.error(f"--workloads: unknown {unknown[0]}; known: {', '.join(WORKLOADS)}")
    return int(asyncio.run(campaign(from_kubeconfig(os.environ.get("KUBECONFIG")), names_, given.side)) > 0)


if __name__ == "__main__":
    sys.exit(main())
