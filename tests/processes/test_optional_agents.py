"""Agents that are off by default in a real run: six of six, seats in decisions, a source that goes wrong and is mended."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.processes.running import qts_arguments
from tests.processes.whole import AGENTS, Whole

from qts_cli.sockets import free_ports
from qts_core.roster import VOTERS

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1800)]
ADDED = tuple(w.name for w in VOTERS if not w.enabled)


def headlines() -> str:
    """Return a headline for each half day of the replayed year."""
    start = datetime(2017, 1, 1, tzinfo=UTC)
    times = [(start + timedelta(hours=12 * i)).isoformat() for i in range(740)]
    lines = [
        json.dumps({"time": t, "score": (i % 7 - 3) / 3, "headline": "no news"}) for i, t in enumerate(times)
    ]
    return "\n".join(lines) + "\n"


def voted(event: dict[str, Any]) -> bool:
    """Tell a decision that every added agent had a voice in."""
    votes = event.get("votes", {})
    heard = [votes.get(name, {}).get("symbols", {}).get("EUR/USD", {}) for name in ADDED]
    return event["kind"] == "decision" and all("p" in row for row in heard)


def troubled(event: dict[str, Any]) -> bool | None:
    """Tell whether the wrong line begins or ends to be a trouble of its reader; None for other events."""
    named = event["kind"] == "degraded" and "headlines.jsonl: line 741: JSON is malformed" in event["reason"]
    return event["on"] if named and event["agent"] == "sentiment" else None


def test_added_agents_vote_and_a_wrong_source_ends_nothing(tmp_path: Path) -> None:
    """All are ready and heard; a wrong line is named as a trouble of its agent alone, and gone when it is mended."""
    source = tmp_path / "headlines.jsonl"
    source.write_text(headlines())
    ports = free_ports(5 + len(ADDED))
    added = [f"enable_{name}=true" for name in ADDED] + [
        f"zmq_ports.{name}={port}" for name, port in zip(ADDED, ports[5:], strict=True)
    ]
    rates = ("market_update_interval=0.2", "decision_interval=1.0")
    more = (f"sentiment.source={json.dumps(str(source))}", "sentiment.period_s=1", *rates)
    run = Whole(tmp_path, *qts_arguments(ports[:5], *added, *more))
    try:
        for agent in (*AGENTS, *ADDED):
            run.ready(agent, timeout_s=240)  # kernels may have to be compiled first, QUASAR's last of all
        run.until(voted)
        source.write_text(headlines() + "oops\n")
        run.until(lambda e: troubled(e) is True)
        run.until(voted, since=run.now())
        source.write_text(headlines())
        run.until(lambda e: troubled(e) is False)
    finally:
        run.process.send_signal(signal.SIGINT)
        code = run.end()
    assert code == 0, run.errors()
    assert run.events[-1]["agents"] == f"{4 + len(ADDED)}/{4 + len(ADDED)}"
