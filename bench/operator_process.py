"""One operator process beside a benchmark: its metrics, CPU time and memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from math import inf, nan
from pathlib import Path
from typing import Any

from bench.harness import Row

from qts_cli.sockets import free_ports
from qts_operator.session import Access

#: structlog loads rich where it is, 5 MB; the image of the operator has none, it is of the command line alone
BEFORE = "import sys; sys.modules['rich'] = None"
MAIN = "import runpy; runpy.run_module('qts_operator', run_name='__main__', alter_sys=True)"
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
Sample = tuple[str, dict[str, str], float]
Counts = dict[float, float]  # of a histogram: upper bound in seconds → how many were not above it


def quantile_row(title: str, counts: Counts, share: float, **more: Any) -> Row:
    """Return the upper edge of the bucket that holds a quantile, in ms; `counts` are cumulative."""
    edges = sorted(counts.items())
    whole = edges[-1][1] if edges else 0.0
    if not whole:
        return Row(title, nan, "ms", unmeasured="nothing was counted", **more)
    edge = next(le for le, count in edges if count >= share * whole)
    if edge == inf:
        return Row(title, nan, "ms", unmeasured=f"above the last bucket, {edges[-2][0] * 1000:g} ms", **more)
    return Row(title, edge * 1000, "ms", **more)


def since(counts: Counts, before: Counts) -> Counts:
    """Return what came into each bucket after `before`."""
    return {le: count - before.get(le, 0.0) for le, count in counts.items()}


def _like_the_image(folder: Path) -> dict[str, str]:
    """Return the environment in which byte code comes from a folder, once it is there.

    Who compiles his own modules, for want of a place for them, keeps 8 MB of what that took.
    """
    left = ("KUBECONFIG", "PYTHONDONTWRITEBYTECODE")
    env = {k: v for k, v in os.environ.items() if k not in left} | {"PYTHONPYCACHEPREFIX": str(folder)}
    if not folder.exists():
        load = f"{BEFORE}; import qts_operator.__main__, qts_operator.shell"
        subprocess.run([sys.executable, "-c", load], env=env, check=True)
    return env


class Process:
    """One operator process; its metrics, CPU time and memory."""

    def __init__(self, access: Access, folder: Path, number: int, home: str) -> None:
        ports = free_ports(2)
        self._metrics = f"http://127.0.0.1:{ports[1]}/metrics"
        self._ready = f"http://127.0.0.1:{ports[0]}/readyz"
        arguments = [
            *(sys.executable, "-c", f"{BEFORE}; {MAIN}", "--server", access.server, "--host", "127.0.0.1"),
            *(
                "--token-file",
                str(folder / "token"),
                "--ca-file",
                str(folder / "ca.crt"),
                "--namespace",
                home,
            ),
            *("--http-port", str(ports[0]), "--metrics-port", str(ports[1]), "--identity", f"bench-{number}"),
        ]
        env = _like_the_image(folder / "bytes")
        log = (folder / f"operator-{number}.log").open("w")
        self._process = subprocess.Popen(arguments, stdout=log, stderr=subprocess.STDOUT, env=env)

    def ready(self) -> bool:
        """Tell whether it says that every kind is synced."""
        try:
            with urllib.request.urlopen(self._ready, timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def samples(self) -> list[Sample]:
        """Return everything that /metrics tells; nothing while it does not answer."""
        try:
            with urllib.request.urlopen(self._metrics, timeout=10) as answer:
                told = answer.read().decode()
        except OSError:
            return []
        return [(m[1], dict(_LABEL.findall(m[2] or "")), float(m[3])) for m in _SAMPLE.finditer(told)]

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum of a metric over the samples with these labels."""
        return sum(v for n, known, v in self.samples() if n == name and labels.items() <= known.items())

    def writes(self) -> int:
        """Return how many objects and statuses were written."""
        return int(self.sum("qts_writes_total"))

    def buckets(self, name: str) -> Counts:
        """Return the cumulative counts of a histogram by upper bound in seconds."""
        return {float(k["le"]): v for n, k, v in self.samples() if n == f"{name}_bucket"}

    def cpu_s(self) -> float:
        """Return seconds of CPU since the start."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        """Return resident memory in MB."""
        return rss_mb(self._process.pid)

    def peak_mb(self) -> float:
        """Return the most that was ever resident, in MB."""
        return rss_mb(self._process.pid, "VmHWM")

    def stop(self) -> None:
        """End it by SIGTERM."""
        self._process.terminate()
        try:
            self._process.wait(20)
        finally:
            self._process.kill()


def rss_mb(pid: int, what: str = "VmRSS") -> float:
    """Return the resident memory of a process in MB; VmHWM: the most that it ever was."""
    told = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+)", told)[1]) / 1000  # type: ignore[index]
