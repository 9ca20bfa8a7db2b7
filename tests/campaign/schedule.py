"""A schedule of faults made from a seed: what happens when, and to whom (pure)."""

from __future__ import annotations

import random

import msgspec

NAMES = ("pads", "qbmia", "market")
DIALLED = ("pads", "qbmia")  # the feed has no ROUTER of its own


class Fault(msgspec.Struct, frozen=True):
    """One fault: `kind` begins at `at_s` and is over after `for_s`; `whom` and `peer` where it has them."""

    kind: str
    at_s: float
    for_s: float
    whom: str = ""
    peer: str = ""

    def __str__(self) -> str:
        link = f" {self.whom}" + (f"→{self.peer}" if self.peer else "") if self.whom else ""
        return f"{self.at_s:.2f} s: {self.kind}{link} for {self.for_s:.2f} s"


class Schedule(msgspec.Struct, frozen=True):
    """What one seed stands for; `skew_s`: how far each process's wall clock is off."""

    seed: int
    last_s: float  # traffic ends
    faults: tuple[Fault, ...]
    skew_s: dict[str, float]

    def __str__(self) -> str:
        clocks = ", ".join(f"{name} {skew:+.0f} s" for name, skew in self.skew_s.items() if skew)
        lines = [f"seed {self.seed}" + (f", clocks: {clocks}" if clocks else ""), *map(str, self.faults)]
        return "\n  ".join(lines)


#: kind of fault → whom it needs: nobody, one process, or a link from a process to a ROUTER
KINDS: dict[str, str] = {
    "server killed": "",
    "server killed and emptied": "",
    "server stopped": "",  # SIGSTOP: connections stand, nothing answers
    "redis link cut": "process",
    "redis link frozen": "process",  # half open: bytes stay where they are
    "redis link slow": "process",
    "zeromq link cut": "link",
    "zeromq link frozen": "link",
    "process restarted": "process",
    "slow consumer": "process",
    "noise": "process",  # frames doubled, overtaken, cut short and made of garbage
    "deaf subscriber": "process",  # the server forgets one of its channels
    "burst": "process",  # more than the queues hold, at once
    "callers give up": "",
}


def make(seed: int, last_s: float = 2.5, most: int = 4, longest_s: float = 0.8) -> Schedule:
    """Return the schedule of `seed`: 1 to `most` faults that begin within [0.1 s, last_s)."""
    draw = random.Random(seed)
    chosen = [draw.choice(tuple(KINDS)) for _ in range(draw.randint(1, most))]
    if "server killed and emptied" in chosen:
        # a store that forgets and a producer that forgets together lose for good what nobody had read
        chosen = [kind for kind in chosen if kind != "process restarted"]
    faults = [fault(draw, kind, draw.uniform(0.1, last_s), longest_s) for kind in chosen]
    skew = {name: draw.choice((-3600.0, 3600.0)) if draw.random() < 0.05 else 0.0 for name in NAMES}
    return Schedule(seed, last_s, tuple(sorted(faults, key=lambda f: f.at_s)), skew)


def fault(draw: random.Random, kind: str, at_s: float, longest_s: float) -> Fault:
    """Return one fault of `kind` at a drawn place, lasting up to `longest_s`."""
    whom = draw.choice(NAMES) if KINDS[kind] else ""
    peer = draw.choice([n for n in DIALLED if n != whom]) if KINDS[kind] == "link" else ""
    return Fault(kind, round(at_s, 3), round(draw.uniform(0.05, longest_s), 3), whom, peer)
