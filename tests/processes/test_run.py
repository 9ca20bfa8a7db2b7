"""`qts run` as a user meets it: end by time and by data, summary, journal, replay, plot, refusals."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.processes.running import qts_arguments
from tests.processes.whole import AGENTS, Whole, alive, qts
from tests.waiting import until

from qts_cli.latency import DEVICE
from qts_cli.sockets import free_ports

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]
RATES = ("market_update_interval=0.2", "decision_interval=1.0")


def settings(*more: str) -> list[str]:
    """Return arguments for a run on free ports."""
    return qts_arguments(free_ports(5), *more)


def spoken(event: dict[str, Any]) -> bool:
    """Tell whether an event is a decision that every asked agent had a word in."""
    return event["kind"] == "decision" and not any("missing" in vote for vote in event["votes"].values())


def last_line(result: Any) -> dict[str, Any]:
    """Return the last JSON line of a command."""
    return dict(json.loads(result.stdout.splitlines()[-1]))


def compiles(run: Whole) -> dict[str, int]:
    """Return how many kernels each process of a run has compiled or loaded (`qts_kernel_compiles_total`)."""

    def told() -> dict[str, int]:
        answers = json.loads(qts("status", "--json", cwd=run.cwd).stdout)["processes"]
        return {name: int(answers[name]["compiles"]) for name in AGENTS}

    return dict(until(told, 120.0, "a word of every agent"))


def living(run: Whole) -> dict[str, Any]:
    """Return the sums of all books while the run goes on: three looks, and each adds up."""
    for _ in range(3):
        told = last_line(qts("messages", "--json", cwd=run.cwd))
        assert 0 == told["unaccounted"], told
    return told


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    """A run that was ended after five decisions of four agents: its folder, summary and events."""
    run = Whole(tmp_path_factory.mktemp("finished"), *settings(*RATES, "horizon_bars=3"))
    try:
        run.all_ready()
        ready = compiles(run)
        run.until(lambda event: event["kind"] == "decision", since=run.now())
        run.until(lambda event: event["kind"] == "decision" and event["number"] >= 5)
        run.until(lambda event: spoken(event) and event["votes"].keys() == set(AGENTS) - {"pads"})
        seen = living(run)
        assert compiles(run) == ready, "kernels were compiled after an agent said that it is ready"
        assert set(ready) >= set(AGENTS)
        assert min(ready[agent] for agent in AGENTS) > 0
    finally:
        run.process.send_signal(signal.SIGINT)
        code = run.end()
    assert 0 == code, run.errors()
    assert 0 < seen["delivered"] <= run.events[-1]["messages"]["delivered"]
    return run.cwd, run.events[-1], run.events


def test_end_by_time(finished: tuple[Path, dict[str, Any], list[dict[str, Any]]], tmp_path: Path) -> None:
    """`--for` ends a run (kernels are warm by now) with exit code 0 when rounds were decided."""
    for length in ("30s", "180s"):  # the second is for a machine too slow to decide anything within the first
        result = qts("run", "--for", length, "--json", *settings(*RATES), cwd=tmp_path)
        summary = last_line(result)
        if summary["rounds"]:
            break
    assert 0 == result.returncode, (result.stderr, summary)
    assert ("summary", "time is up", []) == (summary["kind"], summary["ended"], summary["failures"])
    assert 0 < summary["rounds"] == sum(summary["decisions"].values())
    assert 0 == summary["messages"]["unaccounted"]


@pytest.mark.skipif(not os.access(DEVICE, os.W_OK), reason=f"{DEVICE} is not there, or may not be written")
def test_cores_stay_awake_for_as_long_as_a_run_lasts(tmp_path: Path) -> None:
    """Linux is asked by the process of `qts run`, so its end, however it comes, takes the request back.

    Redis and every process that is started run ahead of ordinary ones, with all their threads.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})  # inherited: tests beside this one keep the other cores
    try:
        run = Whole(tmp_path, "--low-latency", *settings())
    finally:
        os.sched_setaffinity(0, cores)
    try:
        run.until(lambda event: event["kind"] == "redis")
        held = [fd.readlink() for fd in Path(f"/proc/{run.process.pid}/fd").iterdir() if fd.is_symlink()]
        assert held.count(DEVICE) == 1
        run.until(lambda event: event.get("agent") == "pads" and bool(event.get("pid")))
        pids = {event["pid"] for event in run.events if event.get("pid")}
        assert len(pids) > 1
        threads = [int(task.name) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_RR}
    finally:
        run.process.send_signal(signal.SIGINT)
        run.end()


def test_too_short_a_run_is_no_success(tmp_path: Path) -> None:
    """A run that ends before its first decision exits with 1 and says so."""
    result = qts("run", "--for", "500ms", "--json", *settings(), cwd=tmp_path)
    assert 1 == result.returncode
    assert ["no decision"] == [text[:11] for text in last_line(result)["failures"]]


def test_summary_is_the_last_line(finished: tuple[Path, dict[str, Any], list[dict[str, Any]]]) -> None:
    """All agents ran, rounds were decided, every message is accounted for, nothing was restarted."""
    _, summary, events = finished
    assert ("summary", "4/4", "signal") == (summary["kind"], summary["agents"], summary["ended"])
    assert 0 == summary["messages"]["unaccounted"]
    assert 0 < summary["messages"]["delivered"] <= summary["messages"]["sent"]
    assert {0} == set(summary["restarts"].values())
    decisions = [event for event in events if event["kind"] == "decision"]
    assert 0 < len(decisions) == summary["rounds"] == sum(summary["decisions"].values())
    assert summary["bars"] >= summary["rounds"]


def test_events_tell_the_story(finished: tuple[Path, dict[str, Any], list[dict[str, Any]]]) -> None:
    """The first line names the run, the second the Redis; votes come with every decision."""
    _, _, events = finished
    assert [event["kind"] for event in events[:2]] == ["start", "redis"]
    assert events[1]["mode"] == "embedded"
    # who has been silent for long is not asked for a while
    asked = {"qbmia": "qar", "quasar": "qstar", "amos": "antifragility"}
    told = [e["votes"] for e in events if e["kind"] == "decision" and e["votes"].keys() == asked.keys()]
    assert told
    assert asked == {name: vote["seat"] for name, vote in told[-1].items()}


def test_nothing_is_left_but_the_run_folder(
    finished: tuple[Path, dict[str, Any], list[dict[str, Any]]],
) -> None:
    """No process, key, password, Redis data, lock or empty folder outlives a run."""
    cwd, summary, events = finished
    assert [event["pid"] for event in events if event.get("pid") and alive(event["pid"])] == []
    run = Path(summary["run"])
    assert [name for name in ("keys", "redis", "spool") if (run / name).exists()] == []
    assert not (cwd / ".qts" / "lock").exists()
    assert {"run", "cache"} == {path.name for path in (cwd / ".qts").iterdir()}
    assert [path.name for path in cwd.iterdir()] == [".qts"]
    assert {f"{name}.jsonl" for name in (*AGENTS, "market", "redis")} == {
        path.name for path in (run / "logs").iterdir()
    }


def test_replay_is_identical(finished: tuple[Path, dict[str, Any], list[dict[str, Any]]]) -> None:
    """Every decision is recomputed byte for byte from the journal."""
    cwd, summary, _ = finished
    result = qts("replay", "--json", cwd=cwd)
    assert result.returncode == 0, result.stdout
    report = last_line(result)
    assert (summary["rounds"], True) == (report["rounds"], report["identical"])


def test_a_changed_journal_is_noticed(
    finished: tuple[Path, dict[str, Any], list[dict[str, Any]]], tmp_path: Path
) -> None:
    """One altered price in the journal makes the replay differ, with exit code 1."""
    from qts_agents.columns import array, column
    from qts_agents.pads.journal import entries
    from qts_agents.pads.records import body, encode, frame
    from qts_messaging.messages import MarketUpdate

    altered = False
    with (tmp_path / "0001.qtsj").open("wb") as out:
        for entry in entries(Path(finished[1]["run"])):
            update = body(entry, MarketUpdate) if entry.kind == "bars" else None
            if update is not None and update.kind != "snapshot" and not altered:
                import msgspec

                changed = msgspec.structs.replace(update, close=column(array(update.close) * 1.02))
                out.write(frame(encode("bars", entry.now_ns, changed)))
                altered = True
            else:
                out.write(frame(encode(entry.kind, entry.now_ns, entry.body)))
    assert altered
    result = qts("replay", "--json", str(tmp_path), cwd=tmp_path)
    assert (result.returncode, last_line(result)["identical"]) == (1, False)


def test_decisions_command(finished: tuple[Path, dict[str, Any], list[dict[str, Any]]]) -> None:
    """`qts decisions` tells the same decisions as the run did, and a table for people."""
    cwd, _, events = finished
    result = qts("decisions", "--json", cwd=cwd)
    rounds = [json.loads(line) for line in result.stdout.splitlines()]
    told = [event["decision_id"] for event in rounds]
    assert [event["decision_id"] for event in events if event["kind"] == "decision"] == told
    stages = {tuple(event["stages_ms"]) for event in rounds if event["votes"]}
    assert {("open", "ask", "votes", "decide", "publish")} == stages
    table = qts("decisions", "--last", "1", cwd=cwd).stdout
    assert "EUR/USD" in table
    assert len(table.strip().splitlines()) == 2


def test_plot_command(finished: tuple[Path, dict[str, Any], list[dict[str, Any]]], tmp_path: Path) -> None:
    """`qts plot` writes one HTML file that needs nothing else."""
    cwd, summary, _ = finished
    file = tmp_path / "plot.html"
    assert qts("plot", "-o", str(file), cwd=cwd).returncode == 0
    text = file.read_text()
    assert "price, phase and decisions" in text
    assert 'src="http' not in text
    assert [action for action in summary["decisions"] if f"{action} (" not in text] == []


def test_messages_command(finished: tuple[Path, dict[str, Any], list[dict[str, Any]]]) -> None:
    """`qts messages` adds up to the summary."""
    cwd, summary, _ = finished
    told = last_line(qts("messages", "--json", cwd=cwd))
    assert {key: told[key] for key in summary["messages"]} == summary["messages"]


def test_end_of_data_ends_the_run(tmp_path: Path) -> None:
    """A file that ends, as fast as decisions allow, is decided to its last bar, then the run ends by itself."""
    rows = ["time,open,high,low,close,volume"]
    for n in range(900):
        close = 100.0 * (1.0 + 0.002 * ((n * 7919) % 13 - 6) / 6)
        rows.append(
            f"{1_600_000_000 + 3600 * n},{close},{close * 1.001},{close * 0.999},{close},{1000 + n % 17}"
        )
    file = tmp_path / "rows.csv"
    file.write_text("\n".join(rows) + "\n")
    ports = qts_arguments(free_ports(5))
    ports = [part for part in ports if "market." not in part]
    ports = [
        part for i, part in enumerate(ports) if not (part == "--set" and ports[i + 1 : i + 2] == ["--set"])
    ]
    if ports[-1] == "--set":
        ports.pop()
    tree = f'{{"path": "{file}", "speed": 0, "ts_unit": "s"}}'
    sets = ["--set", "market.source=replay", "--set", f"market.replay={tree}"]
    result = qts("run", "--json", *ports, *sets, cwd=tmp_path, timeout_s=900)
    summary = last_line(result)
    assert result.returncode == 0, (result.stderr, summary)
    assert (summary["ended"], summary["messages"]["unaccounted"]) == ("end of data", 0)
    assert summary["bars"] + summary["backfilled"] == 900
    assert 0 < summary["rounds"] == sum(summary["decisions"].values())


def test_simulated_messaging_is_declared(tmp_path: Path) -> None:
    """Without real messaging all agents share one process, decide, and everything says so."""
    run = Whole(tmp_path, *settings("use_real_messaging=false", *RATES))
    try:
        run.until(lambda event: event["kind"] == "decision")
        run.until(lambda event: event["kind"] == "degraded" and "simulated" in event["reason"])
        run.ready("simulated")
    finally:
        run.process.terminate()
        assert 0 == run.end()
    assert ("simulated", "4/4") == (run.events[1]["mode"], run.events[-1]["agents"])
    assert {"simulated"} == {event["agent"] for event in run.events if event["kind"] == "agent"}
    assert 0 == run.events[-1]["messages"]["unaccounted"]


def test_disabled_agent_is_not_started(tmp_path: Path) -> None:
    """A disabled agent has no process, and the board decides with the others."""
    run = Whole(tmp_path, *settings("enable_quasar=false", *RATES))
    try:
        run.until(lambda event: event["kind"] == "decision")
        assert run.events[0]["processes"] == ["pads", "qbmia", "amos", "market"]
        for agent in ("pads", "qbmia", "amos"):
            run.ready(agent)  # so it is already while it waits for its turn
        run.until(spoken, since=run.now())
    finally:
        run.process.terminate()
        assert run.end() == 0
    assert run.events[-1]["agents"] == "3/3", run.events


def test_a_run_without_pads_ends_in_order(tmp_path: Path) -> None:
    """Nobody decides, and so nobody is asked for an open round at the end."""
    run = Whole(tmp_path, *settings("enable_pads=false", *RATES))
    try:
        run.ready("qbmia")
    finally:
        run.process.terminate()
        code = run.end()
    assert (0, []) == (code, run.events[-1]["failures"]), run.errors()
    assert "summary" == run.events[-1]["kind"]


def test_bad_market_file_is_refused_in_the_feed_words(tmp_path: Path) -> None:
    """A data file without a needed column ends the run with exit code 2 and names file and column."""
    file = tmp_path / "rows.csv"
    file.write_text("time,open,high,low\n2020-01-01T00:00:00Z,1,1,1\n")
    ports = [part for part in settings() if "dataset" not in part]
    ports.pop()
    result = qts("run", "--json", *ports, "--set", f'market.replay={{"path":"{file}"}}', cwd=tmp_path)
    assert result.returncode == 2, result.stdout
    assert "rows.csv" in result.stderr
    assert "close" in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_a_wrong_row_deep_in_a_long_file_ends_the_run_in_its_words(tmp_path: Path) -> None:
    """A start looks at the first rows only; the feed finds it before any bar, and nothing was decided on."""
    rows = [f"{60 * i},1.0000,1.0000,1.0000,{-1 if i == 150_000 else 1},1" for i in range(1, 200_001)]
    (tmp_path / "long.csv").write_text("\n".join(["ts,open,high,low,close,volume", *rows]))
    data = ["market.replay.path=long.csv", "market.replay.ts_unit=s", "market.replay.speed=0"]
    sets = [part for each in data for part in ("--set", each)]
    result = qts("run", "--json", *settings(), *sets, cwd=tmp_path)
    assert result.returncode == 2, result.stdout
    assert result.stderr == "qts: long.csv: line 150001, column close: found -1; prices must be above 0\n"
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert "market" in {e["agent"] for e in events if e.get("state") == "refused"}
    assert "decision" not in {e["kind"] for e in events}


def test_a_thousand_symbols_are_decided_in_one_round(tmp_path: Path) -> None:
    """One columnar update a bar carries them all, and each gets its decision from a quorum of agents."""
    symbols = json.dumps([f"S{number:04d}" for number in range(1000)])
    wide = settings("market.source=simulated", f"market.symbols={symbols}", "decision_interval=5.0")
    run = Whole(tmp_path, *wide)
    try:
        decided = run.until(
            lambda e: e["kind"] == "decision" and e["outcome"] in ("complete", "expired"), timeout_s=600
        )
    finally:
        run.process.send_signal(signal.SIGTERM)
        code = run.end()
    assert code == 0, run.errors()
    summary = run.events[-1]
    assert decided["number"] >= 1
    assert sum(summary["decisions"].values()) == 1000 * summary["rounds"]
    assert len(summary["decisions"]) >= 3
    assert 0 == summary["messages"]["unaccounted"]
