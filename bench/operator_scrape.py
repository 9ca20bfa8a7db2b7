"""What a scrape of ten thousand systems takes and leaves behind: python -m bench.operator_scrape --json.

A process of its own, set up as the operator's, holds the metrics of so many systems and is scraped a few
times: in pieces, as the operator answers, and as the client library makes the text of lists of samples. Both
texts are equal.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from bench.harness import Row, run
from bench.operator_process import rss_mb
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

from qts_core.allocator import give_back, one_heap
from qts_operator.metrics import Metrics
from qts_operator.serving import beside

SYSTEMS, SCRAPES = 10_000, 4
CONDITIONS = dict.fromkeys(
    ("Ready", "Available", "Progressing", "Degraded", "SpecApplied", "GpuReady"), "True"
)
AGENTS = {"quasar": 1, "qbmia": 1}


class Taken(NamedTuple):
    """What scrapes took."""

    most_mb: float  # beyond what the process had before
    left_mb: float  # once free pages were given back
    same: bool  # whether the pieces are the library's text


class Whole:
    """A registry whose families have all their samples, as those of the library do."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        for family in self._registry.collect():
            family.samples = list(family.samples)
            yield family


def scraped(systems: int, *, whole: bool) -> Taken:
    """Scrape a few times; `whole`: all at once."""
    one_heap()
    metrics, pid = Metrics(), os.getpid()
    metrics.registry.unregister(metrics.process)  # its values move
    metrics.systems.now = lambda: 7.25
    for number in range(systems):
        metrics.systems.tell(f"team-{number:08d}", "desk-0", CONDITIONS, moving=None, gpus=AGENTS)
    gc.collect()
    give_back()
    Path("/proc/self/clear_refs").write_text("5")  # the most ever is that from now on
    before = rss_mb(pid)
    for _ in range(SCRAPES):
        asyncio.run(_scrape(metrics, whole=whole))
        give_back()
    took = rss_mb(pid, "VmHWM") - before, rss_mb(pid) - before
    return Taken(*took, b"".join(metrics.exposition("")[0]) == generate_latest(Whole(metrics.registry)))


async def _scrape(metrics: Metrics, *, whole: bool) -> None:
    if whole:
        await asyncio.to_thread(generate_latest, Whole(metrics.registry))
        return
    async for _ in beside(metrics.exposition("")[0]):
        pass


@cache
def taken(smoke: bool) -> tuple[Taken, Taken]:
    """Return what the operator's scrapes and the client library's took, each in a process of its own."""
    found = []
    for whole in (False, True):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found.append(pool.submit(scraped, 200 if smoke else SYSTEMS, whole=whole).result())
    return found[0], found[1]


FIGURES = {"most_mb": "memory while 10,000 systems are scraped", "left_mb": "memory that scrapes leave"}


def row(what: str, smoke: bool) -> Row:
    """Return one figure."""
    ours, theirs = taken(smoke)
    return Row(
        FIGURES[what],
        round(getattr(ours, what), 2),
        "MB",
        "the text at once",
        round(getattr(theirs, what), 2),
        agrees=ours.same and theirs.same,
    )


main = partial(run, tuple(partial(row, what) for what in FIGURES), __doc__ or "")

if __name__ == "__main__":
    sys.exit(main())
