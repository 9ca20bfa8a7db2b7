"""A worker says in its log what changes: how it is, and whom it no longer hears."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from qts_agents.changes import Changes
from qts_agents.health import STUCK_S, Health
from qts_messaging.heartbeat import PeerHealth, Peers


@pytest.fixture
def health() -> Health:
    """Return a worker that is at work."""
    return Health("pads", warm=True, bound=True, caught_up=True)


def said(changes: Changes, health: Health, peers: dict[str, Any], now_s: float = 0.0) -> list[dict[str, Any]]:
    """Return the lines of two looks: the second one adds none."""
    with capture_logs() as told:
        changes.look(health, peers, now_s)
        changes.look(health, peers, now_s)
    return list(told)


def test_trouble_is_said_when_it_comes_and_when_it_goes(health: Health) -> None:
    """A text that counts seconds is the same trouble; another trouble is another line."""
    changes = Changes(structlog.get_logger())
    assert said(changes, health, {}) == []
    health.blockers["redis"] = "Redis has not answered for 5 s; ZeroMQ only"
    (line,) = said(changes, health, {})
    assert (line["event"], line["log_level"], line["ready"]) == ("degraded", "warning", False)
    assert line["reasons"] == ["Redis has not answered for 5 s; ZeroMQ only"]
    health.blockers["redis"] = "Redis has not answered for 6 s; ZeroMQ only"
    assert said(changes, health, {}) == []
    health.blockers.clear()
    assert [line["event"] for line in said(changes, health, {})] == ["recovered"]


def test_a_silent_peer_is_named_once_and_again_when_it_is_heard(health: Health) -> None:
    """What the runbook of QtsPeerSilent sends a person to the log for, well before its alert."""
    changes, book = Changes(structlog.get_logger()), Peers(("amos",), 0)

    def at(now_s: float) -> list[tuple[str, Any]]:
        peers = {"amos": book.health("amos", int(now_s * 1e9))}
        return [(line["event"], line["peer"]) for line in said(changes, health, peers)]

    assert at(1.0) == []  # never heard, but there was no time yet
    assert at(16.0) == [("peer_silent", "amos")]
    assert at(31.0) == []
    book.heard["amos"] = int(31.5e9)
    assert at(32.0) == [("peer_heard", "amos")]


def test_what_is_stuck_is_said_before_the_probe_ends_it(health: Health) -> None:
    """Also while it starts: a kernel that never compiles is otherwise a restart without a word."""
    changes = Changes(structlog.get_logger())
    health.caught_up = False
    (line,) = said(changes, health, {}, STUCK_S + 1.0)
    assert (line["event"], line["log_level"]) == ("stuck", "error")
    assert "event loop has not moved for" in line["what"]


def test_kernels_that_compile_for_long_are_no_error(health: Health) -> None:
    """They do at each first start; the line is there all the same, should the probe end it."""
    health.warm = health.caught_up = False
    (line,) = said(Changes(structlog.get_logger()), health, {}, STUCK_S + 1.0)
    assert (line["event"], line["log_level"]) == ("stuck", "info")


def test_a_start_and_an_end_have_lines_of_their_own(health: Health) -> None:
    """Nothing is said of a worker that has not caught up yet, or that is leaving."""
    changes = Changes(structlog.get_logger())
    health.troubles["x"] = "something"
    health.caught_up = False
    assert said(changes, health, {}) == []
    health.caught_up, health.draining = True, True
    assert said(changes, health, {}) == []


def test_who_slept_does_not_call_its_peers_silent(health: Health) -> None:
    """A process that was stopped says that, and looks around anew."""
    changes, peers = Changes(structlog.get_logger()), {"amos": PeerHealth(40.0, "dead")}
    health.loop_moved_s = health.compute_moved_s = 41.0
    assert said(changes, health, {}, 1.0) == []
    with capture_logs() as told:
        changes.look(health, peers, 41.0)
    assert [(line["event"], line["lag_s"]) for line in told] == [("paused", 40.0)]
    peers["amos"] = PeerHealth(0.1, "alive")
    assert said(changes, health, peers, 41.3) == []
