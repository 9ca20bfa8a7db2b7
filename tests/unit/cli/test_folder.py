"""Run folders and the lock."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from qts_cli import credentials, folder, main, redis_server
from qts_core import names
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


def killed(home: Path, url: str | None = None) -> Path:
    """Return a run folder as a run leaves it that is killed; `url` is that of a server of others, with password."""
    run = folder.make_run(home)
    (run / "keys" / "pads.key").write_text("secret")
    system, told = "local", "embedded valkey-server on 127.0.0.1:7400"
    if url is not None:
        (run / "keys" / "redis").mkdir()
        (run / "keys" / "redis" / "url").write_text(url)
        system, told = "local-0123", f"server at {url}, already running"
    else:
        redis_server.config_file(run).touch()
    folder.write_json(run / "run.json", {"system": system, "redis": told, "http": {"pads": 1}})
    (run / names.CONFIG_FILE).write_text('{"redis_url": "redis://localhost:1"}')
    return run


def test_a_run_that_was_killed_is_told_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is up only while its home is locked: its file of the lock, keys and run.json outlive a SIGKILL."""
    home = folder.make_home(tmp_path)
    run = killed(home)
    lock = folder.Lock(home)
    lock.take()
    assert (folder.runs(run), folder.ended(run)) == (True, "")
    assert lock._fd is not None
    os.close(lock._fd)  # as the kernel does it; the file stays
    assert lock.path.exists()
    assert (folder.runs(run), folder.ended(run)) == (False, folder.KILLED)
    assert main(["status", "--run-dir", str(home)]) == 1
    assert f"run {run.name} has ended: {folder.KILLED}" in " ".join(capsys.readouterr().out.split())
    assert main(["scores", "--run-dir", str(home)]) == 1
    assert f"this run has ended ({folder.KILLED})" in capsys.readouterr().err
    after = folder.Lock(home)
    after.take()  # another run in the same home
    credentials.clean_killed(home)
    assert folder.ended(run) == folder.KILLED
    after.free()


def test_who_asks_after_a_run_does_not_keep_another_from_starting(tmp_path: Path) -> None:
    """A look at the lock holds it for a moment; whoever takes it meanwhile tries again."""
    lock = folder.Lock(tmp_path)
    lock.path.touch()
    fd = os.open(lock.path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    looks = threading.Timer(0.01, os.close, (fd,))
    looks.start()
    lock.take()
    looks.join()
    lock.free()


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """Keys, passwords and data go, whatever is missing; a server that does not answer is named without secret."""
    home = folder.make_home(tmp_path)
    own, others = killed(home), killed(home, "redis://pads:canary@127.0.0.1:1/0")
    early = folder.make_run(home)  # it was killed before it wrote anything
    (early / "keys" / "pads.key").write_text("secret")
    (words,) = credentials.clean_killed(home)
    assert "keys qts:{local-0123}:* stay in redis://127.0.0.1:1/0" in words
    assert "canary" not in words
    assert [run for run in (own, others, early) if (run / "keys").exists()] == []
    assert not (own / "redis").exists()
    assert credentials.clean_killed(home) == []


def test_what_time_does_not_suffice_for_is_left_to_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its folder nobody could find the keys of a run in the server of others."""
    home = folder.make_home(tmp_path)
    own, others = killed(home), killed(home, "redis://pads:canary@127.0.0.1:1/0")
    monkeypatch.setattr(credentials, "_PATIENCE_S", 0.0)
    assert credentials.clean_killed(home) == []
    assert [(run / "keys").exists() for run in (own, others)] == [False, True]
    monkeypatch.undo()
    assert len(credentials.clean_killed(home)) == 1
    assert not (others / "keys").exists()


def test_the_runs_of_another_user_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one `sudo qts run` cannot be looked into: no reason to refuse the next run."""
    home = folder.make_home(tmp_path)
    mine, roots = killed(home), killed(home)

    def stat(path: object, *more: object, **others: object) -> os.stat_result:
        if str(path).startswith(str(roots / "keys")):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *more, **others)  # type: ignore[arg-type]

    real = os.stat
    monkeypatch.setattr(os, "stat", stat)
    assert folder.uncleaned(home) == [mine]
