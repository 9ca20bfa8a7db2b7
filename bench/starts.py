"""How long each process of a warm `qts run` takes to be ready, and with what: python -m bench.starts --json.

Ready is what the supervisor tells, counted from when it starts its processes. The steps are those that a
process logs by its own clock, which begins once its imports are done. A run before those measured fills the
caches.

With --alone each agent is started with the feed as its only company, which replays and compiles nothing:
with an empty cache of kernels first, then with the one that this has filled.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.harness import Row, command, told
from tests.processes.running import qts_arguments
from tests.processes.whole import AGENTS, Whole

from qts_cli.sockets import free_ports
from qts_core.names import ENV_KERNEL_CACHE
from qts_core.roster import BY_NAME

PROCESSES = (*AGENTS, "market")
READY_S, COLD_S, FIRST_S = 3.0, 30.0, 10.0
STEPS = ("warmed_up", "at_work", "started")
RUNS = 5
Times = dict[str, float]


def times(folder: Path) -> Times:
    """Return the seconds until each process of a run has taken its steps and is ready, and to a decision."""
    began_s = time.monotonic()
    whole = Whole(folder, *qts_arguments(free_ports(5)))
    try:
        whole.until(lambda event: event["kind"] == "decision")
        found = {"first decision": time.monotonic() - began_s}
        found |= {f"{name}: start to ready": float(whole.ready(name)["at_s"]) for name in PROCESSES}
    finally:
        whole.process.terminate()
        whole.end()
    logs = Path(whole.events[0]["run"]) / "logs"
    for name in PROCESSES:
        for entry in map(json.loads, (logs / f"{name}.jsonl").read_text().splitlines()):
            if entry["event"] in STEPS:
                found[f"{name}: {entry['event']}"] = entry["after_s"]
    return found


def rows(smoke: bool) -> Iterator[Row]:
    """Measure warm starts one after the other, and return the median of each figure."""
    with tempfile.TemporaryDirectory() as folder:
        times(Path(folder))
        found = [times(Path(folder)) for _ in range(1 if smoke else RUNS)]
    for figure in found[0]:
        seen = [each[figure] for each in found]
        goal = FIRST_S if figure == "first decision" else READY_S if figure.endswith("ready") else None
        yield Row(figure, round(statistics.median(seen), 3), "s", goal=goal)


def alone(name: str, folder: Path) -> float:
    """Return the seconds until an agent without the others is ready by its supervisor's clock."""
    others = [f"enable_{BY_NAME[other].wire}=false" for other in AGENTS if other != name]
    whole = Whole(folder, *qts_arguments(free_ports(5), *others))
    try:
        return float(whole.ready(name)["at_s"])
    finally:
        whole.process.terminate()
        whole.end()


def alone_rows(smoke: bool) -> Iterator[Row]:
    """Start each agent alone, with an empty cache and several times with the one it filled."""
    for name in AGENTS:
        with tempfile.TemporaryDirectory() as folder:
            os.environ[ENV_KERNEL_CACHE] = str(Path(folder) / "kernels")
            cold_s = alone(name, Path(folder))
            warm_s = statistics.median(alone(name, Path(folder)) for _ in range(1 if smoke else RUNS))
        yield Row(f"{name} alone, empty cache: start to ready", cold_s, "s", goal=COLD_S)
        yield Row(f"{name} alone, warm cache: start to ready", warm_s, "s", goal=READY_S)


def main() -> int:
    """Print every row; a missed goal depends on the machine and fails nothing."""
    parser = command(__doc__, "one run, after one that fills the caches")
    parser.add_argument(
        "--alone", action="store_true", help="each agent alone, with an empty cache and a warm one"
    )
    options = parser.parse_args()
    return told((alone_rows if options.alone else rows)(options.smoke), options.json)


if __name__ == "__main__":
    sys.exit(main())
