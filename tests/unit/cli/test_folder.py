"""Run folders and the lock."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from qts_cli import folder
from qts_core.errors import ConfigError


def test_second_lock_names_the_first_ones_pid(tmp_path: Path) -> None:
    """A lock held by another process is refused with its pid and the remedy."""
    code = (
        "import sys; from pathlib import Path; from qts_cli.folder import Lock;"
        "Lock(Path(sys.argv[1])).take(); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match=rf"pid {other.pid}\).*--run-dir.*redis_url.*zmq_ports"):
            folder.Lock(tmp_path).take()
        other.kill()
        other.wait()
    folder.Lock(tmp_path).take()


def test_lock_is_free_again(tmp_path: Path) -> None:
    """A freed lock leaves no file and can be taken again."""
    first = folder.Lock(tmp_path)
    first.take()
    assert f"{os.getpid()}\n" == first.path.read_text()
    first.free()
    assert not first.path.exists()
    second = folder.Lock(tmp_path)
    second.take()
    second.free()


def test_run_folder_is_private_and_latest_points_at_it(tmp_path: Path) -> None:
    """A run folder is 0700 with all parts, and `latest` follows the newest."""
    home = folder.make_home(tmp_path / ".qts")
    first, second = folder.make_run(home), folder.make_run(home)
    assert first != second
    assert stat.S_IMODE(second.stat().st_mode) == 0o700
    assert set(folder.PARTS) == {part.name for part in second.iterdir()}
    assert second == folder.latest(home)


def test_clean_run_keeps_journal_and_logs_only(tmp_path: Path) -> None:
    """Keys, Redis data, empty folders and empty error files go; journal and logs stay."""
    run = folder.make_run(folder.make_home(tmp_path))
    for name in ("keys/a.key", "redis/dump", "journal/0000.qtsj", "logs/pads.jsonl", "logs/quasar.err"):
        (run / name).write_text("x")
    (run / "logs" / "pads.err").touch()
    folder.clean_run(run)
    left = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {"journal/0000.qtsj", "logs/pads.jsonl", "logs/quasar.err"} == left


def test_json_file_is_private(tmp_path: Path) -> None:
    """Files of a run are written at once and for the owner only."""
    folder.write_json(tmp_path / "run.json", {"pids": {"pads": 7}})
    assert stat.S_IMODE((tmp_path / "run.json").stat().st_mode) == 0o600
    assert folder.read_run(tmp_path) == {"pids": {"pads": 7}}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_no_run_yet(tmp_path: Path) -> None:
    """Asking for the latest run where none was says how to start one."""
    with pytest.raises(ConfigError, match="qts run"):
        folder.latest(tmp_path)


def test_damaged_run_description(tmp_path: Path) -> None:
    """A damaged run.json is named."""
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ConfigError, match=r"run\.json"):
        folder.read_run(tmp_path)
