"""`qts status` of a run: what each process says, and what the others say of one that hangs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.table import Table
from tests.unit.cli.at_work import at_work

from qts_cli import cluster_status
from qts_cli import status as command
from qts_cli.terminal import wide_console
from qts_cli.view import View
from qts_core.probes import Status


def answers(**ready: bool) -> dict[str, dict[str, Any]]:
    """Return what processes answered."""
    return {
        name: msgspec.to_builtins(Status(agent=name, state="ready" if well else "degraded", ready=well))
        for name, well in ready.items()
    }


def asked(
    folder: Path, told: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> tuple[int, str]:
    """Return exit code and output of `qts status` where processes answer so."""
    run = folder / "run" / "latest"
    run.mkdir(parents=True, exist_ok=True)
    (run / "run.json").write_text(json.dumps({"http": dict.fromkeys(told, 1)}))

    async def ask(_: object) -> dict[str, dict[str, Any]]:
        return told

    monkeypatch.setattr(command, "_ask", ask)
    with at_work(folder):
        code = command.status(run_dir=folder)
    return code, " ".join(capsys.readouterr().out.split())


def test_who_hangs_is_named_by_those_who_do_not_hear_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process that is stopped answers nothing; how long it has been so the others know."""
    told = answers(pads=True) | {"qbmia": {}}
    told["pads"]["peers"] = {
        "qbmia": {"age_s": 18.2, "state": "suspect"},
        "amos": {"age_s": 0.4, "state": "alive"},
    }
    code, out = asked(tmp_path, told, monkeypatch, capsys)
    assert code == 1
    assert "has not heard qbmia for 18 s" in out
    assert "heard amos" not in out


@pytest.mark.parametrize(("ready", "code"), [(True, 0), (False, 1)])
def test_a_process_that_is_not_ready_is_told_by_the_exit_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    ready: bool,
    code: int,
) -> None:
    """As of a system in a cluster: a script that asks sees what a person reads."""
    assert asked(tmp_path, answers(pads=True, amos=ready), monkeypatch, capsys)[0] == code


def test_who_knocks_in_vain_is_told_and_makes_nothing_unready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stranger at the port is no fault of the process that refuses it."""
    told = answers(pads=True)
    told["pads"]["strangers"] = "somebody at 10.0.0.9 knocks"
    code, out = asked(tmp_path, told, monkeypatch, capsys)
    assert (code, "somebody at 10.0.0.9 knocks" in out) == (0, True)


def test_who_does_not_run_is_told_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the supervisor has told of a voter that dies again and again stands beside its missing answer."""
    view = View(("pads", "qbmia", "amos", "quasar"), ("market",))

    def tell(kind: str, agent: str, **more: object) -> None:
        view.take({"kind": kind, "agent": agent, "pid": None, "at_s": 7.0, **more})

    for agent in ("qbmia", "amos"):
        tell("agent", agent, state="waiting", reason="signal SIGKILL")
        tell("restart", agent, cause="signal SIGKILL", delay_s=4.0, restarts=3)
    tell("agent", "amos", state="starting", reason="")
    tell(
        "agent", "quasar", state="down", reason="exit code 1; 5 restarts in 10 min are used up, it stays down"
    )
    tell("agent", "pads", state="ready", reason="")
    plights = view.plights(lambda at_s: f"second {at_s:g}")
    assert plights == {
        "qbmia": "signal SIGKILL; restart 3 follows at second 11",
        "amos": "starts anew after signal SIGKILL (restart 3)",
        "quasar": "down: exit code 1; 5 restarts in 10 min are used up, it stays down",
    }
    monkeypatch.setattr(command.folder, "read_run", lambda _: {"http": {"qbmia": 1}, "plights": plights})
    code, out = asked(tmp_path, {"qbmia": {}}, monkeypatch, capsys)
    assert (code, "restart 3 follows at second 11" in out) == (1, True)


def test_the_words_of_a_condition_and_of_a_process_are_shown_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An image `x:a:b` became a picture, and what stands in brackets was left out."""
    said = 'no image "x:a:b" of [a b]'
    told = {"conditions": [{"type": "Ready", "status": "False", "reason": "ImageNotPulled", "message": said}]}
    cluster_status.show(wide_console(), "desk", told, Table())
    assert said in capsys.readouterr().out
    processes = answers(pads=True)
    processes["pads"]["reasons"] = [said]
    assert said in asked(tmp_path, processes, monkeypatch, capsys)[1]


def test_a_loss_that_is_made_good_is_still_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its process is ready, and so is the run."""
    processes = answers(pads=True, amos=True)
    processes["amos"]["past"] = ["what it learned is lost"]
    code, out = asked(tmp_path, processes, monkeypatch, capsys)
    assert (code, "before: what it learned is lost" in out) == (0, True)
