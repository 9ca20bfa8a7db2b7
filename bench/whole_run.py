"""A whole `qts run` as its user feels it: first decision, kills, the end: python -m bench.whole_run --json.

Times are those of a user: from starting, killing or signalling to the line that `qts run --json` prints. They
are stated for two idle cores and a warm kernel cache; a run before the measured one fills the cache.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.harness import Row, command, told
from tests.processes.running import qts_arguments
from tests.processes.whole import AGENTS, Whole, alive

from qts_cli.sockets import free_ports

RATES = ("market_update_interval=0.2", "decision_interval=1.0")
FIRST_S, BACK_S, END_S = 10.0, 10.0, 5.0


def first_decision(run: Whole, began_s: float) -> Row:
    """Time from start to the first final decision."""
    run.until(lambda event: event["kind"] == "decision")
    return Row("start to first decision", round(time.monotonic() - began_s, 3), "s", goal=FIRST_S)


def killed(run: Whole, agent: str) -> Row:
    """Time from SIGKILL of a process to its successor being ready, with a decision after it."""
    since, began_s = run.now(), time.monotonic()
    os.kill(run.pid(agent), signal.SIGKILL)
    run.ready(agent, since)
    taken_s = time.monotonic() - began_s
    decided = run.until(lambda event: event["kind"] == "decision", run.now())
    good = decided["outcome"] in ("complete", "expired", "no_quorum")
    return Row(f"{agent}: SIGKILL to ready again", round(taken_s, 3), "s", goal=BACK_S, agrees=good)


def ended(run: Whole) -> Row:
    """Time from SIGTERM to the end of all processes, with every message accounted for."""
    pids, began_s = run.pids(), time.monotonic()
    run.process.send_signal(signal.SIGTERM)
    code = run.end()
    taken_s = time.monotonic() - began_s
    clean = code == 0 and not any(alive(pid) for pid in pids)
    clean &= run.events[-1]["messages"]["unaccounted"] == 0
    return Row("SIGTERM to the end", round(taken_s, 3), "s", goal=END_S, agrees=clean)


def rows(folder: Path, smoke: bool) -> Iterator[Row]:
    """Measure one run, after another that only fills the cache; with `smoke` one kill and no other run."""
    for measured in (True,) if smoke else (False, True):
        began_s = time.monotonic()
        run = Whole(folder, *qts_arguments(free_ports(5), *RATES))
        try:
            first = first_decision(run, began_s)
            run.all_ready()
            if measured:
                yield first
                for agent in AGENTS[2:3] if smoke else (*AGENTS, "market", "redis"):
                    yield killed(run, agent)
        finally:
            last = ended(run)
        if measured:
            yield last


def main() -> int:
    """Print every row; 1 when something was lost or left behind."""
    options = command(__doc__, "one run, one kill").parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return told(rows(Path(folder), options.smoke), options.json)


if __name__ == "__main__":
    sys.exit(main())
