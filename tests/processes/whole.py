"""A whole `qts run --json` as a process whose events can be waited for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

AGENTS = ("pads", "qbmia", "quasar", "amos")
ROOT = Path(__file__).parents[2]
Event = dict[str, Any]
#: kernels may have to be compiled first, on a machine that is busy; it costs time only where something fails
PATIENCE_S = 400.0


def environment() -> dict[str, str]:
    """Return an environment without settings of the caller, with the tree's caches of kernels and byte code."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("QTS_")}
    env.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".qts" / "cache" / "numba"))
    env.setdefault("PYTHONPYCACHEPREFIX", str(ROOT / ".qts" / "cache" / "python"))
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def qts(*arguments: str, cwd: Path, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
    """Run a `qts` command to its end."""
    command = [sys.executable, "-m", "qts_cli", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout_s, check=False
    )


class Whole:
    """A run in the folder `cwd`."""

    def __init__(self, cwd: Path, *arguments: str, **variables: str) -> None:
        self.cwd = cwd
        self.events: list[Event] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "qts_cli", "run", "--json", *arguments],
            cwd=cwd,
            env=environment() | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.events.append(json.loads(line))
                self._news.notify_all()

    def now(self) -> int:
        """Return a mark: how many events there were."""
        return len(self.events)

    def until(self, matches: Callable[[Event], bool], since: int = 0, timeout_s: float = PATIENCE_S) -> Event:
        """Return the first event after `since` that matches; AssertionError with the last ones when none comes."""
        deadline_s = time.monotonic() + timeout_s
        with self._news:
            while True:
                found = next((event for event in self.events[since:] if matches(event)), None)
                if found is not None:
                    return found
                ended = self.process.poll() is not None and not self._reader.is_alive()
                if ended or time.monotonic() > deadline_s:
                    raise AssertionError(f"no such event; the last were {self.events[-5:]}")
                self._news.wait(0.2)

    def ready(self, agent: str, since: int = 0, timeout_s: float = PATIENCE_S) -> Event:
        """Wait until `agent` is ready."""
        return self.until(
            lambda e: e["kind"] == "agent" and e["agent"] == agent and e["state"] == "ready", since, timeout_s
        )

    def again(self, agent: str, before: int, since: int) -> Event:
        """Wait until another process of `agent` than `before` is ready; the old one may just have been told, too."""
        return self.until(
            lambda e: (
                (e["kind"], e.get("agent"), e.get("state")) == ("agent", agent, "ready")
                and e["pid"] != before
            ),
            since,
        )

    def voted(self, agent: str) -> Event:
        """Wait for a new decision that `agent` had a voice in: it is asked, and its circuit is closed."""
        return self.until(
            lambda e: e["kind"] == "decision" and "symbols" in e["votes"].get(agent, {}), self.now()
        )

    def all_ready(self) -> None:
        """Wait for four agents and a decision."""
        for agent in AGENTS:
            self.ready(agent)
        self.until(lambda e: e["kind"] == "decision")

    def pid(self, agent: str) -> int:
        """Return the pid of a living process by its newest event."""
        return next(int(e["pid"]) for e in reversed(self.events) if e.get("agent") == agent and e.get("pid"))

    def pids(self) -> set[int]:
        """Return every pid that was ever told."""
        return {int(event["pid"]) for event in self.events if event.get("pid")}

    def end(self, timeout_s: float = 120.0) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(timeout_s)
        self._reader.join(5.0)
        return code

    def errors(self) -> str:
        """Return what was printed on standard error, after the end."""
        assert self.process.stderr is not None
        return self.process.stderr.read()


def alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
