"""Where the operator's benchmarks run: namespaces, an account, one operator at a time, and when it rests."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from math import nan
from pathlib import Path
from typing import NamedTuple

from bench.operator_process import Process
from tests.control_plane_campaign.judge import NAMESPACES, Judge, opened
from tests.kwok import every_pod

from qts_core.errors import ConfigError
from qts_operator.cluster import SYSTEMS, path_of, whole
from qts_operator.objects import BY_KIND, Kind
from qts_operator.session import Access, from_kubeconfig

HOME, ACCOUNT = "bench-operator", "qts-operator"
EACH = 10  # systems a namespace
SHARED = Path(__file__).parents[2] / "shared" / "cluster" / "cluster"
BINDINGS = Kind("ClusterRoleBinding", "rbac.authorization.k8s.io", "v1", "clusterrolebindings")
LIMIT_S, GONE_S, METRICS_S = 3600.0, 900, 30.0
World = Callable[[Judge, list[str]], AbstractAsyncContextManager[None]]


class Stand(NamedTuple):
    """Where systems may be made, and what begins the operator, ending the one that ran before."""

    access: Access
    judge: Judge
    systems: list[tuple[str, str]]
    begin: Callable[[], Process]


def kwok(judge: Judge, _: list[str]) -> AbstractAsyncContextManager[None]:
    """Let the nodes that kwok plays take every pod."""
    return every_pod(judge.api)


@asynccontextmanager
async def standing(purpose: str, count: int, world: World = kwok) -> AsyncIterator[Stand]:
    """Make places for `count` systems and an account for the operator; end and delete all afterwards.

    `world` is what makes workloads in these namespaces ready meanwhile.
    """
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

        async with opened(access) as judge:
            await judge.prepare([HOME, *spaces])
            try:
                await alone(judge)
                await account(judge, access, folder)
                async with world(judge, spaces):
                    try:
                        yield Stand(access, judge, systems, begin)
                    finally:
                        for last in running[-1:]:
                            last.stop()
            finally:
                await judge.leave([HOME, *spaces])


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


async def alone(judge: Judge) -> None:
    """Wait for the end of namespaces that are going: what is done to their objects would count here."""
    for _ in range(GONE_S):
        spaces = (await judge.api.list(NAMESPACES, None, {}, whole)).items
        if not any("deletionTimestamp" in space["metadata"] for space in spaces):
            break
        await asyncio.sleep(1.0)
    left = (await judge.api.list(SYSTEMS, None, {}, whole)).items
    if left:
        first = left[0]["metadata"]
        name = f"{first['namespace']}/{first['name']}"
        raise ConfigError(f"{len(left)} systems are there, {name} first; delete them")


async def quiet(operator: Process, seconds: float) -> None:
    """Wait until nothing was written for `seconds`; TimeoutError after LIMIT_S."""
    async with asyncio.timeout(LIMIT_S):
        written, since = -1, time.monotonic()
        while time.monotonic() - since < seconds or operator.sum("qts_leader") < 1.0:
            await asyncio.sleep(1.0)
            if operator.writes() != written:
                written, since = operator.writes(), time.monotonic()


async def started(operator: Process) -> None:
    """Wait until it leads and rests. TimeoutError after LIMIT_S."""
    await quiet(operator, 1.0)
    await idle(operator)


async def idle(operator: Process) -> None:
    """Wait until it takes less than a tenth of a core, without asking it. TimeoutError after LIMIT_S."""
    async with asyncio.timeout(LIMIT_S):
        spent = float("-inf")
        while operator.cpu_s() - spent > 0.2:
            spent = operator.cpu_s()
            await asyncio.sleep(2.0)


class Spent(NamedTuple):
    """Seconds of processor time."""

    operator: float
    server: float  # the API server


async def spent_s(judge: Judge, operator: Process) -> Spent:
    """Return what both have taken since they began; NaN where the API server does not tell."""
    ours, told = operator.cpu_s(), nan
    async with judge.session.stream("/metrics", {}, METRICS_S, verb="GET", kind="Any") as lines:
        async for line in lines:
            if line.startswith(b"process_cpu_seconds_total "):
                told = float(line.split()[1])
    return Spent(ours, told)


def cluster(*words: str) -> str:
    """Return what a command of the shared cluster prints."""
    return subprocess.run([str(SHARED), *words], capture_output=True, text=True, check=True).stdout


def is_shared() -> bool:
    """Tell whether $KUBECONFIG is of the cluster that `cluster` acts on."""
    folder = os.environ.get("CLUSTER_DIR") or Path(tempfile.gettempdir()) / "qts-cluster"
    given = os.environ.get("KUBECONFIG", "")
    return SHARED.exists() and Path(given).absolute() == Path(folder).absolute() / "kubeconfig"
