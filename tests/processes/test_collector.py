"""The collector itself takes the configuration of the operator's chart, and hands spans on.

$QTS_TEST_OTELCOL is what `cd tests/otelcol && go build -tags grpcnotrace -o ../../dist/otelcol .` makes: the release
of the chart's image with the parts that the chart names. The image itself is not started here.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.processes.receiver import Receiver
from tests.unit.control_plane.test_collector import configuration
from tests.waiting import until

from qts_cli.sockets import free_ports
from qts_core.telemetry import open_tracing

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]
COLLECTOR = os.environ.get("QTS_TEST_OTELCOL", "")


@pytest.fixture(autouse=True)
def _built() -> None:
    if not COLLECTOR:
        pytest.skip("no collector: $QTS_TEST_OTELCOL is not set")


def validated(folder: Path, config: dict[str, Any]) -> tuple[int, str]:
    """Return what the collector says of a configuration, without starting anything."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [COLLECTOR, "validate", f"--config={path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"TOKEN": "t"})
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", ["collector", "collector-exports"])
def test_the_configurations_of_the_chart_are_valid(tmp_path: Path, name: str) -> None:
    """Both, a million in the queue and an exporter without settings included."""
    assert validated(tmp_path, configuration(name)) == (0, "")


@pytest.mark.parametrize(
    ("section", "name", "words"),
    [("processors", "tail_sampling", "unknown type"), ("exporters", "otlp", "requires a non-empty")],
)
def test_what_is_wrong_is_refused(tmp_path: Path, section: str, name: str, words: str) -> None:
    """A part that only the contrib distribution has; an exporter without its address."""
    config = configuration("collector")
    config[section][name] = {}
    config["service"]["pipelines"]["traces"][section].append(name)
    code, told = validated(tmp_path, config)
    assert code != 0
    assert words in told


@contextmanager
def running(config: dict[str, Any], folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Run the collector on free ports; yield the URLs of OTLP and health, and the file it logs to."""
    grpc, http, health = free_ports(3)
    protocols = config["receivers"]["otlp"]["protocols"]
    protocols["grpc"]["endpoint"], protocols["http"]["endpoint"] = f":{grpc}", f":{http}"
    config["extensions"]["health_check"]["endpoint"] = f":{health}"
    config["service"]["telemetry"]["metrics"] = {"level": "none"}  # its usual port may be somebody else's
    path, log = folder / "config.yaml", folder / "collector.log"
    path.write_text(yaml.safe_dump(config))
    with log.open("w") as out:
        process = subprocess.Popen([COLLECTOR, f"--config={path}"], stdout=out, stderr=out, env={})
    try:
        yield f"http://127.0.0.1:{http}", f"http://127.0.0.1:{health}/", log
    finally:
        process.terminate()
        assert process.wait(30) == 0, log.read_text()


def healthy(url: str) -> bool:
    """Ask as the chart's probes do."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.status == 200


def send(url: str, count: int) -> None:
    """Send spans with the exporter of operator and agents; none may be lost."""
    tracing = open_tracing("operator", "", url, 1.0)
    for _ in range(count):
        now = time.time_ns()
        tracing.emit("qts.reconcile", tracing.root("qts.reconcile"), now, now + 1000, root=True)
    tracing.close()
    assert tracing.dropped == 0


def test_spans_are_counted_on_its_log_by_default(tmp_path: Path) -> None:
    """`debug`, verbosity basic: a line of JSON for each batch."""
    with running(configuration("collector"), tmp_path) as (url, health, log):
        until(lambda: healthy(health), 60, "health")
        send(url, 20)

        def counted() -> int:
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            return sum(line.get("spans", 0) for line in lines)

        until(lambda: counted() == 20, 30, "20 spans on the log")


def test_spans_reach_what_an_exporter_names(tmp_path: Path) -> None:
    """Over OTLP in and OTLP out, with their names and their service."""
    receiver = Receiver()
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    config = configuration("collector")
    config["exporters"] = {"otlphttp": {"endpoint": f"http://127.0.0.1:{receiver.server_address[1]}"}}
    config["service"]["pipelines"]["traces"]["exporters"] = ["otlphttp"]
    try:
        with running(config, tmp_path) as (url, health, _):
            until(lambda: healthy(health), 60, "health")
            send(url, 20)
            until(lambda: len(receiver.spans) == 20, 30, "20 spans")
        assert {(service, span.name) for service, span in receiver.spans} == {("operator", "qts.reconcile")}
    finally:
        receiver.shutdown()
        receiver.server_close()
