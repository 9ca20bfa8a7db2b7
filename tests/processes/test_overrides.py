"""Overrides in `qts run`: one on a simulated market, and the crash that unit tests make by hand."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.processes.running import qts_arguments
from tests.processes.whole import Whole, qts
from tests.unit.agents.evaluation import made_markets as made

from qts_cli.sockets import free_ports

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]
SIMULATED = (
    "market.source=simulated",
    'market.symbols=["A","B","C","D"]',
    "market_update_interval=0.2",
    "decision_interval=1.0",
    "horizon_bars=5",
    "pads.signal_scale=0.005",  # a small lean is a full signal: positions are taken early
)


def overridden(event: dict[str, Any]) -> set[str]:
    """Return the overrides that a decision names."""
    rows = event["symbols"].values() if event["kind"] == "decision" else ()
    return {row["override"] for row in rows} - {""}


def ended(run: Whole) -> None:
    """End a run as a user does; its journal replays."""
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 0, run.errors()
    replayed = qts("replay", cwd=run.cwd)
    assert (replayed.returncode, "identical" in replayed.stdout) == (0, True), replayed.stdout


def test_a_forecast_that_ran_out_ends_its_position_on_a_simulated_market(tmp_path: Path) -> None:
    """Sooner or later a position is five bars old; the journal counts what the events told."""
    run = Whole(tmp_path, *qts_arguments(free_ports(5), *SIMULATED))
    try:
        run.all_ready()
        event = run.until(lambda event: "horizon" in overridden(event))
    finally:
        ended(run)
    row = next(row for row in event["symbols"].values() if row["override"] == "horizon")
    assert (row["action"], row["reason"]) == ("EXIT", "HORIZON_ENDED")
    counts = json.loads(qts("decisions", "--count", "--json", cwd=tmp_path).stdout)
    assert counts["overrides"]["horizon"] >= 1


def test_a_crash_ends_a_position_in_a_run_as_it_does_without_sockets(tmp_path: Path) -> None:
    """The market of `test_in_play.py`, in step with the feed: the same bar, the same word."""
    tree = json.dumps({"path": str(made.written(tmp_path, *made.crash())), "speed": 0})
    more = ("market.fee=0.00005", "market.spread=0.00005", f"market.replay={tree}")
    run = Whole(tmp_path, *qts_arguments(free_ports(5), *more))
    try:
        run.all_ready()
        event = run.until(lambda event: event["kind"] == "decision" and event["asof"] == made.live(59))
    finally:
        ended(run)
    row = event["symbols"]["MADE"]
    assert (row["override"], row["action"], row["reason"]) == ("tail", "EXIT", "OVERRIDE")
