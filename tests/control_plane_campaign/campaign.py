"""Kill the operator before, during and after every write on a real API server, also twice, and judge by ORACLES.

A plan is one line of JSON; a failure prints it with the laws it broke and both end states in two columns.

    KUBECONFIG=… python -m tests.control_plane_campaign.campaign [--workloads create,gpu] [--deaths 2] [--plan JSON]

With --seconds, shared out among the cycles, no batch of deaths begins after so long, and the report says what share
of the plans was played.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import time
from collections import Counter
from random import Random

import msgspec
from tests.kwok import every_pod

from qts_core.errors import ConfigError
from qts_operator.session import Access, from_kubeconfig

from .judge import opened
from .oracles import Evidence, Reference, broken, reference_of
from .stage import Stage
from .workloads import CYCLES, WAYS, WORKLOADS, Plan, longer, parsed, singles

SIDE = 40
SHOWN = 3  # failures of a workload that are printed
#: of workloads with at most so many writes every pair of deaths is played, of others a sample
ALL_PAIRS_WRITES = 12
SAMPLE = 200


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is played: workloads by name, up to how many deaths a plan, how many plans of two and more deaths a
    workload (None: all pairs where few writes, else SAMPLE), systems at once, seconds after which no batch begins."""

    workloads: tuple[str, ...] = tuple(WORKLOADS)
    deaths: int = 1
    sample: int | None = None
    side: int = SIDE
    seconds: float = float("inf")
    seed: int = 7
    only: Plan | None = None


class Report(msgspec.Struct, kw_only=True):
    """What the plans of one workload came to."""

    workload: str
    writes: int = 0
    plans: int = 0
    left: int = 0  # plans that no time was left for
    pairs: int = 0
    died: int = 0
    failed: list[str] = []
    seconds: float = 0.0
    slowest_s: float = 0.0


class Campaign:
    """Plays cycle after cycle on one stage."""

    def __init__(self, stage: Stage, options: Options) -> None:
        self._stage, self._options = stage, options
        self._open = list(stage.namespaces)
        self._random = Random(options.seed)
        self.reports: dict[str, Report] = {}
        self._references: dict[str, Reference] = {}
        self._state = "nothing"
        self._ends_s = float("inf")

    async def run(self) -> None:
        """Play every cycle that has one of the chosen workloads."""
        picked = [(c, [n for n in c.workloads if n in self._options.workloads]) for c in CYCLES]
        picked = [(cycle, chosen) for cycle, chosen in picked if chosen]
        for cycle, chosen in picked:
            await self._go(cycle.begins)
            await self._cycle(cycle.workloads, chosen, self._options.seconds / len(picked))
        await self._go("nothing")

    async def _go(self, state: str) -> None:
        """Bring all systems to the state that a cycle begins with."""
        while self._state != state:
            way = state if (self._state, state) in WAYS else "running"
            await self._clean(WAYS[(self._state, way)])
            self._state = way

    async def _cycle(self, cycle: tuple[str, ...], chosen: list[str], seconds: float) -> None:
        """Play clean runs, then single deaths, then more; after `seconds` of deaths no batch begins."""
        for name in cycle:
            await self._clean(name)
        self._ends_s = time.monotonic() + seconds
        todo = {name: self._first(name) if name in chosen else [] for name in cycle}
        seen = await self._rounds(cycle, todo)
        for deaths in range(2, self._options.deaths + 1):
            seen = await self._rounds(cycle, {n: self._longer(n, seen[n], deaths) for n in cycle})

    def _first(self, name: str) -> list[Plan]:
        if self._options.only is not None:
            return [self._options.only]
        return singles(name, self._references[name].writes)

    def _longer(self, name: str, seen: list[Evidence], deaths: int) -> list[Plan]:
        """Return the plans that kill once more; all pairs of small workloads, else a sample."""
        if self._options.only is not None:
            return []
        told = [each for each in seen if each.died == len(each.plan.crashes) > 0]
        every = [plan for each in told for plan in longer(each.plan, each.recovery)]
        limit = self._options.sample
        if limit is None and (deaths > 2 or self._references[name].writes > ALL_PAIRS_WRITES):
            limit = SAMPLE
        return every if limit is None else self._random.sample(every, min(limit, len(every)))

    async def _rounds(self, cycle: tuple[str, ...], todo: dict[str, list[Plan]]) -> dict[str, list[Evidence]]:
        """Go round the cycle until every plan was played; who has no plan left goes along without a death."""
        seen: dict[str, list[Evidence]] = {name: [] for name in cycle}
        while any(todo.values()) and time.monotonic() < self._ends_s:
            for name in cycle:
                side = len(self._open)
                batch, todo[name] = todo[name][:side], todo[name][side:]
                clean = [Plan(workload=name)] * (side - len(batch))
                seen[name] += await self._batch(name, [*batch, *clean], len(batch))
        for name, left in todo.items():
            self.reports[name].left += len(left)
        return seen

    async def _clean(self, name: str) -> None:
        """Play a workload without a death everywhere: its reference, and the proof of the masks."""
        plans = dict.fromkeys(self._open, Plan(workload=name))
        seen = await self._stage.play(plans)
        self._references.setdefault(name, reference_of(list(seen.values())))
        self._judge(name, seen, played=0)

    async def _batch(self, name: str, plans: list[Plan], played: int) -> list[Evidence]:
        began = time.perf_counter()
        seen = await self._stage.play(dict(zip(self._open, plans, strict=True)))
        if played:
            self._judge(name, seen, played)
            self.reports[name].seconds += time.perf_counter() - began
        return list(seen.values())[:played]

    def _judge(self, name: str, seen: dict[str, Evidence], played: int) -> None:
        report = self.reports.setdefault(name, Report(workload=name, failed=[]))
        reference = self._references[name]
        report.writes = reference.writes
        report.plans += played
        for namespace, evidence in seen.items():
            report.died += evidence.died > 0
            report.pairs += evidence.died > 1
            report.slowest_s = round(max(report.slowest_s, evidence.seconds), 1)
            wrong = broken(evidence, reference)
            if wrong:
                report.failed.append("\n".join([msgspec.json.encode(evidence.plan).decode(), *wrong]))
                if len(report.failed) <= SHOWN:
                    print(report.failed[-1], file=sys.stderr, flush=True)
            if not evidence.rested and len(self._open) > 1:
                self._open.remove(namespace)  # what comes after it there would be judged for it
        log = f"{name}: {len(seen)} systems, {played} plans, slowest {report.slowest_s} s, failed {len(report.failed)}"
        print(log, file=sys.stderr, flush=True)


async def campaign(access: Access, options: Options) -> list[Report]:
    """Play the campaign; print a line of JSON for each workload, and the first failures."""
    prefix = f"plan-{os.getpid()}-"
    async with opened(access) as judge:
        namespaces = [f"{prefix}{n}" for n in range(options.side)]
        stage = Stage(access, judge, namespaces, prefix)
        player = Campaign(stage, options)
        async with every_pod(judge.api):
            try:
                await judge.prepare(namespaces)
                await stage.open()
                await player.run()
            finally:
                await stage.close()
                for namespace in namespaces:
                    await judge.remove(namespace)
    return [report for name, report in player.reports.items() if report.plans or report.failed]


def told(reports: list[Report]) -> str:
    """Return the reports as lines, with the first failures of each and the sum."""
    lines = []
    for report in reports:
        short = msgspec.to_builtins(report) | {
            "failed": len(report.failed),
            "seconds": round(report.seconds, 1),
        }
        lines += [json.dumps(short), *report.failed[:SHOWN]]
    total = {
        "workloads": len(reports),
        "plans": sum(r.plans for r in reports),
        "share": round(share(reports), 3),
        "died": sum(r.died for r in reports),
        "pairs": sum(r.pairs for r in reports),
        "failed": sum(len(r.failed) for r in reports),
        "broken": dict(Counter(line.split()[0] for r in reports for t in r.failed for line in _laws(t))),
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    return "\n".join([*lines, json.dumps(total)])


def share(reports: list[Report]) -> float:
    """Return the played part of all plans of the chosen workloads."""
    played = sum(r.plans for r in reports)
    return played / max(1, played + sum(r.left for r in reports))


def _laws(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("O") and line[1:2].isdigit()]


def main() -> int:
    """Run the campaign on $KUBECONFIG."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--side", type=int, default=SIDE, help="systems at once")
    parser.add_argument("--deaths", type=int, default=1, help="at most so many in one plan")
    parser.add_argument(
        "--sample", type=int, help="plans of two and more deaths a workload; left out: all pairs"
    )
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="for deaths, of all cycles together"
    )
    parser.add_argument("--seed", type=int, default=7, help="which pairs, where not all are played")
    parser.add_argument("--plan", default="", help="one plan, as a failure prints it")
    given = parser.parse_args()
    try:
        only = parsed(given.plan) if given.plan else None
    except ValueError as error:
        parser.error(str(error))
    chosen = (only.workload,) if only else tuple(given.workloads.split(","))
    unknown = sorted(set(chosen) - WORKLOADS.keys())
    if unknown:
        parser.error(f"--workloads: unknown {unknown[0]}; known: {', '.join(WORKLOADS)}")
    options = Options(
        workloads=chosen,
        deaths=given.deaths,
        sample=given.sample,
        side=1 if only else given.side,
        seconds=given.seconds,
        seed=given.seed,
        only=only,
    )
    began = time.perf_counter()
    try:
        reports = asyncio.run(campaign(from_kubeconfig(os.environ.get("KUBECONFIG")), options))
    except ConfigError as error:
        parser.error(str(error))
    print(told(reports))
    print(f"{time.perf_counter() - began:.0f} s")
    return int(any(report.failed for report in reports))


if __name__ == "__main__":
    sys.exit(main())
