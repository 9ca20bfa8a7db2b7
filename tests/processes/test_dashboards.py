"""Every panel of the system's dashboard, and every rule, asked of a real Prometheus over a real run."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.processes.running import free_ports, qts_arguments
from tests.processes.whole import Whole
from tests.prometheus_server import broken_rules, filled, firing, needs_prometheus, scraping

from qts_cli import folder
from qts_operator.dashboards import SYSTEM

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240), needs_prometheus]


def test_a_run_answers_every_panel(tmp_path: Path) -> None:
    """No panel stays empty, no rule is broken, and a system that decides raises no alarm of its own."""
    arguments = qts_arguments(free_ports(5), "market_update_interval=0.5", "decision_interval=2")
    whole = Whole(tmp_path, *arguments)
    try:
        whole.all_ready()
        ports = folder.read_run(folder.latest(tmp_path / ".qts"))["http"]
        labels = {"namespace": "trading", "system": "desk"}
        targets = [
            {"targets": [f"127.0.0.1:{port}"], "labels": labels | {"agent": agent, "pod": f"desk-{agent}"}}
            for agent, port in ports.items()
        ]
        jobs = [{"job_name": "trading/desk", "honor_labels": True, "static_configs": targets}]
        with scraping(tmp_path, jobs) as server:
            filled(server, SYSTEM)
            assert broken_rules(server) == []
            alarms = {
                "QtsFeedStalled",
                "QtsDecisionStale",
                "QtsPeerSilent",
                "QtsNoQuorum",
                "QtsRotationStuck",
            }
            assert firing(server) & alarms == set()
    finally:
        whole.process.send_signal(signal.SIGINT)
        whole.end()
