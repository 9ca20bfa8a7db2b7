"""Links that are away for 2 s and for 30 s, cut and half open: all is accounted for, and it goes on at once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.campaign import campaign
from tests.campaign.schedule import Fault, Schedule
from tests.conftest import Report

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]
ROOT = Path(__file__).parents[2]
LINKS = (
    ("redis link cut", "qbmia", ""),
    ("redis link frozen", "pads", ""),
    ("zeromq link cut", "pads", "qbmia"),
    ("zeromq link frozen", "pads", "qbmia"),
)
AWAY_S = (2.0, 30.0)
BACK_S = 2.0  # the goal of the fabric
FIRST_SLOT = 48  # ports beside those of the schedules by seed


def schedules() -> list[Schedule]:
    """Return one schedule for each link, kind and length; traffic goes on for 3 s after the longest."""
    faults = [Fault(kind, 0.5, s, whom, peer) for s in AWAY_S for kind, whom, peer in LINKS]
    return [Schedule(n, fault.for_s + 3.5, (fault,), {}) for n, fault in enumerate(faults)]


async def play() -> list[dict[str, Any]]:
    """Run all beside each other."""
    return list(await asyncio.gather(*(_one(schedule) for schedule in schedules())))


async def _one(schedule: Schedule) -> dict[str, Any]:
    outcome = await campaign.one(schedule.seed, FIRST_SLOT + schedule.seed, schedule)
    return {
        "fault": str(schedule.faults[0]),
        "problems": outcome.problems,
        "recoveries": outcome.recoveries_s,
    }


def test_links_that_are_away_lose_nothing_unexplained(report: Report) -> None:
    """Each ends with balanced books and nothing applied twice; its victims hear again within 2 s."""
    program = "import asyncio, json, os; from tests.campaign import test_partitions as t; "
    program += "print(json.dumps(asyncio.run(t.play())), flush=True); os._exit(0)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.stdout, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert [each for each in found if each["problems"]] == []
    taken = {each["fault"]: max(s for group in each["recoveries"].values() for s in group) for each in found}
    assert len(taken) == len(LINKS) * len(AWAY_S)
    report(
        f"links away for 2 s and 30 s ({len(taken)}): healed to next delivery, longest (goal 2), s",
        max(taken.values()),
    )
    assert max(taken.values()) <= BACK_S
