"""What a benchmark's options are told that name a folder or a file: exit code 2 and one line, before all work."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from pathlib import Path

import pytest
from bench import harness

from qts_core import names


def _told(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys) -> str:
    """Begin a benchmark; return the last line it tells when it refuses."""
    main = importlib.import_module(f"bench.{name}").main
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as caught:
        main(arguments) if inspect.signature(main).parameters else main()
    assert caught.value.code == 2
    return str(capsys.readouterr().err.splitlines()[-1])


@pytest.mark.parametrize(
    ("name", "flag", "given", "words"),
    [
        ("regimes", "--run", "none", "argument --run: none: no such folder"),
        ("regimes", "--run", "file", "argument --run: file: no folder"),
        ("regimes", "--run", "empty", f"--run: empty/{names.CONFIG_FILE}: no such file"),
        ("regimes", "--run", "run", f"--run: run/{names.CONFIG_FILE}:1:1: not valid JSON"),
        ("regimes", "--truth", "empty", "argument --truth: empty: a folder; name a file"),
        ("regimes", "--truth", "none/truth.csv", "argument --truth: none/truth.csv: its folder does not exist"),
        ("loads", "--beside", "none", "argument --beside: none: no such folder"),
        ("loads", "--beside", "empty", "--beside: empty is no checkout of this project"),
        ("votes", "--histogram", "none/h.json", "argument --histogram: none/h.json: its folder does not exist"),
    ],
)  # fmt: skip
def test_a_wrong_path_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, name: str, flag: str, given: str, words: str
) -> None:
    """Each was a traceback, that of an output after minutes of measuring."""
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    for folder in ("empty", "run"):
        Path(folder).mkdir()
    (Path("run") / names.CONFIG_FILE).touch()
    assert words in _told(name, [flag, given], monkeypatch, capsys)


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a new file of a folder that is shut, nor a file that is; root may write anywhere, so it is asked."""
    (tmp_path / "shut").touch()
    assert harness.a_target(str(tmp_path / "open")) == tmp_path / "open"
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) not in (tmp_path, tmp_path / "shut"))
    for name in ("new", "shut"):
        with pytest.raises(Exception, match="cannot be written; name another"):
            harness.a_target(str(tmp_path / name))
