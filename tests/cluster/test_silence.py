"""Nothing is written for systems that rest, nor by an operator that starts: CI's form of `bench.operator`.

QTS_TEST_SYSTEMS systems for QTS_TEST_SILENCE_S seconds, 10 and 30 where nothing else is said; the design asks for
1,000 and 600. Counted by the operator's own metric and by the audit log (`cluster writes`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

SYSTEMS = os.environ.get("QTS_TEST_SYSTEMS", "10")
SILENCE_S = os.environ.get("QTS_TEST_SILENCE_S", "30")
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(float(SILENCE_S) + 60 * float(SYSTEMS) + 600)]


@pytest.mark.usefixtures("kube", "played_nodes")
def test_neither_time_nor_a_restart_writes(report: Callable[[str, float], None]) -> None:
    command = [sys.executable, "-m", "bench.operator", "--json", "--systems", SYSTEMS, "--silence", SILENCE_S]
    # the steady stream measures speed, which is no matter of silence
    done = subprocess.run([*command, "--stream", "0"], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}"
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = (", writes in ", ", writes by ")
    silent = {row["figure"]: row["value"] for row in rows if any(kind in row["figure"] for kind in kinds)}
    assert len(silent) == 2
    assert set(silent.values()) == {0.0}
    for figure, value in silent.items():
        report(figure, value)
