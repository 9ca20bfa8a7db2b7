"""ORACLES: what must hold at the end of, and during, every plan. Pure functions of what was observed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from qts_operator import conditions

from .side_by_side import columns
from .workloads import Plan, Write, numbered

Tree = dict[str, Any]
#: on top of the reference's time: back-off of a failed pass, and of a stranger's object
BUDGET_S = 90.0


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """What clean runs of a workload came to; of numbers the largest.

    Some runs tell the status once more on their way: `always` are the writes that all of them made, `writes` any.
    """

    end: str
    writes: frozenset[Write]
    always: frozenset[Write]
    counts: dict[str, int]
    rolled: dict[str, int]
    pods_deleted: int
    seconds: float


class Evidence(msgspec.Struct, kw_only=True):
    """What was observed of one plan."""

    plan: Plan
    end: str = ""  # everything of the system as text, masked
    writes: tuple[str, ...] = ()  # the operator's, in order; Lease and Events left out
    died: int = 0
    died_at: int = 0  # how many writes there were by the last death
    rested_at: int = 0  # and by the first rest since then
    orphans: tuple[str, ...] = ()
    counts: dict[str, int] = {}
    rolled: dict[str, int] = {}  # by workload, how often its pod template changed
    pods_deleted: int = 0
    after_rest: tuple[str, ...] = ()  # but for a status that tells of a world that moved on
    by_second_pass: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    statuses: list[tuple[int, Tree]] = []
    leaks: tuple[str, ...] = ()
    rested: bool = False
    seconds: float = 0.0
    others_s: float = 0.0  # the median of all that were played at the same time

    @property
    def way(self) -> tuple[str, ...]:
        """Return the writes up to the rest: those at which a death can be planned.

        Later ones repeat what was refused or tell of a world that moves, also for the judge's second pass; nobody dies
        any more then.
        """
        return self.writes[: self.rested_at]

    @property
    def recovery(self) -> tuple[str, ...]:
        """Return the writes on the way from the last death; none without a death."""
        return self.way[self.died_at :] if self.died else ()


Judgement = Callable[[Evidence, Reference], list[str]]


class Oracle(msgspec.Struct, frozen=True):
    """A law; judged for each plan by a function, or by the named test where no plan can show it."""

    number: str
    law: str
    judge: Judgement | None = None
    shown_by: str = ""


def same_end(seen: Evidence, reference: Reference) -> list[str]:
    """O1."""
    return [columns(reference.end, seen.end)] if seen.end != reference.end else []


def no_more_made(seen: Evidence, reference: Reference) -> list[str]:
    """O2."""
    return _above(seen.counts, reference.counts)


def no_orphans(seen: Evidence, _: Reference) -> list[str]:
    """O3."""
    return [f"{item} has no living owner" for item in seen.orphans]


def silent(seen: Evidence, _: Reference) -> list[str]:
    """O4: a world that moves ends a rest, and the status may tell of it; nothing else may be written for that."""
    return list(seen.after_rest)


def fixed_point(seen: Evidence, _: Reference) -> list[str]:
    """O5."""
    return list(seen.by_second_pass)


def no_fault(seen: Evidence, _: Reference) -> list[str]:
    """O9."""
    return list(seen.faults)


def nothing_rolled(seen: Evidence, reference: Reference) -> list[str]:
    """O10."""
    more = seen.pods_deleted - reference.pods_deleted
    return _above(seen.rolled, reference.rolled) + ([f"{more} pods more deleted"] if more > 0 else [])


def honest(seen: Evidence, _: Reference) -> list[str]:
    """O11: by the operator's table of conditions, and by what that table cannot know."""
    found: list[str] = []
    former: Tree = {}
    for generation, told in seen.statuses:
        found += conditions.broken(former, told) + _untrue(generation, told)
        former = told
    return found


def in_time(seen: Evidence, reference: Reference) -> list[str]:
    """O13: by clean runs, or by the others of its batch where the machine has become slower since."""
    if not seen.rested:
        return ["no rest"]
    limit = max(reference.seconds, seen.others_s) + BUDGET_S
    return [f"{seen.seconds:.0f} s, at most {limit:.0f}"] if seen.seconds > limit else []


def no_secret(seen: Evidence, _: Reference) -> list[str]:
    """O14."""
    return [f"a secret's value in {place}" for place in seen.leaks]


ORACLES: tuple[Oracle, ...] = (
    Oracle("O1", "the end state is the reference's; masks hold over all clean runs", same_end),
    Oracle("O2", "no object is created or deleted more often than in the reference", no_more_made),
    Oracle("O3", "no labelled object without a living owner", no_orphans),
    Oracle("O4", "nothing is written once at rest, also by the next start", silent),
    Oracle("O5", "a second pass writes nothing", fixed_point),
    Oracle("O6", "A, B and back again is A", shown_by="the cycles of workloads.py, by O1"),
    Oracle("O7", "a bad spec in between changes nothing", shown_by="tests/cluster/test_invalid_resources.py"),
    Oracle(
        "O8", "an invalid resource is refused or reported", shown_by="tests/cluster/test_refused_objects.py"
    ),
    Oracle("O9", "no traceback, no error that nobody looked at", no_fault),
    Oracle("O10", "no roll-out and no deleted pod above the reference", nothing_rolled),
    Oracle(
        "O11", "every status that was ever written is well-formed and follows from the one before", honest
    ),
    Oracle("O12", "memory does not grow with plans", shown_by="campaign.py prints the slope"),
    Oracle("O13", "rest within the reference's time and the back-off", in_time),
    Oracle("O14", "no value of a Secret outside Secrets", no_secret),
)


def broken(seen: Evidence, reference: Reference) -> list[str]:
    """Return every law that a plan broke, with what it broke it by."""
    found = []
    for oracle in ORACLES:
        if oracle.judge is not None:
            found += [f"{oracle.number} {oracle.law}: {text}" for text in oracle.judge(seen, reference)]
    return found


def reference_of(clean: list[Evidence]) -> Reference:
    """Return what clean runs have in common; the most frequent end, and the largest of each number."""
    end = Counter(seen.end for seen in clean).most_common(1)[0][0]
    writes = [frozenset(numbered(seen.way)) for seen in clean]
    return Reference(
        end=end,
        writes=frozenset.union(*writes),
        always=frozenset.intersection(*writes),
        counts=_largest([seen.counts for seen in clean]),
        rolled=_largest([seen.rolled for seen in clean]),
        pods_deleted=max(seen.pods_deleted for seen in clean),
        seconds=max(seen.seconds for seen in clean),
    )


def _largest(each: list[dict[str, int]]) -> dict[str, int]:
    return {key: max(d.get(key, 0) for d in each) for d0 in each for key in d0}


def _above(seen: dict[str, int], reference: dict[str, int]) -> list[str]:
    return [
        f"{key}: {n}, not {reference.get(key, 0)}" for key, n in seen.items() if n > reference.get(key, 0)
    ]


def _untrue(generation: int, told: Tree) -> list[str]:
    """Return what one status alone shows to be wrong beside its conditions."""
    known = {c["type"]: c for c in told.get("conditions") or ()}
    up, _, of = str(told.get("agents", "")).partition("/")
    observed = told.get("observedGeneration", 0)
    laws = {
        f"generation {observed} observed, {generation} asked for": observed > generation,
        f"Ready with {up} of {of} agents": _is(known, "Ready") and up != of,
        "Degraded without a message": _is(known, "Degraded") and not known["Degraded"]["message"],
    }
    return [text for text, hit in laws.items() if hit]


def _is(known: dict[str, Tree], kind: str) -> bool:
    return kind in known and known[kind]["status"] == "True"
