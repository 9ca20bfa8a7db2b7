"""A steady stream of changes of systems that are up: how long from a change to the write that it asks for.

A change names another label in `networkPolicy.metricsFrom`, so it asks for one write of one object and for
the status, and rolls nothing. Its time is taken by a second client that watches both sides: from when a watch
shows the change until a watch shows what the operator made of it. The operator's own histogram tells edges
of buckets.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from bench.harness import Row, quantile
from bench.operator_process import Process
from tests.control_plane_campaign.judge import Judge

from qts_core import names
from qts_core.clock import SystemClock
from qts_operator.cluster import SYSTEMS, path_of
from qts_operator.metrics import Metrics
from qts_operator.objects import BY_KIND
from qts_operator.watch import Reflector, Tools

LABEL = "kubernetes.io/metadata.name"
PATIENCE_S = 60.0
IN_STEP = 0.01  # share of the writes
HISTOGRAM, PASSES = "qts_event_to_write_seconds", "qts_reconcile_total"
Live = dict[str, Any]
Seen = dict[str, int]  # token of a change → when a watch showed it, ns


class Ear:
    """A sink that notes when each token was first shown."""

    def __init__(self, token_of: Callable[[Live], str]) -> None:
        self.seen: Seen = {}
        self._token_of = token_of

    def replace(self, items: list[Live], within: str | None = None) -> int:  # noqa: ARG002 - a sink's form
        """Take a full list; what it shows is as good as an event."""
        for live in items:
            self.put(live)
        return 0

    def put(self, live: Live) -> None:
        """Take an added or changed object."""
        token = self._token_of(live)
        if token:
            self.seen.setdefault(token, time.monotonic_ns())

    def remove(self, live: Live) -> None:
        """Take a deletion: nothing to note."""


def asked(live: Live) -> str:
    """Return the token that a system asks for."""
    policy = (live.get("spec") or {}).get("networkPolicy") or {}
    return str((policy.get("metricsFrom") or {}).get(LABEL, ""))


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
) -> tuple[Seen, Seen, int]:
    """Change systems in turn at `rate` a second.

    Returns when changes and writes were seen, and how many changes were sent. A change that the next one of
    its system overtakes has no write of its own.
    """
    changes, writes = Ear(asked), Ear(made)
    tools = Tools(SystemClock(), Random(0), Metrics())
    managed = {"labelSelector": f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"}
    ears = [
        Reflector(judge.api, SYSTEMS, changes, scope=(None, {}), tools=tools),
        Reflector(judge.api, BY_KIND["NetworkPolicy"], writes, scope=(None, managed), tools=tools),
    ]
    listening = [asyncio.create_task(ear.run()) for ear in ears]
    try:
        await asyncio.gather(*(ear.synced.wait() for ear in ears))
        last = await _change(judge, systems, rate, seconds)
        async with asyncio.timeout(PATIENCE_S):
            while not last <= writes.seen.keys():
                await asyncio.sleep(0.05)
    finally:
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
    return changes.seen, writes.seen, int(rate * seconds)


async def _change(judge: Judge, systems: list[tuple[str, str]], rate: float, seconds: float) -> set[str]:
    """Send each change at its time, those of one system in order; return the last token of each system."""
    began, last = time.monotonic(), {}
    order = {system: asyncio.Lock() for system in systems}  # a Lock is fair: who came first goes first

    async def send(system: tuple[str, str], token: str) -> None:
        async with order[system]:
            body = {"spec": {"networkPolicy": {"metricsFrom": {LABEL: token}}}}
            await judge.patch(path_of(SYSTEMS, *system), body)

    async with asyncio.TaskGroup() as open_:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            system = systems[number % len(systems)]
            last[system] = f"stream-{number}"
            open_.create_task(send(system, last[system]))
    return set(last.values())


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
    changes, writes, sent = await stream(judge, systems, rate, seconds)
    spent = operator.cpu_s() - began
    taken = [writes[token] - changes[token] for token in changes.keys() & writes.keys()]
    title = f"{rate:.0f} changes a second over {len(systems)} systems"
    return [
        *_told(title, taken, sent, floor_ms, goals),
        *_own(title, operator, before, goals),
        Row(f"{title}, writes each", round((operator.writes() - written) / sent, 2), "writes"),
        Row(f"{title}, passes each", round((operator.sum(PASSES) - passes) / sent, 2), "passes"),
        Row(f"{title}, CPU each", round(spent / sent * 1000, 2), "ms"),
    ]


def _told(
    title: str, taken: list[int], sent: int, floor_ms: float, goals: tuple[float, float]
) -> Iterator[Row]:
    for share, goal in zip((0.5, 0.99), goals, strict=True):
        ms = round(quantile(taken, share) / 1e6, 2) if taken else float("inf")
        yield Row(
            f"{title}, change seen to write seen p{share * 100:.0f}",
            ms,
            "ms",
            "bare apply p50",
            floor_ms,
            goal,
        )
    early = sum(ns < 0 for ns in taken) / max(1, len(taken))
    # watches that are out of step say nothing of times
    yield Row(
        f"{title}, writes shown before their changes",
        round(early, 4),
        "share",
        goal=IN_STEP,
        agrees=early <= IN_STEP,
    )
    yield Row(f"{title}, mean", round(statistics.fmean(taken) / 1e6, 2) if taken else float("inf"), "ms")
    yield Row(f"{title}, overtaken by the next change", round(1 - len(taken) / sent, 4), "share")


def _own(
    title: str, operator: Process, before: dict[float, float], goals: tuple[float, float]
) -> Iterator[Row]:
    for share, goal in zip((0.5, 0.99), goals, strict=True):
        ms = operator.quantile_ms(HISTOGRAM, share, before)
        yield Row(f"{title}, event to write by its own clock p{share * 100:.0f}", ms, "ms", goal=goal)
