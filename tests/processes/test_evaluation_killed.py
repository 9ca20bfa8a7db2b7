"""`qts evaluate` that is killed leaves none of its processes behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.processes.whole import alive, environment
from tests.waiting import until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]


def workers(pid: int) -> list[int]:
    """Return the pids of a process's pool, without Python's own tracker of resources."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_a_killed_evaluation_takes_its_pool_along(tmp_path: Path) -> None:
    """SIGKILL leaves no time to end anything: the kernel ends the pool."""
    command = [sys.executable, "-m", "qts_cli", "evaluate", "eurusd_1h", "--bars", "2", "--jobs", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL)
    try:
        until(lambda: len(workers(process.pid)) == 2, 400.0, "a pool of two")
        pool = workers(process.pid)
    finally:
        process.kill()
        process.wait(60.0)
    until(lambda: not any(alive(pid) for pid in pool), 60.0, "the end of the pool after its parent's")
