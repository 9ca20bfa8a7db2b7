"""Many systems on a real control plane with nodes that kwok plays: python -m bench.operator --json.

Needs $KUBECONFIG of a cluster with `cluster fake-nodes 20` and nobody else's operator on it. A thousand
systems in a hundred namespaces are asked for at 100/s; --systems and --smoke scale it. The operator is a
process of its own with a ServiceAccount, so `cluster writes --user qts-operator` counts what it writes. After
the rest a steady stream of changes is sent (bench/operator_stream.py).
"""
# ruff: noqa: A005 - the name is the command's

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench import operator_stream
from bench.harness import Row, told
from bench.operator_process import Process, quantile_row
from tests.control_plane_campaign.judge import Judge, opened
from tests.control_plane_campaign.workloads import spec
from tests.kwok import every_pod

from qts_core.errors import ConfigError
from qts_operator.cluster import SYSTEMS, path_of, whole
from qts_operator.objects import BY_KIND, Kind
from qts_operator.session import Access, from_kubeconfig

HOME, ACCOUNT = "bench-operator", "qts-operator"
EACH, RATE = 10, 100.0  # systems a namespace, systems asked for a second
SHARED = Path(__file__).parents[2] / "shared" / "cluster" / "cluster"
BINDINGS = Kind("ClusterRoleBinding", "rbac.authorization.k8s.io", "v1", "clusterrolebindings")
GOALS = {"ready_s": 240.0, "cpu_ms": 30.0, "bytes": 60_000.0, "p50_ms": 10.0, "p99_ms": 50.0}
RSS_MB = ((1000, 120.0), (5000, 200.0), (10_000, 350.0))  # systems, and what the operator may take for them
LIMIT_S, GONE_S = 3600.0, 120


async def account(judge: Judge, access: Access, folder: Path) -> None:
    """Make the operator's ServiceAccount, and files with its token and the server's certificate."""
    call = judge.session.call
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": HOME}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    binding = {"metadata": {"name": HOME}, "subjects": [subject], "roleRef": role}
    await judge.post(path_of(BY_KIND["ServiceAccount"], HOME), {"metadata": {"name": ACCOUNT}})
    await judge.post(path_of(BINDINGS, None), binding)
    path = path_of(BY_KIND["ServiceAccount"], HOME, ACCOUNT) + "/token"
    told = await call("POST", path, kind="Token", body={"spec": {"expirationSeconds": 7200}})
    (folder / "token").write_text(told["status"]["token"])
    (folder / "ca.crt").write_bytes(Path(str(access.ca_file)).read_bytes())


async def ask(judge: Judge, systems: list[tuple[str, str]]) -> None:
    """Create all systems at RATE."""
    began, open_ = time.monotonic(), set()
    for number, (namespace, name) in enumerate(systems):
        await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
        open_.add(asyncio.create_task(judge.make(namespace, name, spec())))
    await asyncio.gather(*open_)


async def all_ready(judge: Judge, count: int, begun: Awaitable[None]) -> None:
    """Do what makes systems and wait until so many are Ready; TimeoutError after LIMIT_S.

    It watches: to list them all each second would be most of what the API server does.
    """
    up: set[str] = set()
    enough = asyncio.Event()

    def note(live: dict[str, Any]) -> None:
        (up.add if is_ready(live) else up.discard)(live["metadata"]["uid"])
        if len(up) >= count:
            enough.set()

    async with asyncio.timeout(LIMIT_S), operator_stream.heard(judge, SYSTEMS, {}, note):
        await begun
        await enough.wait()


def is_ready(live: dict[str, Any]) -> bool:
    """Tell whether a pod or a system says that it is Ready."""
    told = (live.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in told)


async def quiet(operator: Process, seconds: float) -> None:
    """Wait until nothing was written for `seconds`; TimeoutError after LIMIT_S."""
    async with asyncio.timeout(LIMIT_S):
        written, since = -1, time.monotonic()
        while time.monotonic() - since < seconds or operator.sum("qts_leader") < 1.0:
            await asyncio.sleep(1.0)
            if operator.writes() != written:
                written, since = operator.writes(), time.monotonic()


async def started(operator: Process) -> None:
    """Wait until it leads and rests: below a tenth of a core. TimeoutError after LIMIT_S."""
    await quiet(operator, 1.0)
    async with asyncio.timeout(LIMIT_S):
        spent = float("-inf")
        while operator.cpu_s() - spent > 0.2:
            spent = operator.cpu_s()
            await asyncio.sleep(2.0)


def audited(since_s: float) -> float:
    """Return the operator's writes by the audit log, Leases and Events aside; NaN where there is none.

    What was written goes to standard error: a write at rest is a fault that somebody has to find.
    """
    if not SHARED.exists():
        return float("nan")
    command = [str(SHARED), "writes", "--since", f"{since_s:.0f}", "--user", ACCOUNT]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[:-1]
    rows = [row for line in told if (row := line.split())[2] not in ("leases", "events")]
    for row in rows:
        print("written at rest:", *row, file=sys.stderr)
    return float(sum(int(n) for n, *_ in rows))


async def bare_apply_ms(judge: Judge, namespace: str) -> float:
    """Return the median of one bare server-side apply that changes something: the floor of a write."""
    taken = []
    path = path_of(BY_KIND["ConfigMap"], namespace, "floor")
    for number in range(30):
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "floor"},
            "data": {"n": f"{number}"},
        }
        began = time.perf_counter()
        headers = {"Content-Type": "application/apply-patch+yaml"}
        params = {"fieldManager": "bench", "force": "true"}
        await judge.session.call("PATCH", path, kind="ConfigMap", params=params, body=body, headers=headers)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


def created(operator: Process, count: int, seconds: float, before_s: float, floor_ms: float) -> Iterator[Row]:
    """Yield what it took to bring all systems up."""
    title = f"{count} systems"
    yield Row(
        f"{title} asked for at {RATE:.0f}/s, first create to last Ready", seconds, "s", goal=GOALS["ready_s"]
    )
    yield Row(f"{title}, writes each", round(operator.writes() / count, 2), "writes")
    yield Row(f"{title}, passes each", round(operator.sum(operator_stream.PASSES) / count, 2), "passes")
    sent = operator.sum("qts_api_bytes_total", direction="out") / count
    yield Row(f"{title}, bytes sent each", round(sent), "bytes", goal=GOALS["bytes"])
    yield Row(
        f"{title}, bytes read each",
        round(operator.sum("qts_api_bytes_total", direction="in") / count),
        "bytes",
    )
    spent = (operator.cpu_s() - before_s) / count * 1000
    yield Row(f"{title}, CPU each", round(spent, 1), "ms", goal=GOALS["cpu_ms"])
    for share, goal in ((0.5, GOALS["p50_ms"]), (0.99, GOALS["p99_ms"])):
        name = f"{title}, event to write p{share * 100:.0f}"
        counts, floor = operator.buckets(operator_stream.HISTOGRAM), "bare apply p50"
        yield quantile_row(name, counts, share, peer=floor, peer_value=floor_ms, goal=goal)
    yield memory(title, operator, count)


def memory(title: str, operator: Process, count: int) -> Row:
    """Return what the operator takes now."""
    goal = next((mb for systems, mb in RSS_MB if count <= systems), None)
    return Row(f"{title}, memory", round(operator.rss_mb(), 1), "MB", goal=goal)


class Stand(NamedTuple):
    """Where systems may be made, and what begins the operator, ending the one that ran before."""

    judge: Judge
    systems: list[tuple[str, str]]
    begin: Callable[[], Process]


async def alone(judge: Judge) -> None:
    """Wait for the end of systems whose namespaces are going: what is tried for them would count here."""
    for _ in range(GONE_S):
        left = (await judge.api.list(SYSTEMS, None, {}, whole)).items
        if not left:
            return
        await asyncio.sleep(1.0)
    first = left[0]["metadata"]
    name = f"{first['namespace']}/{first['name']}"
    raise ConfigError(f"{len(left)} systems are there, {name} first; delete them")


@asynccontextmanager
async def standing(purpose: str, count: int) -> AsyncIterator[Stand]:
    """Make places for `count` systems and an account for the operator; end and delete all afterwards."""
    access = from_kubeconfig(os.environ.get("KUBECONFIG"))
    # namespaces of an earlier run may still be going
    run = f"{time.time_ns() // 1_000_000_000 % 100_000:05d}"
    spaces = [f"{purpose}-{run}-{n}" for n in range((count + EACH - 1) // EACH)]
    systems = [(spaces[n // EACH], f"desk-{n % EACH}") for n in range(count)]
    with tempfile.TemporaryDirectory() as given:
        folder, running = Path(given), list[Process]()

        def begin() -> Process:
            if running:
                running[-1].stop()
            running.append(Process(access, folder, len(running) + 1, HOME))
            return running[-1]

        async with opened(access) as judge, every_pod(judge.api):
            await judge.prepare([HOME, *spaces])
            await alone(judge)
            await account(judge, access, folder)
            try:
                yield Stand(judge, systems, begin)
            finally:
                for last in running[-1:]:
                    last.stop()
                await judge.leave([HOME, *spaces])


async def rows(count: int, silence_s: float, shape: tuple[float, float]) -> AsyncIterator[Row]:
    """Yield every figure; `shape`: changes a second and seconds of the steady stream."""
    async with standing("bench", count) as (judge, systems, begin):
        operator = begin()
        await started(operator)
        began, before_s = time.monotonic(), operator.cpu_s()
        await all_ready(judge, count, ask(judge, systems))
        seconds = round(time.monotonic() - began, 1)
        await quiet(operator, 5.0)
        floor_ms = await bare_apply_ms(judge, HOME)
        for row in created(operator, count, seconds, before_s, floor_ms):
            yield row
        written, spent = operator.writes(), operator.cpu_s()
        await asyncio.sleep(silence_s)
        told = max(operator.writes() - written, audited(silence_s))
        title = f"{count} systems, writes in {silence_s:.0f} s of rest"
        yield Row(title, told, "writes", goal=0.0, agrees=told == 0)
        yield memory(f"{count} systems, after the rest", operator, count)
        idle = (operator.cpu_s() - spent) / silence_s * 1000
        yield Row(f"{count} systems at rest, CPU a second", round(idle, 2), "ms")
        goals = GOALS["p50_ms"], GOALS["p99_ms"]
        if shape[1] > 0:
            for row in await operator_stream.rows(judge, operator, systems, shape, floor_ms, goals):
                yield row
        await quiet(operator, 5.0)  # else the next one would write what this one had not come to
        operator = begin()
        began = time.monotonic()
        await quiet(operator, 15.0)
        told = max(float(operator.writes()), audited(time.monotonic() - began))
        yield Row(f"{count} systems, writes by a restart", told, "writes", goal=0.0, agrees=told == 0)
        yield memory(f"{count} systems, after a restart", operator, count)


async def run(options: argparse.Namespace) -> bool:
    """Print every row; tell whether all that must agree does."""
    count = 50 if options.smoke else options.systems
    silence_s = 60.0 if options.smoke else options.silence
    good = True
    async for row in rows(count, silence_s, (options.rate, options.stream)):
        good &= told([row], options.json) == 0
    return good


def main() -> int:
    """Measure; 1 when something was written at rest, 2 where there is no cluster to measure on."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--smoke", action="store_true", help="50 systems and 60 s of rest")
    parser.add_argument("--systems", type=int, default=1000)
    parser.add_argument("--silence", type=float, default=600.0, help="seconds of rest")
    parser.add_argument("--rate", type=float, default=100.0, help="changes a second of the steady stream")
    parser.add_argument("--stream", type=float, default=20.0, help="seconds of it; 0: none")
    options = parser.parse_args()
    try:
        return 0 if asyncio.run(run(options)) else 1
    except ConfigError as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
