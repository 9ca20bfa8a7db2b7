"""The fast tier of the operator's tests, again and again in random orders: does a test ever fail by chance?

The design's T0 is what needs no cluster: pure functions, laws, explorer, engines on a server in memory. Repeated is
what of it needs milliseconds of computing a test. Left out are the tests that search by chance, which draw anew each
time and so repeat nothing, and the files of SLOW. All tests are collected once; each repeat is a process of its own
that begins there, and its seed draws the order of all tests, whatever their files.

    python -m tests.control_plane_campaign.repeats [--count 100] [--seed 1] [--side 4]

A failure is told with its seed; the same order comes again by --count 1 --seed N.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import pytest

from .mutants import TESTS, UNIT, silent

#: 50 ms of computing a test or more: engines that wait on the wall clock, storms of minutes, whole charts
SLOW = (
    "least_privilege",
    "reconcile",
    "weather",
    "hand_over",
    "alerts",
    "generate",
    "images",
    "pod_security",
)
QUIET = ("-q", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly", "-m", "not hypothesis")


class Repeats:
    """A plugin of pytest that runs what was collected once for each seed, `side` at a time."""

    def __init__(self, seeds: range, side: int) -> None:
        self._seeds, self._side = seeds, side
        self._ran = 0
        self._failed: list[str] = []
        self.tests, self.failures = 0, list[dict[str, object]]()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run all repeats in place of pytest's own loop."""
        waiting, running = list(reversed(self._seeds)), dict[int, int]()
        if session.testsfailed:  # a file that could not be read
            return True
        self.tests = len(session.items)
        gc.freeze()  # what all repeats share is not looked through, and so not copied, by each
        with tempfile.TemporaryDirectory() as folder:
            while waiting or running:
                while waiting and len(running) < self._side:
                    seed = waiting.pop()
                    running[self._begun(session.items, seed, Path(folder) / str(seed))] = seed
                child, status = os.wait()
                seed = running.pop(child)
                self._take(seed, Path(folder) / str(seed), os.waitstatus_to_exitcode(status))
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count what ran; a test whose set-up or tidying fails has failed too."""
        self._ran += report.when == "call" and not report.skipped
        if report.failed:
            self._failed.append(f"{report.nodeid}: {report.longreprtext[-400:]}")

    def _begun(self, items: list[pytest.Item], seed: int, told: Path) -> int:
        """Return the process of one repeat; it writes what failed to a file."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                silent()
                Random(seed).shuffle(items)
                for item, following in zip(items, [*items[1:], None], strict=True):
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if self._ran < len(items):
                    self._failed.append(f"{len(items) - self._ran} tests did not run")
                told.write_text(json.dumps(self._failed))
                code = 0
            finally:
                os._exit(code)
        return child

    def _take(self, seed: int, file: Path, code: int) -> None:
        """Tell what failed in a repeat; one that ended without a word has failed as a whole."""
        failed = json.loads(file.read_text()) if file.exists() else [f"the repeat ended with {code}"]
        for text in failed:
            self.failures.append({"seed": seed, "test": text.partition(": ")[0]})
            print(f"fails with seed {seed}: {text}", flush=True)
        print(f"seed {seed}: {len(failed)} failed", file=sys.stderr, flush=True)


def fast() -> list[str]:
    """Return the files of the fast tier."""
    files = sorted((TESTS / UNIT).glob("test_*.py"))
    return [str(each) for each in files if each.stem.removeprefix("test_") not in SLOW]


def main() -> int:
    """Print each failure and, last, the sum; 1 when a test failed."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1, help="of the first repeat; the next has the next")
    parser.add_argument("--side", type=int, default=4, help="at a time; a part of the tests waits")
    given = parser.parse_args()
    for name, value in (("--count", given.count), ("--side", given.side)):
        if value < 1:
            parser.error(f"{name}: {value} is below 1; give 1 or more")
    began = time.monotonic()
    repeats = Repeats(range(given.seed, given.seed + given.count), given.side)
    code = pytest.main([*QUIET, *fast()], plugins=[repeats])
    told = {"runs": given.count, "tests": repeats.tests, "failed": len(repeats.failures)}
    told |= {"seed": given.seed, "failures": repeats.failures[:5], "seconds": round(time.monotonic() - began)}
    print(json.dumps(told))
    return int(bool(repeats.failures) or not repeats.tests or code != 0)


if __name__ == "__main__":
    sys.exit(main())
