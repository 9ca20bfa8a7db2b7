"""The state behind the screen, and what the screen shows of it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from qts_cli.screen import render, summary_table
from qts_cli.summary import ENDED_BY_SIGNAL, ENDED_BY_TIME, Facts, failures, summarise
from qts_cli.view import View


def decision(action: str = "BUY", elapsed_ms: float = 20.0) -> dict[str, Any]:
    votes = {
        "qbmia": {
            "seat": "qar",
            "symbols": {"EUR/USD": {"action": "BUY", "confidence": 0.61, "p": [0.6, 0.3, 0.1]}},
        },
        "quasar": {"seat": "qstar", "symbols": {"EUR/USD": {"abstains": "untrained"}}},
        "amos": {"seat": "antifragility", "missing": "timeout"},
    }
    row = {"action": action, "confidence": 0.7, "reason": "DECIDED", "signal": 0.1, "size": 0.02}
    return {
        "kind": "decision",
        "asof": "2017-05-02 09:00",
        "phase": "growth",
        "count": 1,
        "actions": {action: 1},
        "symbols": {"EUR/USD": row},
        "votes": votes,
        "elapsed_ms": elapsed_ms,
        "at_s": 4.2,
    }


def status(name: str, **more: Any) -> dict[str, Any]:
    return {
        "agent": name,
        "state": "ready",
        "reasons": [],
        "bus_mode": "connected",
        "messages": {"sent": 0},
    } | more


@pytest.fixture
def view() -> View:
    return View(("pads", "qbmia"), ("market",))


def became(agent: str, state: str, reason: str = "") -> dict[str, Any]:
    return {"kind": "agent", "agent": agent, "state": state, "reason": reason, "pid": 7}


def shown(view: View) -> str:
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(render(view, "title", 3.0))
    return console.export_text()


def test_ready_counts_agents_that_live_and_answer(view: View) -> None:
    """An agent counts when its process lives and says it works; the feed is none."""
    answers = {name: status(name) for name in ("pads", "qbmia", "market")}
    view.statuses(answers, 1.0)
    assert view.ready() == 2
    view.take(became("qbmia", "waiting", "signal SIGKILL"))
    assert view.ready() == 1
    view.statuses({}, 2.0)
    assert view.ready() == 1
    view.statuses({"pads": status("pads", state="starting")}, 3.0)
    assert view.ready() == 0
    view.take(became("pads", "ready"))
    assert view.ready() == 1


@pytest.mark.parametrize("said", ["", "starting", "ready", "degraded", "draining", "ended"])
@pytest.mark.parametrize("seen", ["starting", "ready", "down", "waiting", "refused", "stopped"])
def test_the_head_counts_what_the_rows_say(view: View, seen: str, said: str) -> None:
    """Whatever a process says of itself and its supervisor sees: both lines of the screen agree."""
    view.take(became("pads", seen))
    view.statuses({"pads": status("pads", state=said)} if said else {}, 1.0)
    head, row = (
        next(line for line in shown(view).splitlines() if word in line) for word in (" agents", "pads ")
    )
    works = any(f" {word} " in row for word in ("ready", "degraded", "ended"))
    assert f" {int(works)}/2 agents" in head


def test_event_of_redis_is_no_agent_event(view: View) -> None:
    """The Redis' states and restarts do not touch the agents' rows."""
    view.take(became("redis", "ready"))
    view.take({"kind": "restart", "agent": "redis", "cause": "signal SIGKILL", "restarts": 1})
    assert {"starting"} == {row.state for row in view.rows.values()}
    assert {0} == {row.restarts for row in view.rows.values()}
    assert view.server.restarts == 1


def test_simulated_process_holds_every_row(view: View) -> None:
    """In simulated mode one process stands for all."""
    view.take(became("simulated", "ready"))
    assert {"ready"} == {row.state for row in view.rows.values()}


def test_degraded_is_told_once_and_taken_back(view: View) -> None:
    """A reason is news when it comes and when it goes, not when its number grows."""
    first = view.statuses({"pads": status("pads", reasons=["Redis has not answered for 6 s"])}, 1.0)
    assert [(event["agent"], event["on"]) for event in first] == [("pads", True)]
    assert view.statuses({"pads": status("pads", reasons=["Redis has not answered for 7 s"])}, 2.0) == []
    assert view.trouble() == ["pads: Redis has not answered for 7 s"]
    gone = view.statuses({"pads": status("pads")}, 3.0)
    assert [(event["agent"], event["on"]) for event in gone] == [("pads", False)]
    assert view.trouble() == []


def test_who_is_down_complains_of_nothing(view: View) -> None:
    """What it said before stood on the screen for ever; one that is only not ready says it still."""
    view.statuses({"pads": status("pads", reasons=["Redis has not answered for 6 s"])}, 1.0)
    assert view.take(became("pads", "unready", "readiness probe failed 3 times")) == []
    assert view.trouble() == ["pads: Redis has not answered for 6 s"]
    over = view.take(became("pads", "down", "signal SIGKILL"))
    assert [(event["kind"], event["agent"], event["on"]) for event in over] == [("degraded", "pads", False)]
    assert view.trouble() == ["pads is down: signal SIGKILL"]
    assert view.take(became("pads", "down", "signal SIGKILL")) == []


def test_starting_is_not_degraded(view: View) -> None:
    """What is missing while a process starts is no degradation."""
    assert view.statuses({"pads": status("pads", state="starting", reasons=["kernels are cold"])}, 1.0) == []


def test_mode_is_the_worst(view: View) -> None:
    """The bus mode of the run is the worst of its agents'."""
    view.statuses({"pads": status("pads"), "qbmia": status("qbmia", bus_mode="degraded")}, 1.0)
    assert view.mode() == "degraded"


def test_rates_are_differences_by_time(view: View) -> None:
    """Message rates are counted between two looks, summed over processes and reasons."""
    view.statuses({"pads": status("pads", messages={"sent": 10, "dropped": {"full": 1}})}, 1.0)
    view.statuses({"pads": status("pads", messages={"sent": 30, "dropped": {"full": 2, "gap": 3}})}, 3.0)
    assert view.rates == {"sent": 10.0, "delivered": 0.0, "dropped": 2.0, "expired": 0.0}


def test_latency_quantiles(view: View) -> None:
    """Quantiles of a hundred rounds of 1 to 100 ms."""
    assert view.latency_ms(0.5) is None
    for n in range(1, 101):
        view.take(decision(elapsed_ms=float(n)))
    assert (view.latency_ms(0.5), view.latency_ms(0.99)) == (51.0, 100.0)
    assert (dict(view.actions), view.decisions, view.first_decision_s) == ({"BUY": 100}, 100, 4.2)


def test_screen_shows_agents_votes_and_trouble(view: View) -> None:
    """The screen names agents with restarts, the vote or silence of each seat, and what is degraded."""
    view.take({"kind": "redis", "words": "embedded valkey-server"})
    view.take({"kind": "restart", "agent": "qbmia", "cause": "signal SIGKILL", "restarts": 3})
    board = {"phases": {"micro": "growth", "meso": "release", "macro": "unknown"}}
    view.statuses({"pads": status("pads", board=board), "qbmia": status("qbmia", reasons=["deaf"])}, 1.0)
    view.take(decision())
    text = shown(view)
    wanted = ("2/2 agents", "meso release", "embedded valkey-server", "qar BUY 0.61", "qstar untrained")
    assert [word for word in (*wanted, "antifragility timeout", "qbmia: deaf") if word not in text] == []


def facts(**more: Any) -> Facts:
    values: dict[str, Any] = {
        "ended": ENDED_BY_TIME,
        "ready": 4,
        "agents": 4,
        "decides": True,
        "decisions": {"HOLD": 3},
        "decided": 3,
        "bars": 30,
        "backfilled": 10,
        "rounds": 3,
        "restarts": {"pads": 1},
        "messages": {"sent": 5, "delivered": 4, "lost": {"shutdown": 1}, "unaccounted": 0},
        "run": "/run",
        "seconds": 30.0,
        "first_decision_s": 4.0,
        "round_ms": {"p50": 1.0, "p99": 2.0},
    }
    return Facts(**values | more)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"decided": 0, "rounds": 0}, "no decision within 30 s"),
        ({"decides": False, "decided": 0, "rounds": 0, "ready": 0}, "no agent was ready"),
        ({"rounds": 5}, "2 of 5 rounds ended without a decision"),
        ({"messages": {"unaccounted": 7}}, "7 messages are unaccounted for"),
    ],
)
def test_failures_in_words(more: dict[str, Any], words: str) -> None:
    """Each way to fail is said in one sentence."""
    (found,) = failures(facts(**more))
    assert words in found


def test_no_failures() -> None:
    """A good run has none; a run ended by a signal is no failure; a run without PADS need not decide."""
    assert failures(facts()) == []
    assert failures(facts(ended=ENDED_BY_SIGNAL, decided=0, rounds=0)) == []
    assert failures(facts(decides=False, decided=0, rounds=0)) == []


def test_summary_for_people_and_programs() -> None:
    """The summary holds what the issue asks for, and the table shows it."""
    event = summarise(facts())
    assert (event["kind"], event["agents"], event["decisions"]) == ("summary", "4/4", {"HOLD": 3})
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(summary_table(event))
    text = console.export_text()
    wanted = ("HOLD 3", "pads 1", "5 sent, 4 delivered, lost: shutdown 1; 0 unaccounted")
    assert [w for w in wanted if w not in text] == []


def test_the_screen_leaves_simulated_mode_with_the_last_process(view: View) -> None:
    """It says simulated until no process is, and connected only then; a Redis that goes is said at once."""
    names = ("pads", "qbmia", "market")

    def told(*modes: str) -> str:
        answers = {name: status(name, bus_mode=mode) for name, mode in zip(names, modes, strict=True)}
        view.statuses(answers, 1.0)
        return next(line for line in shown(view).splitlines() if "bus " in line)

    assert "bus simulated" in told("simulated", "simulated", "simulated")
    assert "bus simulated" in told("connected", "connected", "simulated")
    left = told("connected", "connected", "connected")
    assert "bus connected" in left
    assert "simulated" not in shown(view)
    assert "bus degraded" in told("connected", "degraded", "connected")


def test_the_first_start_says_what_it_waits_for(view: View) -> None:
    """Why nothing is decided stands on the screen until every agent is up, and not at a warm start."""
    view.take({"kind": "start", "note": "kernels are compiled first"})
    assert "kernels are compiled first" in shown(view)
    view.take(became("pads", "ready"))
    assert "kernels are compiled first" in shown(view)
    view.take(became("qbmia", "ready"))
    assert "kernels are compiled first" not in shown(view)
    warm = View(("pads",), ())
    warm.take({"kind": "start", "note": ""})
    assert warm.note() == ""
