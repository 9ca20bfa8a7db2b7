"""Processor time of each process of a run until it is at work, caches warm: python -m bench.loads --json.

A process of its own for each, with shipped settings but simulated messaging, so that nobody is waited for:
what it takes is imports, loading of kernels, the rehearsal. It is killed at its word `started`. The least of
seven counts, as whoever shares the machine only adds. `--beside FOLDER` runs another checkout in turns.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.harness import Row, a_folder, command, told
from tests.processes.whole import AGENTS, ROOT, environment

from qts_cli.sockets import free_ports
from qts_core import names

PROCESSES = (*AGENTS, "market")
MEMBERS = ("core", "messaging", "agents")
SHIPPED = ROOT / "quantum_system_config.json"
RUNS = 7


def start(name: str, tree: Path, folder: Path, *options: str) -> tuple[float, int]:
    """Return the processor time in s until `name` of a checkout is at work, and what modules Python told."""
    config, port = folder / "config.json", str(free_ports(1)[0])
    config.write_text(json.dumps(json.loads(SHIPPED.read_text()) | {"use_real_messaging": False}))
    env = environment() | {
        "PYTHONPATH": os.pathsep.join(str(tree / member / "src") for member in MEMBERS),
        names.ENV_CONFIG: str(config),
        names.ENV_STATE: str(folder),
        names.ENV_HTTP_PORT: port,
        names.ENV_METRICS_PORT: port,
    }
    command = [sys.executable, *options, "-m", "qts_agents", name]
    with (folder / "told").open("w+") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        assert process.stdout is not None
        said = next((line for line in process.stdout if json.loads(line)["event"] == "started"), "")
        process.send_signal(signal.SIGKILL)
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = -signal.SIGKILL
        errors.seek(0)
        lines = errors.read().splitlines()
    if not said:
        raise RuntimeError(f"{name} of {tree} did not start: {lines[-3:]}")
    return used.ru_utime + used.ru_stime, sum(line.startswith("import time:") for line in lines)


def rows(beside: Path | None, runs: int) -> Iterator[Row]:
    """Measure each process, and that of the other checkout in turns with it."""
    trees = [ROOT] if beside is None else [ROOT, beside]
    peer, total = str(beside.name) if beside else "", [0.0 for _ in trees]
    for name in PROCESSES:
        with tempfile.TemporaryDirectory() as folder:
            for tree in trees:
                start(name, tree, Path(folder))  # fills the caches
            modules = [start(name, tree, Path(folder), "-X", "importtime")[1] for tree in trees]
            taken = [[start(name, tree, Path(folder))[0] for tree in trees] for _ in range(runs)]
        least = [min(column) for column in zip(*taken, strict=True)]
        total = [a + b for a, b in zip(total, least, strict=True)]
        for figure, found, unit in (("processor time", least, "s"), ("modules", modules, "")):
            yield Row(f"{name}: {figure} until at work", *_told(found, unit, peer))
    yield Row("all together: processor time until at work", *_told(total, "s", peer))


def _told(found: list[float] | list[int], unit: str, peer: str) -> tuple[float, str, str, float | None]:
    others = [round(each, 3) for each in found[1:]]
    return round(found[0], 3), unit, peer, others[0] if others else None


def main() -> int:
    """Print every row; nothing of it is a goal."""
    parser = command(__doc__, "one run, after one that fills the caches")
    parser.add_argument("--beside", type=a_folder, help="another checkout, to run in turns with this one")
    options = parser.parse_args()
    if options.beside and not all((options.beside / member / "src").is_dir() for member in MEMBERS):
        parser.error(f"--beside: {options.beside} is no checkout of this project")
    beside = options.beside.resolve() if options.beside else None
    return told(rows(beside, 1 if options.smoke else RUNS), options.json)


if __name__ == "__main__":
    sys.exit(main())
