"""Ready after the last pod, and changes beside a poisoned resource: python -m bench.operator_waits --json.

Needs what `bench.operator` needs. --ready N makes N systems one after the other and times, at one client that
watches pods and systems, from the last pod's Ready to the system's. --good N changes N suspended systems one
after the other, beside a poisoned one (the API server refuses one of its objects) and beside the same one
while it is paused; what is timed is a change's way to the write that it asks for. Blocks of both go there
and back, and those without poison come twice: how far these two differ is how much the ratio says, and each
ratio comes with its 95 % interval, drawn from the turns anew. Each block unpauses the poisoned one again, so
it holds the first tries, which are the closest together.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from itertools import cycle, islice
from typing import Any

from bench.harness import Rounds, Row, command, quantile, told
from bench.operator_process import Process
from bench.operator_stand import standing, started
from bench.operator_stream import MANAGED, PASSES, heard, is_ready, stream
from bench.ratios import interval, pooled
from tests.control_plane_campaign.judge import Judge
from tests.control_plane_campaign.workloads import REFUSED, spec

from qts_core import names
from qts_core.errors import ConfigError
from qts_operator.cluster import PODS, SYSTEMS, path_of

APART_S = 2.0  # between systems that are made, so that none waits for another
RATE, BLOCK = 10.0, 100  # changes a second, changes in a block
TURNS = 12  # each of a block of every kind
KINDS = ("no poison", "beside a poisoned one", "no poison once more")
LIMIT_S = 600.0
READY_GOAL_S, SHARE_GOAL = 1.0, 1.1
Key = tuple[str, str]
Live = dict[str, Any]


class Moments:
    """When each pod was first seen Ready, and each system."""

    def __init__(self) -> None:
        self.pods: defaultdict[Key, dict[str, int]] = defaultdict(dict)
        self.systems: dict[Key, int] = {}

    def pod(self, live: Live) -> None:
        """Take what is seen of a pod."""
        metadata = live["metadata"]
        if is_ready(live):
            key = metadata["namespace"], metadata["labels"].get(names.LABEL_SYSTEM, "")
            self.pods[key].setdefault(metadata["uid"], time.monotonic_ns())

    def system(self, live: Live) -> None:
        """Take what is seen of a system."""
        if is_ready(live):
            self.systems.setdefault(
                (live["metadata"]["namespace"], live["metadata"]["name"]), time.monotonic_ns()
            )

    def waits(self) -> list[int]:
        """Return for each system the time from its last pod to itself, in ns."""
        return [at - max(self.pods[key].values()) for key, at in self.systems.items() if self.pods[key]]


async def ready_rows(judge: Judge, systems: list[Key]) -> AsyncIterator[Row]:
    """Yield how long after its last pod a system was Ready."""
    moments = Moments()
    async with (
        asyncio.timeout(LIMIT_S),
        heard(judge, PODS, MANAGED, moments.pod),
        heard(judge, SYSTEMS, {}, moments.system),
    ):
        for system in systems:
            await judge.make(*system, spec())
            await asyncio.sleep(APART_S)
        while not moments.systems.keys() >= set(systems):
            await asyncio.sleep(0.1)
    waits = moments.waits()
    for name, share in (("p50", 0.5), ("p99", 0.99), ("longest", 1.0)):
        title = f"{len(systems)} systems, last pod Ready to system Ready, {name}"
        yield Row(title, round(quantile(waits, share) / 1e9, 3), "s", goal=READY_GOAL_S)


async def poison_rows(judge: Judge, operator: Process, systems: list[Key], turns: int) -> AsyncIterator[Row]:
    """Yield how long a good system's change took, beside a poisoned resource and without it."""
    for system in systems:
        await judge.make(*system, spec(suspend=True))
    poisoned = systems[0][0], "poisoned"
    affinity = {"agents": {"amos": {"affinity": REFUSED}}, "suspend": True}
    await judge.make(*poisoned, affinity | {"paused": True})
    found: tuple[Rounds, ...] = tuple([] for _ in KINDS)
    tries, seconds, order = 0.0, 0.0, cycle(systems)
    for turn in range(turns):
        for kind in range(len(KINDS))[:: 1 if turn % 2 else -1]:
            poison = kind == 1
            await judge.patch(path_of(SYSTEMS, *poisoned), {"spec": {"paused": not poison}})
            await started(operator)
            refused, began_s = operator.sum(PASSES, result="refused"), time.monotonic()
            sent, seen = await stream(judge, list(islice(order, BLOCK)), RATE, BLOCK / RATE)
            found[kind].append([seen[token] - at for token, at in sent.at.items() if token in seen])
            if poison:
                tries += operator.sum(PASSES, result="refused") - refused
                seconds += time.monotonic() - began_s
    for row in beside(f"{len(systems)} good systems, change to write", found):
        yield row
    yield Row(
        f"tries of the poisoned resource in {seconds:.0f} s, {turns} times after its first", tries, "tries"
    )


def beside(title: str, found: tuple[Rounds, ...]) -> Iterator[Row]:
    """Yield quantiles of each kind, their ratios to the first kind, and between what each ratio lies."""
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        taken = [quantile(pooled(turns), share) / 1e6 for turns in found]
        for kind, value in zip(KINDS, taken, strict=True):
            yield Row(f"{title} {name}, {kind}", round(value, 1), "ms")
        for kind, value, turns, goal in zip(KINDS, taken, found, (None, SHARE_GOAL, None), strict=True):
            if kind == KINDS[0]:
                continue
            ratio, (low, high) = f"{title} {name}, {kind} over {KINDS[0]}", interval(turns, found[0], share)
            yield Row(ratio, round(value / taken[0], 3), "times", goal=goal)
            yield Row(f"{ratio}, 95 % from", round(low, 3), "times")
            yield Row(f"{ratio}, 95 % to", round(high, 3), "times")


async def run(options: argparse.Namespace) -> None:
    """Print every row."""
    async with standing("waits", options.ready + options.good) as (_, judge, systems, begin):
        operator = begin()
        await started(operator)
        ready, good = systems[: options.ready], systems[options.ready :]
        if ready:
            async for row in ready_rows(judge, ready):
                told([row], options.json)
        if good:
            async for row in poison_rows(judge, operator, good, options.turns):
                told([row], options.json)


def main() -> int:
    """Measure; 2 where there is no cluster to measure on."""
    parser = command(__doc__)
    parser.add_argument("--ready", type=int, default=0, help="systems that are made, with pods")
    parser.add_argument("--good", type=int, default=0, help="suspended systems beside a poisoned one")
    parser.add_argument("--turns", type=int, default=TURNS, help="blocks of each kind that --good measures")
    options = parser.parse_args()
    try:
        asyncio.run(run(options))
    except ConfigError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
