"""Kill the operator before, during and after every write on a real API server, also twice, and judge by ORACLES.

A plan is one line of JSON; a failure prints it with the laws it broke and both end states in two columns.

    KUBECONFIG=… python -m tests.control_plane_campaign.campaign [--workloads create,gpu] [--deaths 2] [--plan JSON]

With --seconds, shared out among the groups of cycles, no plan begins after so long, and the report says what share
of the plans was played. --short leaves out what is about pods or waits for a back-off, --pods plays just that.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import os
import resource
import sys
import time
from collections import Counter, defaultdict, deque
from random import Random

import msgspec
from tests.kwok import every_pod

from qts_core.errors import ConfigError
from qts_operator.session import Access, from_kubeconfig

from .judge import opened
from .oracles import Evidence, Reference, broken, reference_of
from .stage import Stage
from .workloads import CYCLES, FORMS, WAYS, WORKLOADS, Cycle, Plan, Write, longer, numbered, parsed, singles

SIDE = 24
CLEAN = 3  # runs of each workload without a death, to compare with
SHOWN = 3  # failures of a workload that are printed
#: a plan whose death does not come is played again, by so many systems at once and so often in all: how often a
#: status is written on the way is a matter of timing. Less often where not even every clean run made the write
COPIES, TRIES, RARE_TRIES = 8, 25, 9
#: of workloads with at most so many writes every pair of deaths is played, of others a sample
ALL_PAIRS_WRITES = 12
SAMPLE = 200


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is played: workloads by name, up to how many deaths a plan, how many plans of two and more deaths a
    workload (None: all pairs where few writes, else SAMPLE), systems at once, seconds after which no plan begins,
    and how many plans are begun however long they take."""

    workloads: tuple[str, ...] = tuple(WORKLOADS)
    deaths: int = 1
    sample: int | None = None
    side: int = SIDE
    seconds: float = float("inf")
    plans: int = 0
    seed: int = 7
    only: Plan | None = None


class Report(msgspec.Struct, kw_only=True):
    """What the plans of one workload came to."""

    workload: str
    writes: int = 0  # that any run without a death made; there are plans for each
    sometimes: int = 0  # of these, how many not every clean run made
    plans: int = 0
    left: int = 0  # plans that no time was left for
    pairs: int = 0
    died: int = 0
    missed: int = 0  # plans that passed without a death each time, though their write was made
    rare: int = 0  # the same where it was not: only some runs make it
    failed: list[str] = []
    slowest_s: float = 0.0


Todo = dict[str, deque[Plan]]


class Campaign:
    """Plays all cycles that begin alike side by side: each system goes round one after the other."""

    def __init__(self, stage: Stage, options: Options) -> None:
        self._stage, self._options = stage, options
        self._open = list(stage.namespaces)
        self._random = Random(options.seed)
        self.reports: dict[str, Report] = {}
        self._references: dict[str, Reference] = {}
        self._known: dict[str, set[Write]] = {}  # the writes of each workload that there are plans for
        self._state = "nothing"
        self._began_s = time.monotonic()
        self._ends_s = float("inf")
        self._enough = 0  # plans; with fewer no clock is looked at
        self._tries: Counter[Plan] = Counter()
        self._done: set[Plan] = set()

    async def run(self) -> None:
        """Play every cycle that has one of the chosen workloads."""
        chosen = set(self._options.workloads)
        picked = [cycle for cycle in CYCLES if chosen & set(cycle.workloads)]
        groups = dict.fromkeys((cycle.begins, cycle.slow) for cycle in picked)
        for number, group in enumerate(groups, 1):
            # what one group leaves of its share the next ones have
            share = number / len(groups)
            self._ends_s = self._began_s + self._options.seconds * share
            self._enough = math.ceil(self._options.plans * share)
            await self._go(group[0])
            await self._group([cycle for cycle in picked if (cycle.begins, cycle.slow) == group])
        await self._go("nothing")

    async def _go(self, state: str) -> None:
        """Bring all systems to the state that a group begins with."""
        while self._state != state:
            way = state if (self._state, state) in WAYS else "running"
            name = WAYS[(self._state, way)]
            seen = await self._stage.play(dict.fromkeys(self._open, Plan(workload=name)), again=True)
            self._take_clean(name, list(seen.values()))
            self._drop(seen)
            self._state = way

    async def _group(self, cycles: list[Cycle]) -> None:
        """Play clean runs of what no way has walked yet, then single deaths, then more."""
        walked = [name for cycle in cycles for name in cycle.workloads]
        todo = {n: deque([Plan(workload=n)] * (0 if n in self._references else CLEAN)) for n in walked}
        for name, seen_clean in (await self._level(cycles, todo, clean=True)).items():
            self._take_clean(name, seen_clean)
        seen = await self._level(cycles, {n: deque(self._first(n)) for n in walked}, at_least=1)
        for deaths in range(2, self._options.deaths + 1):
            todo = {n: deque(self._longer(n, seen[n], deaths)) for n in walked}
            seen = await self._level(cycles, todo)

    def _first(self, name: str) -> list[Plan]:
        if name not in self._options.workloads:
            return []
        if self._options.only is not None:
            return [self._options.only]
        self._known[name] = set(self._references[name].writes)
        return singles(name, sorted(self._known[name]))

    def _longer(self, name: str, seen: list[Evidence], deaths: int) -> list[Plan]:
        """Return the plans that kill once more; all pairs of small workloads, else a sample."""
        if self._options.only is not None:
            return []
        told = [each for each in seen if each.died == len(each.plan.crashes) > 0]
        every = [plan for each in told for plan in longer(each.plan, each.recovery)]
        limit = self._options.sample
        if limit is None and (deaths > 2 or len(self._references[name].writes) > ALL_PAIRS_WRITES):
            limit = SAMPLE
        self._random.shuffle(every)  # a form that is cut short is a sample of all
        return every if limit is None else every[:limit]

    async def _level(
        self, cycles: list[Cycle], todo: Todo, *, clean: bool = False, at_least: int = 0
    ) -> defaultdict[str, list[Evidence]]:
        """Play until nothing is left to do or no time, and every system is where it began.

        Clean runs and the first `at_least` steps wait for no clock. Returns what was seen of the plans, by workload.
        """
        ahead: dict[str, list[str]] = {namespace: [] for namespace in self._open}
        whole = {name: len(plans) for name, plans in todo.items()}
        seen: defaultdict[str, list[Evidence]] = defaultdict(list)
        for step in itertools.count():
            plans: dict[str, Plan] = {}
            played: set[str] = set()
            in_time = clean or step < at_least or self._in_time()
            for namespace in self._open:
                if not ahead[namespace] and in_time:
                    ahead[namespace] = next_tour(cycles, todo, list(ahead.values()), whole)
                if ahead[namespace]:
                    name = ahead[namespace].pop(0)
                    plans[namespace] = todo[name].popleft() if todo[name] else Plan(workload=name)
                    if plans[namespace].crashes:
                        played.add(namespace)
            if not plans:
                break
            told = await self._stage.play(plans, again=clean)
            for namespace, evidence in told.items():
                name = evidence.plan.workload
                counts = namespace in played and self._counts(evidence)
                if clean or counts:
                    seen[name].append(evidence)
                if not clean:
                    self._judge(evidence, played=counts)
                    todo[name] += self._unknown(evidence)
            self._again(todo, {told[namespace].plan for namespace in played})
            self._drop(told)
            self._progress(todo)
        for name, left in todo.items():
            if left:
                self.reports[name].left += len(left)
        return seen

    def _counts(self, evidence: Evidence) -> bool:
        """Tell whether this is what a plan came to: the first time that all its deaths came, or the last try."""
        plan = evidence.plan
        self._tries[plan] += 1
        always = plan.crashes[0].write in self._references[plan.workload].always
        tries = TRIES if always else RARE_TRIES
        whole = evidence.died == len(plan.crashes) or self._tries[plan] >= tries
        if plan in self._done or not whole:
            return False
        self._done.add(plan)
        return True

    def _again(self, todo: Todo, played: set[Plan]) -> None:
        """Put plans whose deaths did not come back in line, by several systems at once, and take the others out."""
        for plan in sorted(played, key=repr):
            line = todo[plan.workload]
            if plan in self._done:
                todo[plan.workload] = deque(each for each in line if each != plan)
            elif plan not in line:
                line.extend([plan] * COPIES)

    def _unknown(self, evidence: Evidence) -> list[Plan]:
        """Return plans for the writes of a run without a death that no run had before."""
        name = evidence.plan.workload
        if evidence.died or name not in self._known:
            return []
        fresh = [write for write in numbered(evidence.way) if write not in self._known[name]]
        self._known[name].update(fresh)
        return singles(name, fresh)

    def _in_time(self) -> bool:
        return time.monotonic() < self._ends_s or self._played() < self._enough

    def _played(self) -> int:
        return sum(report.plans for report in self.reports.values())

    def _progress(self, todo: Todo) -> None:
        failed = sum(len(report.failed) for report in self.reports.values())
        left, now_s = sum(map(len, todo.values())), time.monotonic() - self._began_s
        print(
            f"{now_s:.0f} s: {self._played()} plans, {left} left, {failed} failed",
            file=sys.stderr,
            flush=True,
        )

    def _take_clean(self, name: str, seen: list[Evidence]) -> None:
        """Judge runs without a death by what they have in common: that is the reference, and proves the masks."""
        self._references.setdefault(name, reference_of(seen))
        for evidence in seen:
            self._judge(evidence, played=False)

    def _judge(self, evidence: Evidence, *, played: bool) -> None:
        name = evidence.plan.workload
        report = self.reports.setdefault(name, Report(workload=name, failed=[]))
        reference = self._references[name]
        known = self._known.get(name, reference.writes)
        report.writes, report.sometimes = len(known), len(known - reference.always)
        report.plans += played
        report.died += played and evidence.died > 0
        report.pairs += played and evidence.died > 1
        if played and not evidence.died:
            made = evidence.plan.crashes[0].write in numbered(evidence.way)
            report.missed += made
            report.rare += not made
            plan = msgspec.json.encode(evidence.plan).decode()
            print(f"no death: {plan} had {len(evidence.way)} writes", file=sys.stderr, flush=True)
        report.slowest_s = round(max(report.slowest_s, evidence.seconds), 1)
        wrong = broken(evidence, reference)
        if wrong:
            report.failed.append("\n".join([msgspec.json.encode(evidence.plan).decode(), *wrong]))
            if len(report.failed) <= SHOWN:
                print(report.failed[-1], file=sys.stderr, flush=True)

    def _drop(self, seen: dict[str, Evidence]) -> None:
        """Leave systems alone that did not come to rest: what comes after it there would be judged for it."""
        for namespace, evidence in seen.items():
            if not evidence.rested and len(self._open) > 1:
                self._open.remove(namespace)


def next_tour(cycles: list[Cycle], todo: Todo, ahead: list[list[str]], whole: dict[str, int]) -> list[str]:
    """Return the workloads of the cycle with the largest share of plans that nobody is on the way to; [] when all are.

    `whole`: how many plans of each workload there were at first. So what is cut short has some of every cycle.
    """
    coming = Counter(name for tour in ahead for name in tour)

    def open_share(cycle: Cycle) -> float:
        return max((len(todo[n]) - coming[n]) / max(1, whole[n]) for n in cycle.workloads)

    best = max(cycles, key=open_share)
    return list(best.workloads) if open_share(best) > 0 else []


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
                await judge.leave(namespaces)
    return [report for name, report in player.reports.items() if report.plans or report.failed]


def told(reports: list[Report], seconds: float) -> str:
    """Return the reports as lines, with the first failures of each and, last, the sum; `seconds` all took."""
    lines = []
    for report in reports:
        short = msgspec.to_builtins(report) | {"failed": len(report.failed)}
        lines += [json.dumps(short), *report.failed[:SHOWN]]
    total = {
        "workloads": len(reports),
        "writes": sum(r.writes for r in reports),
        "plans": sum(r.plans for r in reports),
        "share": round(share(reports), 3),
        "died": sum(r.died for r in reports),
        "missed": sum(r.missed for r in reports),
        "sometimes": sum(r.sometimes for r in reports),
        "rare": sum(r.rare for r in reports),
        "pairs": sum(r.pairs for r in reports),
        "failed": sum(len(r.failed) for r in reports),
        "broken": dict(Counter(line.split()[0] for r in reports for t in r.failed for line in _laws(t))),
        "seconds": round(seconds),
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
    parser.add_argument("--workloads", default="")
    for form, names in FORMS.items():
        parser.add_argument(f"--{form}", action="store_true", help=f"workloads {', '.join(names)}")
    parser.add_argument("--side", type=int, default=SIDE, help="systems at once")
    parser.add_argument("--deaths", type=int, default=1, help="at most so many in one plan")
    parser.add_argument(
        "--sample", type=int, help="plans of two and more deaths a workload; left out: all pairs"
    )
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="for deaths, of all cycles together"
    )
    parser.add_argument(
        "--plans", type=int, default=0, help="with --seconds: so many are played however long they take"
    )
    parser.add_argument("--seed", type=int, default=7, help="which pairs, where not all are played")
    parser.add_argument("--plan", default="", help="one plan, as a failure prints it")
    given = parser.parse_args()
    try:
        only = parsed(given.plan) if given.plan else None
    except ValueError as error:
        parser.error(str(error))
    named = next((names for form, names in FORMS.items() if vars(given)[form]), tuple(WORKLOADS))
    if given.workloads:
        named = tuple(given.workloads.split(","))
    chosen = (only.workload,) if only else named
    unknown = sorted(set(chosen) - WORKLOADS.keys())
    if unknown:
        parser.error(f"--workloads: unknown {unknown[0]}; known: {', '.join(WORKLOADS)}")
    options = Options(
        workloads=chosen,
        deaths=given.deaths,
        sample=given.sample,
        side=1 if only else given.side,
        seconds=given.seconds,
        plans=given.plans,
        seed=given.seed,
        only=only,
    )
    began = time.perf_counter()
    try:
        reports = asyncio.run(campaign(from_kubeconfig(os.environ.get("KUBECONFIG")), options))
    except ConfigError as error:
        parser.error(str(error))
    print(told(reports, time.perf_counter() - began))
    return int(any(report.failed for report in reports))


if __name__ == "__main__":
    sys.exit(main())
