"""A real Prometheus over given targets, asked by its HTTP interface."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.waiting import until

from qts_cli.sockets import free_ports
from qts_operator.alerts import THRESHOLDS, groups

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not on PATH (Debian's package prometheus)"
)


class Server:
    """What a Prometheus answers."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, path: str, **given: str) -> Any:
        query = f"?{urllib.parse.urlencode(given)}" if given else ""
        with urllib.request.urlopen(f"{self.url}/{path}{query}", timeout=10) as answer:
            told = json.loads(answer.read())
        assert told["status"] == "success"
        return told["data"]

    def query(self, text: str) -> list[Any]:
        """Return the samples of a query, a panel's variables standing for everything."""
        return self.ask("query", query=text.replace("$namespace", ".*").replace("$system", ".*"))["result"]

    def until(self, check: Callable[[], Any], what: str) -> Any:
        """Return the first true answer; one that cannot be had yet counts as none."""
        return until(check, 120.0, what, every_s=0.5)


@contextmanager
def scraping(folder: Path, jobs: list[dict[str, Any]]) -> Iterator[Server]:
    """Run Prometheus with the rules of this repository over static targets, each once a second."""
    (port,) = free_ports(1)
    (folder / "rules.yaml").write_text(yaml.safe_dump(groups(THRESHOLDS)))
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": jobs,
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = ["prometheus", f"--web.listen-address=127.0.0.1:{port}", "--config.file=prometheus.yml"]
    command += ["--storage.tsdb.path=data", "--enable-feature=exemplar-storage"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            server = Server(port)
            server.until(lambda: server.ask("status/buildinfo"), "prometheus answers")
            yield server
        finally:
            process.terminate()
            process.wait(60)


def empty(server: Server, panels: Any) -> list[str]:
    """Return the queries of panels that have no answer though there must be one."""
    asked = {f"{p.title}/{legend}": q for p in panels if not p.quiet for legend, q in p.queries.items()}
    # a filter `> 0` at the end shows only what is not well
    return [name for name, query in asked.items() if not query.endswith(" > 0") and not server.query(query)]


def filled(server: Server, panels: Any, seconds: float = 120.0) -> None:
    """Wait until no query is without an answer; name those that stay so."""
    end = time.monotonic() + seconds
    while (missing := empty(server, panels)) and time.monotonic() < end:
        time.sleep(1.0)
    assert not missing, ", ".join(missing)


def broken_rules(server: Server) -> list[tuple[str, str]]:
    """Return the rules that could not be evaluated."""
    rules = [r for g in server.ask("rules")["groups"] for r in g["rules"]]
    assert len(rules) > 20
    return [(r["name"], r["lastError"]) for r in rules if r["health"] == "err"]


def firing(server: Server) -> set[str]:
    """Return the names of the alerts that fire."""
    return {a["labels"]["alertname"] for a in server.ask("alerts")["alerts"] if a["state"] == "firing"}
