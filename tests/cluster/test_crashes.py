"""The operator dies before, during and after its writes, also twice: CI's form, with the number of plans that it played.

QTS_TEST_CRASH_S seconds are given to it, 120 where nothing else is said, and more where PLANS are not played by then;
`make campaign` plays all plans.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

PLANS = 500
SECONDS = float(os.environ.get("QTS_TEST_CRASH_S", "120"))
#: after that no plan begins; what has begun may wait for a busy machine
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(SECONDS + 1800)]


@pytest.mark.usefixtures("kube", "played_nodes")
def test_no_death_at_a_write_leaves_a_trace(report: Callable[[str, float], None]) -> None:
    """Twelve workloads; no law is broken by any plan, and most plans came to the death that they ask for."""
    command = [sys.executable, "-m", "tests.control_plane_campaign.campaign", "--short", "--deaths", "2"]
    done = subprocess.run(
        [*command, "--seconds", f"{SECONDS:g}", "--plans", str(PLANS)], capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}"
    total: dict[str, Any] = json.loads(lines[-1])
    each = [json.loads(line) for line in lines[:-1]]
    assert len(each) >= 6
    assert total["plans"] >= PLANS
    assert total["missed"] == 0
    # a write whose answer was lost is followed by another one, so its plan may pass without a death
    assert total["died"] > total["plans"] / 2
    report("plans of deaths at a write", total["plans"])
    report("of them with a second death", total["pairs"])
    report("share of all such plans", total["share"])
    report("seconds that they took", total["seconds"])
