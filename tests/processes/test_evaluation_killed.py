"""`qts evaluate` that is killed leaves none of its processes behind."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.processes.whole import alive, environment

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]


def workers(pid: int) -> list[int]:
    """Return the pids of a process's pool, without Python's own tracker of resources."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def until(what: Callable[[], bool], timeout_s: float) -> bool:
    """Wait until `what` holds; return whether it did."""
    deadline_s = time.monotonic() + timeout_s
    while not (held := what()) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return held


def test_a_killed_evaluation_takes_its_pool_along(tmp_path: Path) -> None:
    """SIGKILL leaves no time to end anything: the kernel ends the pool."""
    command = [sys.executable, "-m", "qts_cli", "evaluate", "eurusd_1h", "--bars", "2", "--jobs", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL)
    try:
        assert until(lambda: len(workers(process.pid)) == 2, 120.0)
        pool = workers(process.pid)
    finally:
        process.kill()
        process.wait(10.0)
    assert until(lambda: not any(alive(pid) for pid in pool), 30.0), "the pool outlived its parent"
