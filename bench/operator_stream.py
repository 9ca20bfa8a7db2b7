"""A steady stream of changes of systems that are up: how long from a change to the write that it asks for.

A change names another label in `networkPolicy.metricsFrom`, so it asks for one write of one object and for
the status, and rolls nothing. Its time is taken by a second client: from when it sends the change until its
watch shows what the operator made of it. Both ends are this client's, so no late watch can put them in the
wrong order; what the API server needs for the change itself is in it, and told beside it. The operator's
own histogram tells edges of buckets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from math import nan
from random import Random
from typing import Any, NamedTuple

from bench.harness import QUANTILES, Row, quantile
from bench.operator_process import Process, quantile_row, since
from tests.control_plane_campaign.judge import Judge

from qts_core import names
from qts_core.clock import SystemClock
from qts_operator.cluster import SYSTEMS, path_of, whole
from qts_operator.metrics import Metrics
from qts_operator.objects import BY_KIND, Kind
from qts_operator.watch import Reflector, Tools

LABEL = "kubernetes.io/metadata.name"
PATIENCE_S = 60.0
HISTOGRAM, PASSES = "qts_event_to_write_seconds", "qts_reconcile_total"
Live = dict[str, Any]
Seen = dict[str, int]  # token of a change → when, ns


class Sent(NamedTuple):
    """When each change was sent, and when the API server had taken it."""

    at: Seen
    taken: Seen


class Ear:
    """A sink that tells of each object that is shown."""

    def __init__(self, told: Callable[[Live], None]) -> None:
        self.put = told

    digest = staticmethod(whole)

    def replace(self, items: list[Live], within: str | None = None) -> int:  # noqa: ARG002 - a sink's form
        """Take a full list; what it shows is as good as an event."""
        for live in items:
            self.put(live)
        return 0

    def remove(self, live: Live) -> None:
        """Take a deletion: nothing to tell."""


@asynccontextmanager
async def heard(
    judge: Judge, kind: Kind, params: dict[str, str], told: Callable[[Live], None]
) -> AsyncIterator[None]:
    """Tell of every object of a kind that is there, and of each change, as long as the block runs."""
    tools = Tools(SystemClock(), Random(), Metrics())
    reflector = Reflector(judge.api, kind, Ear(told), scope=(None, params), tools=tools)
    listening = asyncio.create_task(reflector.run())
    try:
        await reflector.synced.wait()
        yield
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


def made(live: Live) -> str:
    """Return the token that a NetworkPolicy carries."""
    for rule in (live.get("spec") or {}).get("ingress") or ():
        for source in rule.get("from") or ():
            labels = (source.get("namespaceSelector") or {}).get("matchLabels") or {}
            if str(labels.get(LABEL, "")).startswith("stream-"):
                return str(labels[LABEL])
    return ""


async def stream(
    judge: Judge, systems: list[tuple[str, str]], rate: float, seconds: float
) -> tuple[Sent, Seen]:
    """Change systems in turn at `rate` a second; return when changes were sent and their writes seen.

    A change that the next one of its system overtakes has no write of its own.
    """
    writes: Seen = {}

    def note(live: Live) -> None:
        if token := made(live):
            writes.setdefault(token, time.monotonic_ns())

    managed = {"labelSelector": f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"}
    async with heard(judge, BY_KIND["NetworkPolicy"], managed, note):
        sent, last = await _change(judge, systems, rate, seconds)
        async with asyncio.timeout(PATIENCE_S):
            while not last <= writes.keys():
                await asyncio.sleep(0.05)
    return sent, writes


async def _change(
    judge: Judge, systems: list[tuple[str, str]], rate: float, seconds: float
) -> tuple[Sent, set[str]]:
    """Send each change at its time, those of one system in order; return each system's last token too."""
    began, last, sent = time.monotonic(), {}, Sent({}, {})
    run = time.monotonic_ns() // 1_000_000  # a value that is there already is no change
    order = {system: asyncio.Lock() for system in systems}  # a Lock is fair: who came first goes first

    async def send(system: tuple[str, str], token: str) -> None:
        async with order[system]:
            body = {"spec": {"networkPolicy": {"metricsFrom": {LABEL: token}}}}
            sent.at[token] = time.monotonic_ns()
            await judge.patch(path_of(SYSTEMS, *system), body)
            sent.taken[token] = time.monotonic_ns()

    async with asyncio.TaskGroup() as open_:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            system = systems[number % len(systems)]
            last[system] = f"stream-{run}-{number}"
            open_.create_task(send(system, last[system]))
    return sent, set(last.values())


async def rows(
    judge: Judge,
    operator: Process,
    systems: list[tuple[str, str]],
    shape: tuple[float, float],
    floor_ms: float,
    goals: tuple[float, float],
) -> list[Row]:
    """Measure a stream of `shape` (changes a second, seconds); `goals` are those of p50 and p99 in ms."""
    rate, seconds = shape
    written, passes, before = operator.writes(), operator.sum(PASSES), operator.buckets(HISTOGRAM)
    began = operator.cpu_s()  # each of the figures above is a scrape, which costs the operator too
    title = f"{rate:.0f} changes a second over {len(systems)} systems"
    try:
        changes, writes = await stream(judge, systems, rate, seconds)
    except TimeoutError:
        name, why = f"{title}, change sent to write seen p50", f"not all were seen within {PATIENCE_S:.0f} s"
        return [Row(name, nan, "ms", goal=goals[0], unmeasured=why)]
    spent, sent = operator.cpu_s() - began, len(changes.at)
    own = since(operator.buckets(HISTOGRAM), before)
    return [
        *told(title, changes, writes, floor_ms, goals),
        *(
            quantile_row(f"{title}, event to write by its own clock {p}", own, QUANTILES[p], goal=goal)
            for p, goal in zip(("p50", "p99"), goals, strict=True)
        ),
        Row(f"{title}, writes each", round((operator.writes() - written) / sent, 2), "writes"),
        Row(f"{title}, passes each", round((operator.sum(PASSES) - passes) / sent, 2), "passes"),
        Row(f"{title}, CPU each", round(spent / sent * 1000, 2), "ms"),
    ]


def told(title: str, sent: Sent, writes: Seen, floor_ms: float, goals: tuple[float, float]) -> Iterator[Row]:
    """Yield what the times of changes and of their writes came to."""
    taken = [writes[token] - at for token, at in sent.at.items() if token in writes]
    for share, goal in zip((0.5, 0.99), goals, strict=True):
        name = f"{title}, change sent to write seen p{share * 100:.0f}"
        yield _ms(name, taken, share, peer="bare apply p50", peer_value=floor_ms, goal=goal)
    answered = [sent.taken[token] - at for token, at in sent.at.items()]
    yield _ms(f"{title}, of which the API server took the change p50", answered, 0.5)
    overtaken = 1 - len(taken) / max(1, len(sent.at))
    yield Row(f"{title}, overtaken by the next change", round(overtaken, 4), "share")


def _ms(name: str, taken: list[int], share: float, **more: Any) -> Row:
    if not taken:
        return Row(name, nan, "ms", unmeasured="no change had a write of its own", **more)
    return Row(name, round(quantile(taken, share) / 1e6, 2), "ms", **more)
