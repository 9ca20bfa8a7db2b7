"""A run at speed 0 whose files may grow no more: it ends, says why, and what it has decided is whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.processes.running import qts_arguments
from tests.processes.whole import environment, qts

from qts_cli.sockets import free_ports

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]
KIB = 1500  # for the header of the journal and some dozens of records


def test_a_run_in_step_ends_where_nothing_more_can_be_kept(tmp_path: Path) -> None:
    """No restart, no standstill: exit code 1, cause and remedy in the summary, decisions in the journal."""
    given = qts_arguments(free_ports(5), "market.replay.speed=0", "market.replay.dataset=eurusd_1h")
    # the kernel cuts what goes beyond, as a full disk does; who ignores the signal is told by an error
    limited = f"trap '' XFSZ; ulimit -f {KIB}; exec \"$@\""
    command = ["bash", "-c", limited, "-", sys.executable, "-m", "qts_cli", "run", "--json", *given]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr
    assert "Traceback" not in done.stderr
    assert told[-1]["kind"] == "summary"
    words = "pads is down: what it decides cannot be kept: the disk of the run folder is full or gone"
    assert told[-1]["failures"][0].startswith(words)
    assert told[-1]["restarts"]["pads"] == 0
    shown = sum(each["kind"] == "decision" for each in told)
    replayed = qts("replay", "--json", cwd=tmp_path)
    assert replayed.returncode == 0, replayed.stdout
    assert json.loads(replayed.stdout)["rounds"] >= shown > 0
