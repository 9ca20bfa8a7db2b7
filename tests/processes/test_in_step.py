"""A run in step with the feed is a function of its data and settings, however its processes are held up."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from pathlib import Path

import msgspec
import pytest
from tests.processes.running import qts_arguments
from tests.processes.whole import AGENTS, Whole
from tests.unit.agents.evaluation import made_markets as made

from qts_agents.evaluation.stage import Stage
from qts_agents.market.source import open_source
from qts_agents.pads.journal import entries
from qts_agents.pads.records import RoundBody, body
from qts_cli.sockets import free_ports
from qts_core import config
from qts_core.spec import System

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]


def hold_up(run: Whole) -> int:
    """Stop one process after the other for a moment until the run ends; return how often."""
    pids = [run.pid(name) for name in ("redis", *AGENTS)]
    for times, pid in enumerate(itertools.cycle(pids)):
        if run.process.poll() is not None or run.events[-1]["kind"] == "summary":
            return times
        for sign, pause_s in ((signal.SIGSTOP, 0.1), (signal.SIGCONT, 0.3)):
            try:
                os.kill(pid, sign)
            except ProcessLookupError:
                return times
            time.sleep(pause_s)
    raise AssertionError


def decided(run: Whole) -> list[bytes]:
    """Return the decisions of a run as its journal has them."""
    journal = run.cwd / ".qts" / "run" / "latest" / "journal"
    return [body(entry, RoundBody).decision for entry in entries(journal) if entry.kind == "round"]


def evaluated(system: System) -> list[bytes]:
    """Return the decisions of an evaluation."""
    heard = Stage(system, open_source(system)).bars()
    return [msgspec.msgpack.encode(bar.decision) for bar in heard if bar.decision is not None]


def test_a_run_that_is_held_up_decides_what_an_evaluation_decides(tmp_path: Path) -> None:
    """Outcomes come by Redis and questions by ZeroMQ, and each may be the later one: nothing shows in a byte."""
    replay = json.dumps({"path": str(made.written(tmp_path, *made.crash())), "speed": 0})
    # a pause shall delay an answer and not take its place
    more = ("market.fee=0.00005", "market.spread=0.00005", f"market.replay={replay}", "decision_timeout=60")
    arguments = qts_arguments(free_ports(5), *more)
    run = Whole(tmp_path, *arguments)
    try:
        run.all_ready()
        times = hold_up(run)
    finally:
        code = run.end()
    assert (code, times > 10) == (0, True), run.errors()
    wanted = evaluated(config.load(None, {}, arguments[1::2]).system)
    assert len(wanted) > 60
    assert decided(run) == wanted[: len(decided(run))]
    assert len(decided(run)) >= len(wanted) - 1  # a run decides no more on the bar that ends it
