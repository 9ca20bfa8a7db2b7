"""What bad input gets on the command line: exit code 2 and one clear line."""

from __future__ import annotations

import builtins
import contextlib
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.at_work import at_work

from qts_agents.market import tables
from qts_cli import inputs, main
from qts_cli.run import duration, passed_over
from qts_core import config
from qts_core.errors import ConfigError


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"zmq_ports": {"pad": 9090}}, ["$.zmq_ports.pad", 'did you mean "pads"?']),
        ({"decision_timeout": "soon"}, ["decision_timeout", "soon"]),
        ({"numba_jit": "yes"}, ["$.numba_jit", '"yes"']),
        ({"decision_interval": -1.0}, ["$.decision_interval", "-1"]),
        ({"board_members": {"qar": 0.5, "qstar": 0.4}}, ["board_members", "0.9"]),
        ({"board_members": {"qar": 0.5, "oracle": 0.5}}, ["board_members.oracle", "allowed are"]),
        ({"zmq_ports": {"pads": 9091}}, ["zmq_ports.qbmia", "9091", "pads"]),
        ({"market": {"source": "live"}}, ["market", "live", "not built"]),
        ({"redis_url": "http://localhost"}, ["redis_url"]),
        (
            {"redis_url": "redis://localhost:99999"},
            ["redis_url: expected HOST or HOST:PORT with a port from 1 to 65535"],
        ),
        (
            {"redis_url": "rediss://localhost:0"},
            ["redis_url: expected HOST or HOST:PORT with a port from 1 to 65535"],
        ),
    ],
)
def test_wrong_settings_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tree: dict[str, Any], words: list[str]
) -> None:
    """A wrong value is refused with its path and what was found."""
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(tree))
    assert main(["config", "check", str(file)]) == 2
    captured = capsys.readouterr()
    assert [word for word in words if word not in captured.err] == []
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize("lines", [3, 300_000])
def test_run_refuses_a_wrong_data_file_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: int
) -> None:
    """No process is started for it, however long it is; the line says where and what, and the file is meant."""
    rows = [f"{60 * i},1,1,1,{-1 if i == 2 else 1},1" for i in range(1, lines)]
    (tmp_path / "bars.csv").write_text("\n".join(["ts,open,high,low,close,volume", *rows]))
    given = ["use_real_messaging=false", "market.replay.path=bars.csv", "market.replay.ts_unit=s"]
    sets = [word for each in given for word in ("--set", each)]
    assert main(["run", "--for", "1s", *sets, "--run-dir", str(tmp_path / "runs")]) == 2
    told = capsys.readouterr()
    assert told.err == "qts: bars.csv: line 3, column close: found -1; prices must be above 0\n"
    assert not list((tmp_path / "runs").glob("run/*"))


LONG = ["market.replay.path=long.csv", "market.replay.ts_unit=s"]
HEADLINES = ["enable_sentiment=true", "sentiment.source=headlines.jsonl"]


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ([*LONG, 'market.symbols=["A","Z"]'], 'market.symbols: found "Z", the data hold A, B; name some'),
        ([*LONG, "market.replay.orders=none.csv"], "none.csv: no such file; check market.replay.orders"),
        ([*LONG, "market.replay.orders=long.csv"], "long.csv: line 1: column side is missing"),
        (["market.replay.orders=long.csv"], "long.csv: line 1: column side is missing"),
        (["quasar.pretrain=none.csv"], "none.csv: no such file; check quasar.pretrain"),
        (["quasar.pretrain=eurusd"], 'quasar.pretrain: found "eurusd", known are eurusd_1h'),
        (["quasar.pretrain=long.csv"], "long.csv: line 2, column ts: found '60'; write ISO 8601 times"),
        (HEADLINES, "sentiment.source: headlines.jsonl: no such file; write it, or correct the setting"),
        (
            [HEADLINES[0], "sentiment.source=long.csv"],
            "sentiment.source: long.csv: line 1: JSON is malformed",
        ),
        (["market.replay.repeat=true", "market.replay.dataset=null"], "replay.dataset: neither it nor path"),
    ],
)
def test_run_refuses_wrong_inputs_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sets: list[str],
    words: str,
) -> None:
    """They were told by a process that had started, or not before the end of a run without decisions."""
    monkeypatch.setattr(tables, "QUICK", 1000)
    rows = [f"{60 * i},{symbol},1,1,1,1,1" for i in range(1, 50) for symbol in "AB"]
    (tmp_path / "long.csv").write_text("\n".join(["ts,symbol,open,high,low,close,volume", *rows]))
    given = ["use_real_messaging=false", "market.replay.dataset=eurusd_1h", *sets]
    assert (
        main(["run", "--for", "1s", *(w for each in given for w in ("--set", each)), "--run-dir", "runs"])
        == 2
    )
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert not list(Path("runs").glob("run/*"))


def test_headlines_with_one_right_line_are_no_reason_to_refuse(tmp_path: Path) -> None:
    """A run leaves wrong lines out; a file that is still empty, and a URL, are waited for."""
    (tmp_path / "some.jsonl").write_text('oops\n{"time": "2017-03-01T12:00:00Z", "score": 0.1}\n')
    (tmp_path / "empty.jsonl").write_text("")
    for source in ("some.jsonl", "empty.jsonl", "http://127.0.0.1:9/headlines"):
        inputs.check(config.load(None, {}, ["enable_sentiment=true", f"sentiment.source={source}"]).system)


def test_a_file_that_switches_its_own_data_off_is_told(tmp_path: Path) -> None:
    """It simulated without a word; a flag that switches them off is meant."""
    file = tmp_path / "settings.json"
    replay = {"dataset": "eurusd_1h"}
    file.write_text(json.dumps({"market": {"source": "simulated", "replay": replay}}))
    said = "settings.json: market.replay.dataset is passed over, as market.source is"
    assert said in passed_over(config.load(file, {}))
    assert not passed_over(config.load(file, {}, ["market.replay.dataset=eurusd_1h"]))
    file.write_text(json.dumps({"market": {"replay": replay}}))
    assert not passed_over(config.load(file, {}, ["market.source=simulated"]))


def test_who_checks_or_evaluates_is_told_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """Only `qts run` told it; the evaluation was of a market that the file does not name."""
    replay = {"dataset": "eurusd_1h"}
    Path("settings.json").write_text(json.dumps({"market": {"source": "simulated", "replay": replay}}))
    said = (
        "qts: settings.json: market.replay.dataset is passed over, as market.source is "
        '"simulated"; set "replay" to use it\n'
    )
    assert main(["config", "check", "settings.json"]) == 0
    assert capsys.readouterr().err == said
    assert main(["evaluate", "--config", "settings.json"]) == 2  # a simulation does not end
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("command", ["evaluate", "orders"])
def test_a_market_that_is_not_there_is_told_by_the_name_of_the_argument(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Who gave an argument was told of a setting."""
    for market, words in (
        ("none.csv", "MARKET: none.csv: no such file; name a packaged data set, or a file of bars"),
        ("eurusd", 'MARKET: found "eurusd", known are eurusd_1h'),
    ):
        assert main([command, market, "--output", f"out.{'html' if command == 'evaluate' else 'csv'}"]) == 2
        assert words in capsys.readouterr().err


def test_run_refuses_before_it_starts_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`qts run` with a wrong setting leaves no folder behind."""
    assert main(["run", "--set", "decision_interval=-1", "--run-dir", str(tmp_path / "runs")]) == 2
    assert "decision_interval" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_slip_in_a_flag_is_not_told_of_the_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The settings file was named for whatever was wrong, and there was nothing to mend in it."""
    Path("settings.json").write_text('{"decision_interval": 4.0, "board_members": {"qar": 1.0}}')
    for given, words in (
        ("decision_intervl=3", '--set decision_intervl: $.decision_intervl: unknown key; did you mean "deci'),
        ("decision_interval=x", "--set decision_interval: $.decision_interval: expected seconds"),
        ("market.symbols=EURUSD", 'got `str`, found "EURUSD"; write ["EURUSD"]'),
        ("pads=3", "--set pads: $.pads: expected `object`"),
    ):
        assert main(["config", "show", "--config", "settings.json", "--set", given]) == 2
        assert words in capsys.readouterr().err
    monkeypatch.setenv("QTS_NUMBA_JIT", "perhaps")
    assert main(["config", "show", "--config", "settings.json"]) == 2
    assert capsys.readouterr().err.startswith("qts: environment QTS_NUMBA_JIT: $.numba_jit: expected")


def test_a_run_that_has_decided_nothing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Its journal was said to lack, with the advice to name one; --count printed an empty table."""
    run = Path("runs/run/latest")
    (run / "journal").mkdir(parents=True)
    (run / "run.json").write_text("{}")
    with at_work(Path("runs")):
        for command in (["decisions"], ["decisions", "--count"], ["replay"], ["plot"]):
            assert main([*command, "--run-dir", "runs"]) == 2
            assert "nothing is decided in this run yet; `qts status` says what" in capsys.readouterr().err
    assert main(["decisions", "--run-dir", "runs"]) == 2
    assert "this run ended (without a summary, as one that was killed or refused)" in capsys.readouterr().err
    (run / "summary.json").write_text('{"ended": "time is up"}')
    assert main(["decisions", "--count", "--run-dir", "runs"]) == 2
    assert "this run ended (time is up) before its first decision" in capsys.readouterr().err
    (run / "journal" / "0001.qtsj").touch()
    for command in (["decisions"], ["decisions", "--count"], ["replay"], ["replay", "--json"], ["plot"]):
        assert main([*command, "--run-dir", "runs"]) == 2
        told = (
            f"{Path('runs/run/latest/journal').resolve()}: no decision in this journal; this run ended (time"
        )
        assert capsys.readouterr() == (
            "",
            f"qts: {told} is up) before its first decision; start another with `qts run`\n",
        )
    assert main(["decisions", "--run-dir", "runs", "--last", "9" * 30]) == 2
    assert "no decision in this journal" in capsys.readouterr().err
    assert main(["decisions", "--run-dir", "runs", "--symbol", ""]) == 2
    assert "journal: no decision on ''" in capsys.readouterr().err
    assert main(["replay", "runs/run/latest/journal/0001.qtsj"]) == 2
    assert (
        "no decision in this journal; give the journal of a run that has decided" in capsys.readouterr().err
    )


@pytest.mark.parametrize("flag", ["--output", "--ledger", "--journal"])
def test_a_folder_that_takes_no_files_is_told_before_an_evaluation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    """It was told after all the runs, whose results were lost with it."""
    Path("shut").mkdir()
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "shut")  # root may write anywhere
    monkeypatch.setattr("qts_cli.evaluate._evaluated", lambda *_: pytest.fail("it ran"))
    assert main(["evaluate", "eurusd_1h", flag, "shut/x.html"]) == 2
    assert f"{flag}: the folder {Path('shut').absolute()} cannot be written to" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["stdout", "stderr"])
@pytest.mark.parametrize("words", [("config", "show"), ("config", "show", "--origin")])
def test_a_closed_output_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, output: str, words: tuple[str, ...]
) -> None:
    """`qts ... >&-` leaves a program without stdout: what is printed goes nowhere, as asked."""
    monkeypatch.setattr(sys, output, None)
    assert main(words) == 0


def test_malformed_json_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Malformed JSON is refused with file, line and column."""
    file = tmp_path / "settings.json"
    file.write_text('{\n "numba_jit": tru\n}')
    assert main(["config", "check", str(file)]) == 2
    assert f"{file}:2:15: not valid JSON" in capsys.readouterr().err


def test_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    """A settings file that is not there is named, with the flag that gives another."""
    assert main(["run", "--config", "none.json"]) == 2
    assert "none.json: no such file; give an existing one with --config" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["fly"], "fly"),
        (["run", "--fro", "30s"], "--fro"),
        (["run", "--for", "later"], "--for"),
        (["run", "--for", "-3s"], "--for"),
        (["run", "--set", "decision_interval"], "key=value"),
        (["decisions", "--last", "many"], "last"),
        (["decisions", "--last", "0"], "--last"),
        (["decisions"], "no run found"),
        (["status"], "no run found"),
        (["messages"], "no run found"),
        (["replay", "nowhere"], "nowhere"),
        (["plot", "nowhere"], "nowhere"),
        (["generate", "--check"], "project's folder"),
        (["config", "check", "deep.yaml"], "deep.yaml: nested too deeply"),
        (["plan", "--file", "deep.yaml"], "deep.yaml: nested too deeply"),
        (["plan", "--file", "date.yaml"], "month must be in 1..12"),
        (["decisions", "deep.yaml"], "expected a .qtsj file"),
        (["support", "explain", "date.yaml"], "date.yaml: not a support bundle"),
        (["replay", "deep.yaml"], "expected a .qtsj file"),
        (["messages", "m" * 300], "File name too long"),
        (["status", "--run-dir", "s" * 300], "File name too long"),
        (["config", "show", "--set", f"market={'9' * 5000}"], "$.market: expected"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], tokens: list[str], words: str) -> None:
    """Wrong usage is exit code 2 and one line that names what is wrong."""
    Path("deep.yaml").write_text("[" * 5000 + "]" * 5000)
    Path("date.yaml").write_text("day: 2020-13-45\n")
    assert main(tokens) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err


def test_zmq_port_in_use_is_named_with_its_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A taken agent port ends the run with key and number, and leaves no run folder."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            redis = free.getsockname()[1]
        home = tmp_path / "runs"
        sets = [f"zmq_ports.quasar={port}", f"redis_url=redis://127.0.0.1:{redis}"]
        tokens = ["run", "--run-dir", str(home), *(part for text in sets for part in ("--set", text))]
        assert main(tokens) == 2
    assert f"zmq_ports.quasar: port {port} is in use" in capsys.readouterr().err
    assert list((home / "run").iterdir()) == []
    assert not (home / "lock").exists()


def test_a_full_device_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Output that finds no space is told, however little it was."""
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["config", "show"]) == 1
        assert capsys.readouterr().err == (
            "qts: no space is left where this writes; free some and try again\n"
        )
        assert main(["keys", "new", "made"]) == 1
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()


def test_an_interrupt_during_the_first_imports_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who presses Ctrl-C at once gets 130 like everybody else."""
    imported = builtins.__import__

    def pressed(name: str, *args: Any) -> Any:
        if name == "cyclopts":
            raise KeyboardInterrupt
        return imported(name, *args)

    monkeypatch.setattr(builtins, "__import__", pressed)
    assert main(["run"]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30.0), ("500ms", 0.5), ("2m", 120.0), ("1.5", 1.5)])
def test_duration(text: str, seconds: float) -> None:
    """Times are numbers with a unit; without one they are seconds."""
    assert seconds == duration(text)


@pytest.mark.parametrize("text", ["", "s", "0s", "1 year", "nan", "-1s"])
def test_no_duration(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ConfigError, match="--for"):
        duration(text)


def test_secrets_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """`qts config show` leaves user and password out of the Redis address."""
    assert main(["config", "show", "--set", "redis_url=redis://me:canary@db:6379/1"]) == 0
    out = capsys.readouterr().out
    assert "canary" not in out
    assert json.loads(out)["redis_url"] == "redis://db:6379/1"


def test_origin_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`qts config show --origin` names default, file, environment and flag."""
    Path("quantum_system_config.json").write_text('{"decision_interval": 4.0, "numba_jit": false}')
    monkeypatch.setenv("QTS_SYSTEM_SEED", "7")
    assert main(["config", "show", "--origin", "--json", "--set", "decision_interval=2"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows["decision_interval"] == {"value": 2, "origin": "--set decision_interval"}
    assert rows["numba_jit"] == {"value": False, "origin": "quantum_system_config.json"}
    assert rows["system_seed"] == {"value": 7, "origin": "environment QTS_SYSTEM_SEED"}
    assert rows["quantum_circuits"]["origin"] == "default"


def test_status_of_a_cluster_needs_a_name_and_kubectl(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A namespace alone is refused, and so is a machine without kubectl; each says what to do."""
    assert main(["status", "-n", "trading"]) == 2
    assert "NAME: which system?" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["status", "-n", "trading", "desk"]) == 2
    assert "kubectl is not on PATH; install it" in capsys.readouterr().err
