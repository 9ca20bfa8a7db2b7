"""Two operator processes, one Lease: when the other one writes after a kill, by the audit log."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]
AUDIT = Path(os.environ.get("CLUSTER_DIR") or Path(tempfile.gettempdir()) / "qts-cluster") / "audit"
KILLED_S = 15.0
#: asked for when nobody can answer, so the next leader has something to write at once
LATER = {"config": {"systemSeed": 7}}


def _writes(operator: Any, since: datetime) -> list[tuple[datetime, str]]:
    """Return time and address of what an operator wrote, Lease and Events left out; oldest first."""
    found = []
    for log in AUDIT.glob("audit*.log"):
        for line in log.read_text(errors="replace").splitlines():
            if f"(operator-{operator.http})" not in line:
                continue
            event = json.loads(line)
            at = datetime.fromisoformat(event["requestReceivedTimestamp"])
            ours = event["objectRef"]["resource"] not in ("leases", "events")
            if ours and at > since and event["verb"] not in ("get", "list", "watch"):
                found.append((at, f"{event['verb']} {event['requestURI']}"))
    return sorted(found)


@pytest.fixture
def pair(
    kube: Any, namespace: str, operator: Callable[..., Any], until: Callable[..., Any]
) -> tuple[Any, Any]:
    """A leader and a standby over one system at rest; skipped where there is no audit log."""
    if not AUDIT.exists():
        pytest.skip("only the shared cluster keeps an audit log")
    leader = operator()
    standby = operator(lead=False)
    kube.system(namespace, "desk")
    until(lambda: kube.applied(namespace))
    return leader, standby


def _takes_over(
    kube: Any, namespace: str, pair: tuple[Any, Any], number: int, until: Callable[..., Any]
) -> float:
    """Send a signal to the leader and ask for a change; return the seconds until the standby wrote."""
    leader, standby = pair
    sent = datetime.now(UTC)
    leader.process.send_signal(number)
    kube.patch(namespace, "desk", LATER)
    first = until(lambda: _writes(standby, sent), "the standby writes", 40.0)[0][0]
    until(lambda: kube.applied(namespace))
    taken_s = (first - sent).total_seconds()
    print(f"{signal.Signals(number).name}: the other wrote after {taken_s:.2f} s")
    return taken_s


def test_after_a_kill_another_writes_within_15_s(kube, namespace, pair, until) -> None:
    """The Lease of a dead holder runs out."""
    assert _takes_over(kube, namespace, pair, signal.SIGKILL, until) <= KILLED_S
