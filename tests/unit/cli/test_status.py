"""`qts status` of a run: what each process says, and what the others say of one that hangs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qts_cli import status as command
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
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"http": dict.fromkeys(told, 1)}))

    async def ask(_: object) -> dict[str, dict[str, Any]]:
        return told

    monkeypatch.setattr(command, "_ask", ask)
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
