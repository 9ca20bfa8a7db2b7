"""Many systems on a real control plane: python -m bench.operator --json.

Needs $KUBECONFIG of a cluster with `cluster fake-nodes 20` and nobody else's operator on it. A thousand
systems in a hundred namespaces are asked for at 100/s; --systems and --smoke scale it. The operator is a
process of its own with a ServiceAccount, so `cluster writes --user ACCOUNT` counts what it writes. After the
rest streams of changes are sent, one for each of --rates (bench/operator_stream.py).

With --statuses there are no pods: a test controller says of workloads that they are ready, and Kubernetes'
own controllers, its scheduler and kwok are stopped meanwhile; a cluster where they cannot be must have none.
--floor N lets a bare client that decides nothing make as many systems before each of N turns of the operator
(bench/operator_floor.py); its time is the peer of the operator's.
"""
# ruff: noqa: A005 - the name is the command's

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, NamedTuple

import msgspec
from bench import operator_stream
from bench.harness import Row, command, told
from bench.operator_floor import instead
from bench.operator_process import Process, quantile_row
from bench.operator_stand import (
    ACCOUNT,
    HOME,
    LIMIT_S,
    SHARED,
    Spent,
    Stand,
    cluster,
    idle,
    kwok,
    quiet,
    spent_s,
    standing,
    started,
)
from bench.operator_statuses import controlled
from bench.operator_stream import Times
from tests.control_plane_campaign.judge import Judge
from tests.control_plane_campaign.workloads import spec

from qts_core.errors import ConfigError
from qts_operator.cluster import SYSTEMS

RATE, WARM = 100.0, 10  # systems asked for a second, systems that only warm up
READY_S = {"kwok": 240.0, "statuses": 120.0}  # what a thousand systems may take, by who makes pods ready
GOALS = {"cpu_ms": 30.0, "bytes": 60_000.0}
RSS_MB = ((1000, 120.0), (5000, 200.0), (10_000, 350.0))  # systems, and what the operator may take for them


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured."""

    systems: int
    silence_s: float
    rates: tuple[float, ...]  # changes a second, one stream each
    stream_s: float
    statuses: bool
    turns: int  # of the bare client

    @property
    def title(self) -> str:
        """Return how rows begin."""
        return f"{self.systems} systems" + (" without pods" if self.statuses else "")

    def standing(self) -> AbstractAsyncContextManager[Stand]:
        """Return where one turn runs."""
        return standing("bench", self.systems, controlled if self.statuses else kwok)


async def ask(judge: Judge, systems: list[tuple[str, str]]) -> None:
    """Create all systems at RATE."""
    began, open_ = time.monotonic(), set()
    for number, (namespace, name) in enumerate(systems):
        await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
        open_.add(asyncio.create_task(judge.make(namespace, name, spec())))
    await asyncio.gather(*open_)


async def all_ready(judge: Judge, count: int, begun: Awaitable[None]) -> float:
    """Do what makes systems, wait until so many are Ready, return the seconds; TimeoutError after LIMIT_S.

    It watches: to list them all each second would be most of what the API server does.
    """
    up: set[str] = set()
    enough = asyncio.Event()

    def note(live: dict[str, Any]) -> None:
        (up.add if operator_stream.is_ready(live) else up.discard)(live["metadata"]["uid"])
        if len(up) >= count:
            enough.set()

    async with asyncio.timeout(LIMIT_S), operator_stream.heard(judge, SYSTEMS, {}, note):
        began = time.monotonic()
        await begun
        await enough.wait()
        return round(time.monotonic() - began, 2)


def audited(since_s: float) -> float:
    """Return the operator's writes by the audit log, Leases and Events aside; NaN where there is none.

    What was written goes to standard error: a write at rest is a fault that somebody has to find.
    """
    if not SHARED.exists():
        return float("nan")
    told = cluster("writes", "--since", f"{since_s:.0f}", "--user", ACCOUNT).splitlines()[:-1]
    rows = [row for line in told if (row := line.split())[2] not in ("leases", "events")]
    for row in rows:
        print("written at rest:", *row, file=sys.stderr)
    return float(sum(int(n) for n, *_ in rows))


def created(asked: Asked, operator: Process, spent: Spent, floor_ms: float) -> Iterator[Row]:
    """Yield what it took of the operator, and of the API server, to bring all systems up."""
    title, count = asked.title, asked.systems
    yield Row(f"{title}, writes each", round(operator.writes() / count, 2), "writes")
    yield Row(f"{title}, passes each", round(operator.sum(operator_stream.PASSES) / count, 2), "passes")
    sent = operator.sum("qts_api_bytes_total", direction="out") / count
    yield Row(f"{title}, bytes sent each", round(sent), "bytes", goal=GOALS["bytes"])
    read = operator.sum("qts_api_bytes_total", direction="in") / count
    yield Row(f"{title}, bytes read each", round(read), "bytes")
    yield Row(f"{title}, CPU each", round(spent.operator / count * 1000, 1), "ms", goal=GOALS["cpu_ms"])
    yield Row(f"{title}, CPU of the API server each", round(spent.server / count * 1000, 1), "ms")
    counts, bare = operator.buckets(operator_stream.HISTOGRAM), "bare apply p50"
    for name, share in operator_stream.SHARES.items():
        goal = operator_stream.GOALS[name]
        row = f"{title}, event to write {name}"
        yield quantile_row(row, counts, share, peer=bare, peer_value=floor_ms, goal=goal)
    yield memory(title, operator, count)


def memory(title: str, operator: Process, count: int) -> Row:
    """Return what the operator takes now."""
    goal = next((mb for systems, mb in RSS_MB if count <= systems), None)
    return Row(f"{title}, memory", round(operator.rss_mb(), 1), "MB", goal=goal)


class Turns(NamedTuple):
    """Seconds until all were Ready, and the bare client's times at each rate."""

    ours: list[float]
    theirs: list[float]
    times: dict[float, Times]


def ready_row(asked: Asked, turns: Turns) -> Row:
    """Return the median of the operator's turns beside that of the bare client's."""
    title = f"{asked.title} asked for at {RATE:.0f}/s, first create to last Ready"
    goal = READY_S["statuses" if asked.statuses else "kwok"]
    took = statistics.median(turns.ours)
    if not turns.theirs:
        return Row(title, took, "s", goal=goal)
    return Row(title, took, "s", "a bare client", statistics.median(turns.theirs), goal=goal)


async def of_the_operator(asked: Asked) -> float:
    """Return the seconds of one turn of an operator that is not looked at further."""
    async with asked.standing() as stand:
        await started(stand.begin())
        return await all_ready(stand.judge, asked.systems, ask(stand.judge, stand.systems))


async def of_the_floor(asked: Asked) -> tuple[float, dict[float, Times]]:
    """Return the seconds of one turn of the bare client, and its times at each rate."""
    times, systems = {}, asked.systems
    async with asked.standing() as stand, instead(stand.access, stand.judge, stand.systems, HOME) as floor:
        seconds = await all_ready(stand.judge, systems, ask(stand.judge, stand.systems))
        for rate in asked.rates:
            floor.own.clear()
            with suppress(TimeoutError):  # a rate that it cannot take has no times
                sent, seen = await operator_stream.stream(stand.judge, stand.systems, rate, asked.stream_s)
                times[rate] = Times(operator_stream.waits(sent, seen), [*floor.own])
    return seconds, times


async def in_turns(asked: Asked) -> Turns:
    """Take turns there and back, after a few systems that warm the API server up.

    The operator's last turn is left: it is looked at further.
    """
    alone = msgspec.structs.replace(asked, rates=())
    found = Turns([], [], {})
    if asked.turns:
        await of_the_floor(msgspec.structs.replace(alone, systems=min(WARM, asked.systems)))
    for left in range(asked.turns, 0, -1):
        if left > 1 and left % 2 == 0:
            found.ours.append(await of_the_operator(asked))
        seconds, times = await of_the_floor(asked if left == 1 else alone)
        found.theirs.append(seconds)
        found.times.update(times)
        if left > 1 and left % 2:
            found.ours.append(await of_the_operator(asked))
    return found


async def rows(asked: Asked) -> AsyncIterator[Row]:
    """Yield every figure."""
    turns = await in_turns(asked)
    async with asked.standing() as stand:
        operator = stand.begin()
        await started(operator)
        before = await spent_s(stand.judge, operator)
        turns.ours.append(await all_ready(stand.judge, asked.systems, ask(stand.judge, stand.systems)))
        yield ready_row(asked, turns)
        await idle(operator)  # each look at its metrics costs it milliseconds, which are ours
        after = await spent_s(stand.judge, operator)
        spent = Spent(*(late - early for late, early in zip(after, before, strict=True)))
        await quiet(operator, 5.0)
        floor_ms = statistics.median(await operator_stream.bare_applies(stand.judge, 30, 0.0)) / 1e6
        for row in created(asked, operator, spent, floor_ms):
            yield row
        async for row in at_rest(asked, operator):
            yield row
        shape = asked.rates, asked.stream_s
        async for row in operator_stream.swept(stand, operator, *shape, turns.times):
            yield row
        await quiet(operator, 5.0)  # else the next one would write what this one had not come to
        operator = stand.begin()
        began = time.monotonic()
        await quiet(operator, 15.0)
        told = max(float(operator.writes()), audited(time.monotonic() - began))
        yield Row(f"{asked.title}, writes by a restart", told, "writes", goal=0.0, agrees=told == 0)
        yield memory(f"{asked.title}, after a restart", operator, asked.systems)


async def at_rest(asked: Asked, operator: Process) -> AsyncIterator[Row]:
    """Yield what an operator does and takes while nothing happens."""
    written, spent = operator.writes(), operator.cpu_s()
    await asyncio.sleep(asked.silence_s)
    told = max(operator.writes() - written, audited(asked.silence_s))
    title = f"{asked.title}, writes in {asked.silence_s:.0f} s of rest"
    yield Row(title, told, "writes", goal=0.0, agrees=told == 0)
    yield memory(f"{asked.title}, after the rest", operator, asked.systems)
    resting = (operator.cpu_s() - spent) / asked.silence_s * 1000
    yield Row(f"{asked.title} at rest, CPU a second", round(resting, 2), "ms")


async def run(asked: Asked, as_json: bool) -> bool:
    """Print every row; tell whether all that must agree does."""
    good = True
    async for row in rows(asked):
        good &= told([row], as_json) == 0
    return good


def read(argv: list[str] | None = None) -> tuple[Asked, bool]:
    """Read the command line: what is measured, and whether rows are JSON."""
    parser = command(__doc__, "50 systems and 60 s of rest")
    parser.add_argument("--systems", type=int, default=1000)
    parser.add_argument("--silence", type=float, default=600.0, help="seconds of rest")
    parser.add_argument("--rates", default="100", help="changes a second of each stream, with commas")
    parser.add_argument("--stream", type=float, default=20.0, help="seconds of each stream; 0: none")
    parser.add_argument("--statuses", action="store_true", help="no pods: a test controller sets statuses")
    parser.add_argument("--floor", type=int, default=0, help="turns of a bare client; 0: none")
    given = parser.parse_args(argv)
    try:
        rates = tuple(sorted(float(rate) for rate in given.rates.split(",")))
    except ValueError:
        parser.error(f"--rates: {given.rates!r}; give numbers with commas, such as 10,50,100")
    least = {"--rates": rates[0], "--systems": given.systems, "--silence": given.silence}
    for name, value in least.items():
        if not 0 < value < float("inf"):
            parser.error(f"{name}: {value:g}; give a number above 0")
    if given.floor < 0 or not 0 <= given.stream < float("inf"):
        parser.error("--floor and --stream: give 0 or more")
    asked = Asked(
        systems=50 if given.smoke else given.systems,
        silence_s=60.0 if given.smoke else given.silence,
        rates=rates if given.stream else (),
        stream_s=given.stream,
        statuses=given.statuses,
        turns=given.floor,
    )
    return asked, given.json


def main() -> int:
    """Measure; 1 when something was written at rest, 2 where there is no cluster to measure on."""
    asked, as_json = read()
    try:
        return 0 if asyncio.run(run(asked, as_json)) else 1
    except ConfigError as error:
        print(f"bench.operator: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
