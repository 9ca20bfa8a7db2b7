"""Hours of traffic with a random fault every few seconds: `python -m tests.campaign.soak --minutes 30`.

Prints a line at each fault, and at the end one JSON object: books, growth of memory and of queues.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from bench.harness import resident
from tests.campaign.campaign import BESIDE, Trial, free
from tests.campaign.schedule import KINDS, NAMES, Schedule, fault
from tests.processes.stand import leave_nothing

from qts_core.allocator import keep_threshold

BASE_RATE = 168.0  # messages a second that Traffic says with factor 1
REMEMBERED = 10_000  # ids kept of each process: few, so that the soak's own tables are soon full
FLAT_MIB_PER_HOUR = 3.0  # of 100: what a table that a restart empties and traffic fills can make of no growth
WAITING = 200  # messages: faults come by chance, so one quarter has more of them than another
SAMPLES = 8  # of memory, less than this many tell nothing about a slope


class Sample(msgspec.Struct, frozen=True):
    """What the process looked like at one moment."""

    at_s: float
    rss_mib: float
    blocks: int  # of Python's allocator
    waiting: int  # messages in all queues
    spooled: int  # bytes in all spool files


class Soak(Trial):
    """A trial without an end of its own: one random fault after another."""

    def __init__(self, folder: Path, ports: tuple[int, ...], rate: float, every_s: float, seed: int) -> None:
        super().__init__(Schedule(seed, 0.0, (), dict.fromkeys(NAMES, 0.0)), folder, ports)
        self.traffic._factor = rate / BASE_RATE
        self._every_s, self.minutes = every_s, 0.0
        self.samples: list[Sample] = []
        self.faults = 0
        self._gaps: dict[str, int] = {}

    async def _play(self) -> None:
        over, began = asyncio.Event(), time.monotonic()
        speakers = self.traffic.start(over)
        draw = random.Random(self.schedule.seed)
        # an emptied store beside a restarted producer loses for good what nobody had read: not both
        kinds = tuple(kind for kind in KINDS if not kind.endswith("emptied"))
        while time.monotonic() - began < 60 * self.minutes:
            chosen = fault(draw, draw.choice(kinds), 0.0, 0.5 * self._every_s)
            self.faults += 1
            print(f"{time.monotonic() - began:8.1f} s: {chosen}", flush=True)
            started = time.monotonic()
            await self._happen(chosen)
            await asyncio.sleep(max(0.0, self._every_s - (time.monotonic() - started)))
            self._note(time.monotonic() - began)
            self._tell_gaps()
        over.set()
        await asyncio.gather(*speakers)

    def _never_reached(self) -> dict[str, int]:
        """Ids are not kept for hours; what had to arrive is judged by the books."""
        return {}

    def _tell_gaps(self) -> None:
        """Print which lanes have lost how much since the last time."""
        now = {
            f"{bus.name} of {sender} {lane}": flow.track.gap
            for bus in self.stand.buses.values()
            for (sender, _, lane), flow in bus._desk.book.into.items()
        }
        grown = {
            key: gap - self._gaps.get(key, 0) for key, gap in now.items() if gap > self._gaps.get(key, 0)
        }
        self._gaps = now
        if grown:
            print(" " * 12 + ", ".join(f"{key}: {n} lost" for key, n in grown.items()), flush=True)

    def _note(self, at_s: float) -> None:
        """Take a sample; forget the oldest ids."""
        self.traffic.stored.clear()
        for seen in self.traffic.applied.values():
            for key in list(seen)[: max(0, len(seen) - REMEMBERED)]:
                del seen[key]
        latest = {n: max(k for k in self.traffic.applied if k[0] == n) for n in self.stand.buses}
        for key in [k for k in self.traffic.applied if latest.get(k[0]) != k]:
            del self.traffic.applied[key]
        buses = self.stand.buses.values()
        waiting = sum(b.outgoing.queued + len(b.incoming.dispatch) for b in buses)
        spooled = sum(len(b.durables.spool) for b in buses)
        gc.collect()
        self.samples.append(
            Sample(round(at_s, 1), resident() / 2**20, sys.getallocatedblocks(), waiting, spooled)
        )


def slope(samples: list[Sample]) -> float | None:
    """Return MiB an hour: the median of the slopes of all pairs in the second half (Sen 1968).

    By then tables have their final size; a median does not take one burst near the end for a trend.
    """
    half = samples[len(samples) // 2 :]
    if len(half) < SAMPLES:
        return None
    pairs = itertools.combinations(half, 2)
    return 3600 * statistics.median((b.rss_mib - a.rss_mib) / (b.at_s - a.at_s) for a, b in pairs)


def quarters(values: list[int]) -> list[float]:
    """Return the means of the four quarters of `values`, of which there are four at least."""
    ends = [len(values) * n // 4 for n in range(5)]
    return [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(ends)]


def grown(slope_mib_per_hour: float | None, waiting_by_quarter: list[float]) -> list[str]:
    """Return what grew over the run: memory (None: too short to tell), or what waits in the queues."""
    found = []
    if slope_mib_per_hour is not None and slope_mib_per_hour > FLAT_MIB_PER_HOUR:
        found.append(
            f"memory grows by {slope_mib_per_hour:.1f} MiB an hour, at most {FLAT_MIB_PER_HOUR} are noise"
        )
    first, *_, last = waiting_by_quarter
    if last > 2 * first + WAITING:
        found.append(f"{last:.0f} messages wait in the last quarter, {first:.0f} in the first")
    return found


async def soak(minutes: float, rate: float, every_s: float, seed: int) -> dict[str, object]:
    """Run, heal, close, add up; return what is printed."""
    with tempfile.TemporaryDirectory(prefix="qts-soak-") as name:
        trial = Soak(Path(name), await free(BESIDE * 4), rate, every_s, seed)
        trial.minutes = minutes
        outcome = await trial.run()
    waiting = [s.waiting for s in trial.samples]
    grows, piles = slope(trial.samples), quarters(waiting)
    problems = [*outcome.problems, *grown(grows, piles)]
    return {
        "minutes": minutes,
        "rate": rate,
        "faults": trial.faults,
        "ok": not problems,
        **msgspec.to_builtins(outcome),
        "problems": problems,
        "recoveries_s": {kind: max(found) for kind, found in outcome.recoveries_s.items()},
        "rss_mib_first_last": [trial.samples[0].rss_mib, trial.samples[-1].rss_mib],
        "rss_mib_by_tenth": [s.rss_mib for s in trial.samples[:: max(1, len(trial.samples) // 10)]],
        "blocks_first_last": [trial.samples[0].blocks, trial.samples[-1].blocks],
        "rss_slope_mib_per_hour": grows,
        "waiting_most": max(waiting),
        "waiting_last": waiting[-1],
        "waiting_by_quarter": [round(mean) for mean in piles],
        "spooled_last_bytes": trial.samples[-1].spooled,
        "handled_per_s": trial.traffic.handled / (60 * minutes),
    }


def main(arguments: list[str]) -> int:
    """Print the result; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.soak")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=2000.0, help="messages a second")
    parser.add_argument("--every", type=float, default=10.0, help="seconds from fault to fault")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.CRITICAL + 1)
    keep_threshold()  # as every process of the system does
    result = asyncio.run(soak(chosen.minutes, chosen.rate, chosen.every, chosen.seed))
    print(json.dumps(result), flush=True)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    code = main(sys.argv[1:])
    leave_nothing()
    os._exit(code)
