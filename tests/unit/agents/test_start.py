"""What a process loads at its start: no module that it does not need, whoever else would bring it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from qts_agents.__main__ import WITHOUT
from qts_core.names import ENV_STATE
from qts_core.roster import BY_NAME

#: packages of which no process loads any part
NOWHERE = {"attr", "cupy", "kopf", "kubernetes", "pandas", "pyarrow", "pygments", "rich", "yaml"}
NO_PART = {"numba.cuda", "opentelemetry.sdk", "opentelemetry.exporter", "scipy.linalg"}
#: the module's own start up to its loop, whose place is taken by what serving loads before it is ready
START = """
import asyncio, runpy, sys
from pathlib import Path
from qts_core.roster import BY_NAME

def loaded(coroutine):
    coroutine.close()
    from qts_agents.runtime import shell_of
    workload = BY_NAME[sys.argv[1]]
    shell_of(workload.role)
    if workload.role == "voter":
        __import__(workload.entry.partition(":")[0])
    print(*(name for name, module in sys.modules.items() if module is not None))
    return 0

asyncio.run = loaded
runpy.run_module("qts_agents", run_name="__main__", alter_sys=True)
"""
COLLECTOR = """
import sys
from qts_agents.__main__ import WITHOUT
sys.modules.update(dict.fromkeys(WITHOUT))
from qts_core.telemetry import open_tracing
tracing = open_tracing("pads", "local", "http://127.0.0.1:9", 1.0)
trace = tracing.root("round")
tracing.emit("round", trace, 1, 2, root=True)
print(tracing.enabled, trace[24])
"""


def said(tmp_path: object, code: str, *arguments: str) -> str:
    """Return what a fresh interpreter prints, with default settings."""
    env = {ENV_STATE: str(tmp_path), "PATH": "", "OTEL_BSP_EXPORT_TIMEOUT": "1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.parametrize("name", BY_NAME)
def test_a_process_loads_nothing_that_it_does_not_need(name: str, tmp_path: object) -> None:
    """Whatever a library of ours would like to have beside it."""
    modules = set(said(tmp_path, START, name).split())
    assert "qts_agents.runtime" in modules
    assert {module.partition(".")[0] for module in modules} & NOWHERE == set()
    assert [m for m in modules if any(m == part or m.startswith(f"{part}.") for part in NO_PART)] == []


def test_the_feed_loads_no_compiler(tmp_path: object) -> None:
    """It computes nothing where it replays."""
    modules = {module.partition(".")[0] for module in said(tmp_path, START, "market").split()}
    assert modules & {"numba", "llvmlite", "scipy"} == set()


def test_spans_are_exported_without_what_is_left_out(tmp_path: object) -> None:
    """The SDK is loaded whole where a collector is named."""
    assert said(tmp_path, COLLECTOR).split() == ["True", "1"]


def test_what_is_left_out_is_there_to_be_left_out() -> None:
    """A name that nobody installs any more would hold nothing."""
    for name in WITHOUT:
        __import__(name)
