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
from contextlib import asynccontextmanager, suppress
from math import inf, nan
from random import Random
from typing import Any, NamedTuple

import orjson
from bench.harness import Row, quantile
from bench.operator_process import Process, quantile_row, since
from bench.operator_stand import HOME, Stand, quiet
from tests.control_plane_campaign.journal import MANAGED
from tests.control_plane_campaign.judge import Judge, opened

from qts_core.clock import SystemClock
from qts_operator.cluster import SYSTEMS, path_of, whole
from qts_operator.metrics import Metrics
from qts_operator.objects import BY_KIND, Kind
from qts_operator.watch import Reflector, Tools

GOALS = {"p50": 10.0, "p99": 50.0}  # ms from an event to the write that it causes
GOAL_RATE = 100.0
SHARES = {"p50": 0.5, "p99": 0.99}
CLOCKS = ("change due to write seen", "event to write by its own clock")
BARE_S = 0.1  # between bare applies
LABEL = "kubernetes.io/metadata.name"
PATIENCE_S = 60.0
HISTOGRAM, PASSES = "qts_event_to_write_seconds", "qts_reconcile_total"
Live = dict[str, Any]
Seen = dict[str, int]  # token of a change → when, ns


class Sent(NamedTuple):
    """When each change was due, and when the API server had taken it: what waits in this client counts."""

    at: Seen
    taken: Seen


class Times(NamedTuple):
    """How long changes took until their writes were seen, and by the clock of who wrote them; ns."""

    seen: list[int]
    own: list[int]


NONE = Times([], [])


class Ear:
    """A sink that tells of each object that is shown."""

    def __init__(self, told: Callable[[Live], None]) -> None:
        self.put = told

    digest = staticmethod(whole)
    read = whole = staticmethod(orjson.loads)

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


def is_ready(live: Live) -> bool:
    """Tell whether a pod or a system says that it is Ready."""
    told = (live.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in told)


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

    async with heard(judge, BY_KIND["NetworkPolicy"], MANAGED, note):
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
            await judge.patch(path_of(SYSTEMS, *system), body)
            sent.taken[token] = time.monotonic_ns()

    async with asyncio.TaskGroup() as open_:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            system = systems[number % len(systems)]
            last[system] = f"stream-{run}-{number}"
            sent.at[last[system]] = int((began + number / rate) * 1e9)
            open_.create_task(send(system, last[system]))
    return sent, set(last.values())


async def bare_applies(judge: Judge, count: float, apart_s: float) -> list[int]:
    """Return the ns of bare server-side applies that change something, one after the other, at most `count`.

    They are the floor of a write; a cancellation ends them early, with what was measured.
    """
    taken: list[int] = []
    path = path_of(BY_KIND["ConfigMap"], HOME, "floor")
    headers = {"Content-Type": "application/apply-patch+yaml"}
    params = {"fieldManager": "bench", "force": "true"}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "floor"}}
    call = judge.session.call
    with suppress(asyncio.CancelledError):
        while len(taken) < count:
            began = time.monotonic_ns()
            data = {"n": f"{began}"}
            await call(
                "PATCH", path, kind="ConfigMap", params=params, body=body | {"data": data}, headers=headers
            )
            taken.append(time.monotonic_ns() - began)
            await asyncio.sleep(apart_s)
    return taken


async def swept(
    stand: Stand, operator: Process, rates: tuple[float, ...], seconds: float, floors: dict[float, Times]
) -> AsyncIterator[Row]:
    """Yield the rows of a stream at each rate, and the highest rate at which both goals hold, by each clock.

    `floors` are the times of a bare client at the same rates, where they were measured.
    """
    found: dict[float, list[Row]] = {}
    for rate in rates:
        found[rate] = await rows(
            stand.judge, operator, stand.systems, (rate, seconds), floors.get(rate, NONE)
        )
        for row in found[rate]:
            yield row
        await quiet(operator, 5.0)
    if len(rates) > 1:
        for row in highest(len(stand.systems), found):
            yield row


def highest(count: int, found: dict[float, list[Row]]) -> Iterator[Row]:
    """Yield the highest rate at which both goals hold, 0 for none, beside that of the bare client."""
    for clock in CLOCKS:
        asked = {rate: [r for r in told if clock in r.figure] for rate, told in found.items()}
        ours = [rate for rate, told in asked.items() if told and all(row.line()["ok"] for row in told)]
        floor = [rate for rate, told in asked.items() if told and all(_floor_holds(row) for row in told)]
        known = any(row.peer_value is not None for told in asked.values() for row in told)
        peer = {"peer": "a bare client", "peer_value": max(floor, default=0.0)} if known else {}
        title = f"{count} systems, highest of these rates at which both goals hold, {clock}"
        top = max(ours, default=0.0)
        yield Row(title, top, "a second", goal=GOAL_RATE, lower_is_better=False, **peer)


def _floor_holds(row: Row) -> bool:
    return row.peer_value is not None and row.goal is not None and row.peer_value <= row.goal


async def rows(
    judge: Judge,
    operator: Process,
    systems: list[tuple[str, str]],
    shape: tuple[float, float],
    floor: Times,
) -> list[Row]:
    """Measure a stream of `shape` (changes a second, seconds), and bare applies meanwhile."""
    rate, seconds = shape
    written, passes, before = operator.writes(), operator.sum(PASSES), operator.buckets(HISTOGRAM)
    began = operator.cpu_s()  # each of the figures above is a scrape, which costs the operator too
    title = f"{rate:g} changes a second over {len(systems)} systems"
    async with opened(judge.session.access) as aside:
        bare = asyncio.create_task(bare_applies(aside, inf, BARE_S))
        try:
            changes, writes = await stream(judge, systems, rate, seconds)
        except TimeoutError:
            why = f"not all were seen within {PATIENCE_S:.0f} s"
            return [Row(f"{title}, {c} p50", nan, "ms", goal=GOALS["p50"], unmeasured=why) for c in CLOCKS]
        finally:
            bare.cancel()
        meanwhile = await bare
    spent, sent = operator.cpu_s() - began, len(changes.at)
    own = since(operator.buckets(HISTOGRAM), before)
    return [
        *told(title, changes, writes, floor.seen),
        *(quantile_row(f"{title}, {CLOCKS[1]} {p}", own, SHARES[p], **beside(floor.own, p)) for p in SHARES),
        *(_ms(f"{title}, bare applies meanwhile {p}", meanwhile, SHARES[p]) for p in SHARES),
        Row(f"{title}, writes each", round((operator.writes() - written) / sent, 2), "writes"),
        Row(f"{title}, passes each", round((operator.sum(PASSES) - passes) / sent, 2), "passes"),
        Row(f"{title}, CPU each", round(spent / sent * 1000, 2), "ms"),
    ]


def beside(floor: list[int], name: str) -> dict[str, Any]:
    """Return the goal of a quantile, and the bare client's where it was measured."""
    told = {"peer": "a bare client", "peer_value": quantile(floor, SHARES[name]) / 1e6} if floor else {}
    return {"goal": GOALS[name]} | told


def waits(sent: Sent, writes: Seen) -> list[int]:
    """Return the ns from when each change was due to its write; a change that was overtaken has none."""
    return [writes[token] - at for token, at in sent.at.items() if token in writes]


def told(title: str, sent: Sent, writes: Seen, floor: list[int]) -> Iterator[Row]:
    """Yield what the times of changes and of their writes came to."""
    taken = waits(sent, writes)
    for name, share in SHARES.items():
        yield _ms(f"{title}, {CLOCKS[0]} {name}", taken, share, **beside(floor, name))
    answered = [sent.taken[token] - at for token, at in sent.at.items()]
    yield _ms(f"{title}, of which the API server took the change p50", answered, 0.5)
    overtaken = 1 - len(taken) / max(1, len(sent.at))
    yield Row(f"{title}, overtaken by the next change", round(overtaken, 4), "share")


def _ms(name: str, taken: list[int], share: float, **more: Any) -> Row:
    if not taken:
        return Row(name, nan, "ms", unmeasured="no change had a write of its own", **more)
    return Row(name, round(quantile(taken, share) / 1e6, 2), "ms", **more)
