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


class Lock:
    """An advisory lock on `home/lock`; it holds the owner's pid and goes with the process."""

    def __init__(self, home: Path) -> None:
        self.path = home / "lock"
        self._fd: int | None = None

    def take(self) -> None:
        """Take the lock; ConfigError naming the other run's pid when it is held."""
        while self._fd is None:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pid = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
                os.close(fd)
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


def runs(run: Path) -> bool:
    """Tell whether a run has not been cleaned up: it is at work, or was killed."""
    return (run / "keys").is_dir() and (run / "run.json").is_file()


def ended(run: Path) -> str:
    """Return why a run ended, as its summary says; empty while it is up, or when it was killed."""
    try:
        tree = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(tree.get("ended", "")) if isinstance(tree, dict) else ""


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
