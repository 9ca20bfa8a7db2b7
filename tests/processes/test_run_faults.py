"""Kills, signals and second runs: what the system does when its processes die at any time."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.processes.running import qts_arguments
from tests.processes.whole import AGENTS, Whole, alive, qts
from tests.waiting import until

from qts_agents.pads import journal, records
from qts_cli.sockets import free_ports

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]
KINDS = {"round", "decision", "number", "answer", "outcome"}
RATES = ("market_update_interval=0.2", "decision_interval=1.0", "decision_timeout=1.0")


@pytest.fixture(scope="module")
def ports() -> list[int]:
    return free_ports(5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, ports: list[int]) -> Iterator[Whole]:
    """A run with four ready agents; after the tests it must end in order and account for every message."""
    run = Whole(tmp_path_factory.mktemp("faults"), *qts_arguments(ports, *RATES))
    try:
        run.all_ready()
        yield run
        # a single test is over before the first decision can be judged
        until(lambda: _kinds(run) >= KINDS, 120.0, f"one of each of {KINDS}", every_s=0.5)
    finally:
        run.process.send_signal(signal.SIGTERM)
        code = run.end()
    assert code == 0
    assert [pid for pid in run.pids() if alive(pid)] == []
    assert run.events[-1]["messages"]["unaccounted"] == 0, run.events[-1]
    replayed = qts("replay", "--json", cwd=run.cwd)
    assert replayed.returncode == 0, replayed.stdout
    told = json.loads(qts("messages", "--json", cwd=run.cwd).stdout)
    assert (told["unaccounted"], told["in_flight"]) == (0, 0), told
    assert [what for what, times in noted(run).items() if times > 1] == []


def _kinds(run: Whole) -> set[str]:
    return {what.split()[0] for what in noted(run)}


def noted(run: Whole) -> Counter[str]:
    """Return how often the board's journal has each thing that may be applied once only."""
    found: Counter[str] = Counter()
    for entry in journal.entries(run.cwd / ".qts" / "run" / "latest"):
        if entry.kind == "round":
            kept = records.body(entry, records.RoundBody)
            found.update((f"round {kept.round_id}", f"decision {kept.decision_id}", f"number {kept.number}"))
        elif entry.kind == "outcome":
            found[f"outcome {records.body(entry, records.OutcomeBody).feedback.decision_id}"] += 1
        elif entry.kind == "answers":
            heard = records.body(entry, records.Answers)
            found.update(f"answer {heard.round_id} {a.peer}" for a in heard.answers if a.opinion is not None)
        elif entry.kind == "alert":
            found[f"alert {records.body(entry, records.AlertBody).alert.alert_id}"] += 1
    return found


def appears(path: Path) -> None:
    """Wait for a file that is written every ten seconds."""
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.2)
    raise AssertionError(f"{path} does not appear")


@pytest.mark.parametrize("agent", AGENTS)
def test_killed_agent_comes_back(run: Whole, agent: str) -> None:
    """SIGKILL of an agent in the middle of a round: restarted at once, with what it knew; rounds go on."""
    folder = run.cwd / ".qts" / "run" / "latest"
    if agent != "pads":
        appears(folder / "state" / f"{agent}.state")
    if agent != "pads":  # who has been silent of late is not asked, and who is not asked leaves no round open
        run.voted(agent)
    before, since = run.pid(agent), run.now()
    number = next(e["number"] for e in reversed(run.events) if e["kind"] == "decision")
    died_before = any(e["kind"] == "restart" and e["agent"] == agent for e in run.events)
    if agent != "pads":  # it is asked and does not answer: this round is open for it when it dies
        os.kill(before, signal.SIGSTOP)
        run.until(lambda e: e["kind"] == "decision" and e["outcome"] != "complete", since)
    os.kill(before, signal.SIGKILL)
    restart = run.until(lambda e: e["kind"] == "restart" and e["agent"] == agent, since)
    assert restart["cause"] == "signal SIGKILL"
    assert died_before or restart["delay_s"] == 0.0
    run.again(agent, before, since)
    decision = run.until(lambda e: e["kind"] == "decision", run.now())
    assert decision["outcome"] in ("complete", "expired", "no_quorum")
    assert decision["number"] > number  # a board that was killed goes on, it does not begin again
    log = (folder / "logs" / f"{agent}.jsonl").read_text()
    assert ("board_goes_on" if agent == "pads" else "learned_state_restored") in log


def test_a_damaged_state_is_told_where_people_look(run: Whole) -> None:
    """In the terminal and in `qts status`: what is lost, what happens now, and where the file is."""
    folder = run.cwd / ".qts" / "run" / "latest" / "state"
    appears(folder / "amos.state")
    before, since = run.pid("amos"), run.now()
    os.kill(before, signal.SIGSTOP)  # it replaces the file every ten seconds
    (folder / "amos.state").write_bytes(b"garbage" * 50)
    os.kill(before, signal.SIGKILL)
    told = run.until(lambda e: e["kind"] == "degraded" and e["agent"] == "amos" and e["on"], since)["reason"]
    assert "what it learned before its restart is lost; it learns anew" in told
    assert "amos.state: damaged" in told
    answers = json.loads(qts("status", "--json", cwd=run.cwd).stdout)["processes"]
    assert told in answers["amos"]["reasons"] + answers["amos"]["past"]
    assert (folder.parent / "amos.state.bad").read_bytes() == b"garbage" * 50


def test_killed_voter_does_not_stop_decisions(run: Whole) -> None:
    """While a voter is away rounds are decided by quorum, or hold and say why."""
    before, since = run.pid("market"), run.now()
    os.kill(before, signal.SIGKILL)
    run.again("market", before, since)
    run.until(lambda e: e["kind"] == "decision", run.now())


@pytest.mark.parametrize("agent", AGENTS)
def test_stopped_agent_returns(run: Whole, agent: str) -> None:
    """SIGSTOP of an agent for 10 s: rounds go on without a voter; after SIGCONT it takes part, not restarted."""
    pid, since = run.pid(agent), run.now()
    number = next(e["number"] for e in reversed(run.events) if e["kind"] == "decision")
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(10.0)
        if agent != "pads":  # on a slow machine they take longer, and the liveness probe is patient for 90 s
            run.until(lambda e: e["kind"] == "decision" and e["number"] >= number + 5, since, 60.0)
    finally:
        os.kill(pid, signal.SIGCONT)
    if agent != "pads":
        run.voted(agent)
    run.until(lambda e: e["kind"] == "decision" and e["outcome"] == "complete", run.now())
    assert run.pid(agent) == pid


def test_killed_valkey_is_restarted_and_decisions_go_on(run: Whole) -> None:
    """SIGKILL of Valkey: the supervisor restarts it, decisions go on, degraded is said and taken back."""
    before, since = run.pid("redis"), run.now()
    os.kill(before, signal.SIGKILL)
    restart = run.until(lambda e: e["kind"] == "restart" and e["agent"] == "redis", since)
    assert restart["cause"] == "signal SIGKILL"
    run.again("redis", before, since)
    run.until(lambda e: e["kind"] == "decision", run.now())


def test_second_run_in_the_same_folder_is_refused(run: Whole) -> None:
    """A second run in the folder is refused with exit code 2 and names the first one's pid."""
    second = qts("run", "--for", "5s", cwd=run.cwd)
    assert second.returncode == 2
    assert f"(pid {run.process.pid})" in second.stderr
    assert second.stderr.count("\n") == 1


def test_ports_in_use_are_named(run: Whole, ports: list[int], tmp_path: Path) -> None:
    """A run elsewhere on the same agent ports is refused with key, port and the owner's pid."""
    other = qts_arguments([*ports[:4], *free_ports(1)])
    second = qts("run", "--for", "5s", *other, cwd=tmp_path)
    assert second.returncode == 2
    assert f"zmq_ports.pads: port {ports[0]} is in use (pid {run.pid('pads')}" in second.stderr


def test_redis_of_the_other_run_wants_a_password(run: Whole, ports: list[int], tmp_path: Path) -> None:
    """A run elsewhere on the same Redis port is refused: that server lets nobody in without a login."""
    second = qts("run", "--for", "5s", *qts_arguments([*free_ports(4), ports[4]]), cwd=tmp_path)
    assert second.returncode == 2
    assert "redis_url" in second.stderr
    assert "refuses this login" in second.stderr


def test_status_of_a_living_run(run: Whole) -> None:
    """`qts status` lists every process of the latest run."""
    told = qts("status", "--json", cwd=run.cwd)
    assert told.returncode == 0, told.stdout
    assert all(f'"{name}"' in told.stdout for name in (*AGENTS, "market"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_in_order_while_starting(tmp_path: Path, number: signal.Signals) -> None:
    """A signal before anything is ready ends the run with exit code 0, a summary, and no process left."""
    run = Whole(tmp_path, *qts_arguments(free_ports(5)))
    run.ready("redis")
    run.process.send_signal(number)
    assert run.end() == 0
    assert (run.events[-1]["kind"], run.events[-1]["ended"]) == ("summary", "signal")
    assert [pid for pid in run.pids() if alive(pid)] == []
    assert not (tmp_path / ".qts" / "lock").exists()


def test_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Two signals end with exit code 130 and leave no process."""
    run = Whole(tmp_path, *qts_arguments(free_ports(5)))
    run.ready("redis")
    run.process.send_signal(signal.SIGTERM)
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130
    assert [pid for pid in run.pids() if alive(pid)] == []


def test_auto_restart_off_leaves_it_down(tmp_path: Path) -> None:
    """With auto_restart_failed false a killed agent stays down and the event says why."""
    run = Whole(tmp_path, *qts_arguments(free_ports(5), "auto_restart_failed=false", *RATES))
    try:
        since = run.now()
        run.ready("redis")
        pid = next(iter(_children(run.process.pid)))
        os.kill(pid, signal.SIGKILL)
        down = run.until(lambda e: e["kind"] == "agent" and e["state"] == "down", since)
        assert "auto_restart_failed is false" in down["reason"]
    finally:
        run.process.terminate()
        run.end()


def _children(parent: int) -> list[int]:
    """Return the pids of a process's children."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
