"""Faults of the line between a whole operator and the API server: whatever happens, its stores are as a list says.

The line is spoiled below TLS, so certificates are verified as ever. While a fault lasts, somebody else changes,
deletes and makes objects. What only a server can do (410, ERROR, 429, events twice) is in the tests of `watch.py`.
With QTS_TEST_FAULTS=all every fault is played, else each fourth.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from tests.control_plane_campaign.journal import MANAGED, OWNED
from tests.control_plane_campaign.judge import Judge, opened
from tests.control_plane_campaign.stage import Stage
from tests.faulty_line import Line

from qts_core import names
from qts_operator.cluster import PODS, READ_S, SYSTEMS, Cluster, path_of, whole
from qts_operator.main import Engine
from qts_operator.objects import BY_KIND
from qts_operator.session import from_kubeconfig

WITHIN_S, WINDOW_S, PACE = 35.0, 10.0, 1.0
EVERY = os.environ.get("QTS_TEST_FAULTS") == "all"
NAME = "desk"
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
WATCHED = ((SYSTEMS, {}), (PODS, MANAGED), *((kind, MANAGED) for kind in OWNED if kind.watched))


async def cut(line: Line) -> None:
    line.cut()


async def cut_often(line: Line) -> None:
    for _ in range(10):
        line.cut()
        await asyncio.sleep(0.3)


async def reset(line: Line) -> None:
    line.reset()


async def stall(line: Line) -> None:
    line.open.clear()
    await asyncio.sleep(4.0)
    line.open.set()


async def stall_and_cut(line: Line) -> None:
    """What was held is lost."""
    line.open.clear()
    await asyncio.sleep(4.0)
    line.cut()
    line.open.set()


async def half_open(line: Line) -> None:
    """Events go into nothing until somebody on the way resets what it does not know any more."""
    line.lose()
    await asyncio.sleep(4.0)
    line.reset()


async def half_open_for_ever(line: Line) -> None:
    """Nobody resets anything: a watch finds out by its own limit of silence."""
    line.lose()
    await asyncio.sleep(READ_S)


async def refuse(line: Line) -> None:
    line.refuse = True
    line.cut()
    await asyncio.sleep(4.0)
    line.refuse = False


async def mute(line: Line) -> None:
    """New connections are taken and never answered."""
    line.open.clear()
    line.cut()
    await asyncio.sleep(4.0)
    line.cut()
    line.open.set()


async def late(line: Line) -> None:
    line.delay_s = 1.0
    await asyncio.sleep(4.0)
    line.delay_s = 0.0


async def trickle(line: Line) -> None:
    line.piece, line.delay_s = 64, 0.02
    await asyncio.sleep(4.0)
    line.piece, line.delay_s = 65_536, 0.0


async def flip(line: Line) -> None:
    line.flip = True
    await asyncio.sleep(2.0)
    line.flip = False


def truncate(count: int) -> Callable[[Line], Awaitable[None]]:
    """Return the fault that so many bytes still come, which ends an event, or a handshake, in its middle."""

    async def fault(line: Line) -> None:
        line.left = count
        await asyncio.sleep(2.0)
        line.left = None
        line.cut()

    return fault


FAULTS: dict[str, Callable[[Line], Awaitable[None]]] = {
    "cut": cut,
    "ten cuts": cut_often,
    "reset": reset,
    "stalled": stall,
    "stalled, then cut": stall_and_cut,
    "half-open": half_open,
    "half-open for ever": half_open_for_ever,
    "refused": refuse,
    "never answered": mute,
    "late": late,
    "a trickle": trickle,
    "a bit flipped": flip,
} | {f"ended after {count} bytes": truncate(count) for count in (0, 1, 100, 700, 3000, 20_000)}


async def stir(judge: Judge, namespace: str, number: int) -> None:
    """Change the system, and make, change and delete objects of it as a stranger would."""
    await judge.patch(path_of(SYSTEMS, namespace, NAME), {"spec": {"config": {"systemSeed": number}}})
    for part in ("amos", "quasar"):
        path = path_of(BY_KIND["Deployment"], namespace, f"{NAME}-{part}")
        await judge.patch(path, {"metadata": {"annotations": {"example.com/number": str(number)}}})
    await judge.delete(BY_KIND["Service"], namespace, f"{NAME}-amos", {})
    labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY}
    for gone in (f"stranger-{number - 1}", f"stranger-{number - 2}"):
        await judge.delete(BY_KIND["ConfigMap"], namespace, gone, {})
    body = {"metadata": {"name": f"stranger-{number}", "labels": labels}}
    await judge.post(path_of(BY_KIND["ConfigMap"], namespace), body)


async def differences(judge: Judge, engine: Engine) -> list[str]:
    """Return which objects the engine's stores do not show as a list of this moment does."""
    lists = await asyncio.gather(*(judge.api.list(kind, None, params, whole) for kind, params in WATCHED))
    view, found = engine.view, []
    stores: dict[str, Any] = {SYSTEMS.name: view.systems, PODS.name: view.pods} | view.children
    for (kind, _), listing in zip(WATCHED, lists, strict=True):
        shown = {(i.namespace, i.name, i.uid, i.version) for i in stores[kind.name].all()}
        metadata = [live["metadata"] for live in listing.items]
        there = {(m["namespace"], m["name"], m["uid"], m["resourceVersion"]) for m in metadata}
        found += [f"{kind.name} {each}" for each in sorted(shown ^ there)]
    return found


@asynccontextmanager
async def operated(judge: Judge, namespace: str) -> AsyncIterator[tuple[Line, Engine]]:
    """Run a whole operator behind a line."""
    access = from_kubeconfig(os.environ["KUBECONFIG"])
    server = urlsplit(access.server)
    line = Line(str(server.hostname), int(server.port or 443))
    await line.start()
    behind = msgspec.structs.replace(access, server=f"https://{server.hostname}:{line.port}")
    stage = Stage(behind, judge, [namespace], namespace)
    stage.faults.install()
    try:
        await stage.start()
        yield line, stage.engine
        assert stage._task is not None
        assert not stage._task.done(), "the engine has ended"
        assert dict(stage.faults.found) == {}
    finally:
        await stage.kill()
        line.open.set()
        await line.close()


def opens(opened_s: dict[str, list[float]], since_s: float) -> int:
    """Return how often the busiest watch was opened since then."""
    return max((sum(at >= since_s for at in times) for times in opened_s.values()), default=0)


@pytest.mark.usefixtures("kube")
async def test_stores_are_as_a_list_says_after_every_fault(
    namespace: str, report: Callable[[str, float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_s: defaultdict[str, list[float]] = defaultdict(list)
    watch = Cluster.watch

    def counted(self: Cluster, kind: Any, scope: str | None, params: dict[str, str], *read: Any) -> Any:
        opened_s[kind.name].append(time.monotonic())
        return watch(self, kind, scope, params, *read)

    monkeypatch.setattr(Cluster, "watch", counted)
    slowest: dict[str, float] = {}
    rates: dict[str, float] = {}
    async with opened(from_kubeconfig(os.environ["KUBECONFIG"])) as judge:
        await judge.make(namespace, NAME, {"suspend": True})
        async with operated(judge, namespace) as (line, engine):
            for number, (name, fault) in enumerate(list(FAULTS.items())[:: 1 if EVERY else 4], 1):
                began_s = time.monotonic()
                spoiling = asyncio.create_task(fault(line))
                await stir(judge, namespace, number)
                await spoiling
                over_s = time.monotonic()
                while left := await differences(judge, engine):
                    assert time.monotonic() - over_s < WITHIN_S, f"{name}: {left}"
                    await asyncio.sleep(0.05)
                slowest[name] = time.monotonic() - over_s
                rates[name] = opens(opened_s, began_s) / max(WINDOW_S, time.monotonic() - began_s)
    last = max(slowest, key=lambda each: slowest[each])
    report("faults of the line", len(rates))
    report(
        f"s after the fault until every store was as a list says, slowest ({last}) (goal: at most {WITHIN_S:g})",
        round(slowest[last], 2),
    )
    most = max(rates, key=lambda each: rates[each])
    report(
        f"times a second that one watch was opened, over {WINDOW_S:g} s, most ({most}) (goal: at most 1)",
        round(rates[most], 2),
    )
    assert rates[most] <= 2 * PACE
