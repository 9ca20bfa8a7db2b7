"""What a watch shows of a real API server, and when: how long it takes until a status says so, how many pods there are."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.control_plane_campaign.judge import opened

from qts_operator.objects import Kind
from qts_operator.session import from_kubeconfig

OPENED_S = 60.0  # on a busy machine
Tree = dict[str, Any]


class Moment(NamedTuple):
    """One event of a watch, and when it came (monotonic seconds)."""

    at_s: float
    event: str
    live: Tree


@contextmanager
def watching(kind: Kind, namespace: str, labels: str = "") -> Iterator[list[Moment]]:
    """Keep every event of a kind from now on, those of what is there already first, beside a test that blocks."""
    seen: list[Moment] = []
    begun, over = threading.Event(), threading.Event()

    async def keep() -> None:
        async with opened(from_kubeconfig(os.environ["KUBECONFIG"])) as judge:
            params = {"labelSelector": labels} if labels else {}
            async with judge.api.watch(kind, namespace, params) as events:
                begun.set()
                async for event in events:
                    if event["type"] != "BOOKMARK":
                        seen.append(Moment(time.monotonic(), event["type"], event["object"]))

    async def run() -> None:
        keeping = asyncio.create_task(keep())
        await asyncio.to_thread(over.wait)
        keeping.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="watching")
    thread.start()
    try:
        assert begun.wait(OPENED_S), f"no watch of {kind.name}"
        yield seen
    finally:
        over.set()
        thread.join()


def told(live: Tree, kind: str) -> tuple[str, str, str]:
    """Return status, reason and message of one condition of a resource."""
    for each in (live.get("status") or {}).get("conditions") or ():
        if each["type"] == kind:
            return each["status"], each["reason"], each["message"]
    return "", "", ""


def first(seen: Sequence[Moment], since_s: float, fact: Callable[[Tree], bool]) -> Moment | None:
    """Return the first event from a moment on that shows a fact."""
    return next((m for m in list(seen) if m.at_s >= since_s and m.event != "DELETED" and fact(m.live)), None)


def at_once(seen: Sequence[Moment]) -> tuple[int, int]:
    """Return how many objects there were at most at one time, and how many in all."""
    most, there, ever = 0, set[str](), set[str]()
    for moment in list(seen):
        uid = moment.live["metadata"]["uid"]
        ever.add(uid)
        (there.discard if moment.event == "DELETED" else there.add)(uid)
        most = max(most, len(there))
    return most, len(ever)
