"""Seeded errors in the pure part of the operator; tests and explorer must see each: does the harness see anything?

Each mutant changes one thing in one module of KILLERS. It runs in a process of its own, in which that module is
compiled from the changed source; it is killed when one of the module's tests, or a law of the explorer, fails.
The tests look at the unchanged source first: one that fails on it would kill every mutant.

    python -m tests.control_plane_campaign.mutants [--count 120] [--seed 1] [--module lease]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.abc
import importlib.util
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, NamedTuple

import hypothesis
import pytest

from .mutation import Mutant, made, sites

TESTS = Path(__file__).parents[1]
UNIT = "unit/control_plane"
LAWS = ("property/test_operator_plan",)


def _unit(*names: str) -> tuple[str, ...]:
    return tuple(f"{UNIT}/test_{name}" for name in names)


#: a file for each condition of a status
REASONS = tuple(f"status_{of}" for of in ("ready", "progressing", "scheduled", "redis", "messaging"))
#: which tests look at a module, the nearest first; True: the explorer looks too
KILLERS: dict[str, tuple[tuple[str, ...], bool]] = {
    "adopt": (_unit("adopt", "rotation"), False),
    "budget": (_unit("restarts"), False),
    "cache": (_unit("machine_laws", "machines", "watch"), False),
    "checks": (_unit("checks", "refusals"), False),
    "circuit": (_unit("gpu"), False),
    "digests": (_unit("digests", "watch", "adopt", "node_loss", "rotation", "steps"), False),
    "events": (_unit("events"), False),
    "expectations": (_unit("machines"), False),
    "fields": (_unit("fields", "plan") + LAWS, True),
    "gang": (_unit("gang"), False),
    "gpu": (_unit("gpu", "placement", "gang", *REASONS), False),
    "kept": (_unit("kept"), False),
    "lease": (_unit("machines", "leader"), False),
    "node_loss": (_unit("node_loss", "restarts"), False),
    "packing": (_unit("kept"), False),
    "plan": (_unit("plan", "adopt", "rotation") + LAWS, True),
    "pruning": (_unit("definition"), False),
    "refusals": (_unit("refusals", *REASONS), False),
    "resolve": (
        _unit("resolve", "placement", "hand_over", *REASONS, "rotation", "adopt")
        + _unit("gang", "steps", "optional_agent", "restarts"),
        True,
    ),
    "restarts": (_unit("restarts", "node_loss"), False),
    "rotation": (
        _unit("rotation_facts", "resolve", "rotation", "steps", *REASONS, "optional_agent"),
        True,
    ),
    "starting": (_unit("starting", "steps"), False),
    "starts": (_unit("starts", "gang", "node_loss"), False),
    "status": (_unit(*REASONS, "starting", "status_numbers", "status", "conditions", "adopt"), True),
    "steps": (
        _unit(
            "steps", "adopt", "node_loss", "refusals", "reconcile", "reconcile_secrets", "reconcile_answers"
        ),
        True,
    ),
    "workqueue": (_unit("machine_laws", "machines"), False),
    "writes": (_unit("plan", "machines", "adopt", "status"), True),
}
CPU_S = 30  # an error that makes a test run for ever is seen too
QUIET = ("-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist", "--timeout=120")


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from another source."""

    def __init__(self, mutant: Mutant) -> None:
        self._name, self._source = f"qts_operator.{mutant.module}", mutant.source

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """Answer for the module alone."""
        return importlib.util.spec_from_loader(fullname, self) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed source."""
        exec(compile(self._source, module.__name__, "exec"), module.__dict__)


class Trial(NamedTuple):
    """What looks at a mutant, or without one at the source as it is."""

    mutant: Mutant | None
    files: tuple[str, ...]
    explored: bool


def controls(modules: tuple[str, ...]) -> list[Trial]:
    """Return a trial of the unchanged source for each file of tests, and one for the explorer."""
    files = sorted({name for module in modules for name in KILLERS[module][0]})
    explored = [Trial(None, (), True)] if any(KILLERS[module][1] for module in modules) else []
    return [*(Trial(None, (name,), False) for name in files), *explored]


def judged(trials: list[Trial], side: int) -> Iterator[tuple[Trial, bool]]:
    """Yield each trial and whether a test or a law fails; `side` at a time, each in a process of its own.

    Most tests of machines wait more than they compute.
    """
    waiting, running = list(reversed(trials)), {}
    while waiting or running:
        while waiting and len(running) < side:
            trial = waiting.pop()
            running[_begun(trial)] = trial
        child, status = os.wait()
        yield running.pop(child), status != 0


def _begun(trial: Trial) -> int:
    """Return the process of the trial; it ends with 0 when nothing fails."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
            signal.signal(signal.SIGXCPU, signal.SIG_DFL)
            silent()
            if trial.mutant is not None:
                sys.meta_path.insert(0, Changed(trial.mutant))
            code = int(_fails(trial))
        finally:
            os._exit(code)
    return child


def silent() -> None:
    """Say nothing from here on."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)


def _fails(trial: Trial) -> bool:
    """Tell whether something fails; the tests look first, as most of them need milliseconds."""
    # the same seed has the same answer: no draw by chance, and no example that another mutant failed with
    hypothesis.settings.register_profile("mutants", database=None, derandomize=True, deadline=None)
    hypothesis.settings.load_profile("mutants")
    seen = bool(trial.files) and pytest.main([*QUIET, *_paths(trial.files)]) != 0
    return seen or (trial.explored and _lawless())


def _paths(files: Iterable[str]) -> list[str]:
    return [str(TESTS / f"{name}.py") for name in files]


def _lawless() -> bool:
    from .explorer import Explorer, Found

    try:
        Explorer(faults=1, crashes=0, changes=0, actors=0).explore()
    except Found:
        return True
    return False


def preload(modules: Iterable[str]) -> None:
    """Import all that the tests import from others, so that no mutant's process has to: most of its time.

    Which that is, a process tells that imports the tests themselves; the operator must not be imported here.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            silent()
            pytest.main([*QUIET, "--collect-only", *_paths({f for m in modules for f in KILLERS[m][0]})])
            os.write(writing, " ".join(_foreign()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        names = told.read().split()
    os.waitpid(child, 0)
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _foreign() -> list[str]:
    """Return what is imported and not of this repository."""
    ours = ("tests", "bench", "__main__", "conftest")
    tops = ((name, name.partition(".")[0]) for name in list(sys.modules))
    return [name for name, top in tops if top not in ours and not top.startswith("qts_")]


def sample(count: int, seed: int, modules: tuple[str, ...]) -> list[Mutant]:
    """Return `count` mutants drawn from all of the modules."""
    every = [site for module in modules for site in sites(module)]
    return [made(site) for site in Random(seed).sample(every, min(count, len(every)))]


def judge(drawn: list[Mutant], side: int) -> int:
    """Print the survivors; return how many were killed."""
    killed = 0
    trials = [Trial(mutant, *KILLERS[mutant.module]) for mutant in drawn]
    for number, (trial, dead) in enumerate(judged(trials, side), 1):
        killed += dead
        if trial.mutant is not None and not dead:
            at = f"{trial.mutant.module}.py:{trial.mutant.line}"
            print(f"survives: {at}: {trial.mutant.was} → {trial.mutant.now}", flush=True)
        print(f"{number} of {len(drawn)}, {killed} killed", file=sys.stderr, flush=True)
    return killed


def main() -> int:
    """Print the survivors and the share that was killed; 1 below the share that is asked for."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--module", default=",".join(KILLERS))
    parser.add_argument("--side", type=int, default=4, help="at a time")
    parser.add_argument("--share", type=float, default=0.9, help="what must be killed")
    given = parser.parse_args()
    modules = tuple(given.module.split(","))
    for name in modules:
        if name not in KILLERS:
            parser.error(f"--module: unknown {name}; known: {', '.join(KILLERS)}")
    began, drawn = time.monotonic(), sample(given.count, given.seed, modules)
    preload(modules)
    if any(name.startswith("qts_operator") for name in sys.modules):
        raise SystemExit("the operator is imported already, so a mutant would not be")
    failing = [trial for trial, failed in judged(controls(modules), given.side) if failed]
    if failing:
        raise SystemExit(f"without a change fails: {[trial.files or 'the explorer' for trial in failing]}")
    killed = judge(drawn, given.side)
    share = killed / len(drawn)
    told = {"mutants": len(drawn), "killed": killed, "share": round(share, 3), "seed": given.seed}
    print(json.dumps(told | {"seconds": round(time.monotonic() - began)}))
    return int(share < given.share)


if __name__ == "__main__":
    sys.exit(main())
