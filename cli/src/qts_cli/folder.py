"""The run folder `.qts/run/<UTC time>-<4 hex>/`, the link `latest`, and the lock of `.qts`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

from qts_core.errors import ConfigError
from qts_core.files import replace_file

HOME = Path(".qts")
PARTS = ("keys", "logs", "journal", "spool", "state", "redis")
FLEETING = ("keys", "redis", "state")
KILLED = "without a summary, as one that was killed or refused"
_TRIES = 3


class Lock:
    """An advisory lock on `home/lock`; it holds the owner's pid and goes with the process."""

    def __init__(self, home: Path) -> None:
        self.path = home / "lock"
        self._fd: int | None = None

    def take(self) -> None:
        """Take the lock; ConfigError naming the other run's pid when it is held."""
        tries = _TRIES
        while self._fd is None:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pid = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
                os.close(fd)
                tries -= 1
                if tries:  # who asks whether a run is at work holds it for a moment
                    time.sleep(0.02)
                    continue
                raise ConfigError(
                    f"{self.path}: another run (pid {pid}) uses this folder; "
                    f"end it first, or give this run its own folder, Redis and ports: --run-dir DIR "
                    f"--set redis_url=redis://localhost:6380 --set zmq_ports.pads=9190, and so for each agent"
                ) from None
            # the owner before us may have removed the name between our open and our lock
            if self._same(fd):
                os.truncate(fd, 0)
                os.write(fd, f"{os.getpid()}\n".encode())
                self._fd = fd
            else:
                os.close(fd)

    def free(self) -> None:
        """Remove the lock file and let go."""
        if self._fd is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None

    def _same(self, fd: int) -> bool:
        try:
            return self.path.stat().st_ino == os.fstat(fd).st_ino
        except FileNotFoundError:
            return False


def make_home(home: Path) -> Path:
    """Create the folder that holds runs and cache; ConfigError when it cannot be written."""
    try:
        (home / "run").mkdir(parents=True, exist_ok=True)
        (home / "cache" / "numba").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{home}: cannot be created: {error.strerror}; give --run-dir DIR") from None
    return home.resolve()


def make_run(home: Path) -> Path:
    """Create a new run folder with its parts, 0700, and point `latest` at it."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    run = home / "run" / f"{stamp}-{secrets.token_hex(2)}"
    run.mkdir(mode=0o700)
    for part in PARTS:
        (run / part).mkdir(mode=0o700)
    link = home / "run" / "latest"
    fresh = link.with_name(f".latest-{secrets.token_hex(2)}")
    fresh.symlink_to(run.name)
    fresh.replace(link)
    return run


def clean_run(run: Path) -> None:
    """Remove what must not outlive a run: keys, Redis data, learned state, empty folders."""
    for part in FLEETING:
        shutil.rmtree(run / part, ignore_errors=True)
    for part in PARTS:
        with contextlib.suppress(OSError):
            (run / part).rmdir()
    for errors in run.glob("logs/*.err"):
        if errors.stat().st_size == 0:
            errors.unlink()


def uncleaned(home: Path) -> list[Path]:
    """Return the run folders that still hold keys: of the run at work, and of runs that were killed.

    Another user's, as after one `sudo qts run`, cannot be looked into and is left alone.
    """
    every = (run for run in sorted((home / "run").iterdir()) if not run.is_symlink())
    return [run for run in every if os.path.isdir(run / "keys")]  # noqa: PTH112 - False where it may not look


def runs(run: Path) -> bool:
    """Tell whether a run is at work: it has not been cleaned up, and its home is locked."""
    at_work = (run / "keys").is_dir() and (run / "run.json").is_file()
    return at_work and _held(run.resolve().parent.parent / "lock")


def _held(lock: Path) -> bool:
    """Tell whether a living process holds `lock`; a file that a killed one left is free."""
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def ended(run: Path) -> str:
    """Return why a run ended, as its summary says or the want of one; empty while it is at work."""
    try:
        tree = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        tree = None
    if isinstance(tree, dict) and tree.get("ended"):
        return str(tree["ended"])
    return "" if runs(run) else KILLED


def write_json(path: Path, tree: Any) -> None:
    """Replace `path` by `tree` as JSON at once, mode 0600."""
    replace_file(path, json.dumps(tree, indent=1).encode() + b"\n")


def latest(home: Path) -> Path:
    """Return the newest run folder; ConfigError when there was none."""
    run = home / "run" / "latest"
    if not run.exists():
        raise ConfigError(
            f"{run}: no run found here; start one with `qts run`, or name its folder or journal"
        )
    return run.resolve()


def read_run(run: Path) -> dict[str, Any]:
    """Return `run.json` of a run folder; ConfigError when it is missing or damaged."""
    path = run / "run.json"
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a readable run description: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected a JSON object")
    return tree
