"""One decision round is one connected trace, across five processes and both transports."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from tests.processes.receiver import Receiver
from tests.processes.running import qts_arguments
from tests.processes.whole import environment

from qts_cli.sockets import free_ports

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]
EXPECTED = {
    ("market", "publish market"),
    ("pads", "process market"),
    ("pads", "round"),
    ("pads", "send requests"),
    ("qbmia", "process requests"),
    ("quasar", "process requests"),
    ("amos", "process requests"),
    ("qbmia", "send votes"),
    ("quasar", "send votes"),
    ("amos", "send votes"),
    ("pads", "process votes"),
    ("pads", "decide"),
    ("pads", "publish decisions"),
}


def _whole(spans: list[tuple[str, Any]]) -> list[list[tuple[str, Any]]]:
    """Return the rounds that every process has told its part of; a slow start leaves early rounds smaller."""
    traces: dict[bytes, list[tuple[str, Any]]] = defaultdict(list)
    for service, span in list(spans):
        traces[span.trace_id].append((service, span))
    return [t for t in traces.values() if {(service, s.name) for service, s in t} >= EXPECTED]


def test_every_sampled_round_is_one_connected_trace(tmp_path: Path) -> None:
    """A real receiver gets market → PADS → three agents → PADS → broadcast, with no orphan span."""
    receiver = Receiver()
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    env = environment() | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.server_address[1]}",
        "OTEL_TRACES_SAMPLER_ARG": "1",
    }
    arguments = qts_arguments(free_ports(5), "market_update_interval=0.5", "decision_interval=2")
    process = subprocess.Popen(
        [sys.executable, "-m", "qts_cli", "run", "--json", *arguments],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    try:
        ended = monotonic() + 400
        while process.poll() is None and not _whole(receiver.spans) and monotonic() < ended:
            sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(20)
        receiver.shutdown()
        receiver.server_close()
    whole = _whole(receiver.spans)
    assert whole, sorted({(service, s.name) for service, s in receiver.spans})
    for spans in whole:
        ids = {span.span_id for _, span in spans}
        assert len(ids) == len(spans)
        orphans = [s.name for _, s in spans if s.parent_span_id and s.parent_span_id not in ids]
        assert orphans == []
        assert [s.name for _, s in spans if not s.parent_span_id] == ["publish market"]
        (decide,) = [s for _, s in spans if s.name == "decide"]
        sent = {s.span_id for _, s in spans if s.name == "send votes"}
        assert {link.span_id for link in decide.links} == sent
