"""Threads: many callers at once never abort, and layers and counts of threads change no byte of a journal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.property.kernel_cases import CASES, flat

from qts_agents.kernels import backend

pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).parents[3]
CALLERS, CALLS = 8, 10_000
#: kernels whose calls are short, so that callers often meet
SHORT = (
    "pool.lmsr_pool", "pool.log_pool", "readout.readout", "ewl.ewl", "nash.nash_choice", "philox.normal_rows",
    "recall.recall", "shapley.shapley", "sumtree.update", "convexity.convexity_t",
)  # fmt: skip


@pytest.fixture
def threads() -> Iterator[None]:
    """Let kernels split their rows over threads."""
    backend.threads(True)
    yield
    backend.threads(False)


def digest(run: Callable[[], Any]) -> tuple[bytes, ...]:
    """Return the bytes of all that a case computes."""
    return tuple(part.tobytes() for part in flat(run()))


@pytest.mark.usefixtures("threads")
def test_eight_threads_of_ten_thousand_calls_agree() -> None:
    """80,000 calls of ten kernels from eight threads give the bits of a single caller, and nothing aborts."""
    runs = [CASES[name](np.random.default_rng([3, i]), 0) for i, name in enumerate(SHORT)]
    large = np.random.default_rng(1).normal(size=(2, 80, 3, 4))  # above the least rows that are split

    def split() -> Any:
        from qts_agents.kernels.nash import nash_choice

        return nash_choice(*large)

    runs.append(split)
    expected = [digest(run) for run in runs]

    def caller(first: int) -> int:
        for i in range(first, first + CALLS):
            which = len(runs) - 1 if i % 500 == 0 else i % (len(runs) - 1)
            assert digest(runs[which]) == expected[which]
        return CALLS

    with ThreadPoolExecutor(CALLERS) as callers:
        assert sum(callers.map(caller, range(CALLERS))) == CALLERS * CALLS


JOURNEY = """
import hashlib, json, sys
from pathlib import Path
import msgspec
import numba
from qts_agents.evaluation.stage import Stage
from qts_agents.kernels import backend
from qts_agents.market.source import Simulated
from qts_agents.pads.journal import JournalWriter
from qts_agents.pads.records import decode
from qts_agents.pads.replay import replay
from qts_core.spec import SYSTEM

count = backend.threads(True)
symbols = [f"S{i}" for i in range(70)]  # enough that rows are split
made = {"market": {"source": "simulated", "symbols": symbols}, "decision_interval": 1.0, "horizon_bars": 2}
system = msgspec.convert(made, SYSTEM)
source = Simulated(system)
source.backfill = 330
stage = Stage(system, source)
records = []
inner = stage._do
def do(actions):
    records.extend((a.data, a.opens) for a in actions if type(a).__name__ == "Record")
    inner(actions)
stage._do = do
decided = sum(heard.decision is not None for heard in stage.bars(6))
folder = Path(sys.argv[1]) / "journal"
if not folder.exists():
    writer = JournalWriter(folder)
    for data, opens in records:
        writer.append(data, opens)
    writer.close()
told = replay(folder)
print(json.dumps({
    "layer": numba.config.THREADING_LAYER, "threads": count, "decided": decided,
    "equal": [told.rounds, told.equal, told.first_difference],
    "sha256": hashlib.sha256(b"".join(data for data, _ in records)).hexdigest(),
}))
"""


def journey(folder: Path, layer: str, count: int) -> dict[str, Any]:
    """Live through a market of 70 symbols in a process of its own, and replay the first such journal."""
    env = os.environ | {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": str(count)}
    ended = subprocess.run(
        [sys.executable, "-c", JOURNEY, str(folder)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


def test_layers_and_threads_change_no_byte_of_a_journal(tmp_path: Path) -> None:
    """Four agents on tbb and omp, with 1 and 2 threads: one journal, which each of them replays."""
    kinds = [("tbb", 2), ("omp", 1), ("omp", 2), ("tbb", 1)]
    told = [journey(tmp_path, *kind) for kind in kinds]
    assert [(one["layer"], one["threads"]) for one in told] == kinds
    assert {one["decided"] for one in told} == {6}
    assert [one["equal"] for one in told] == [[6, 6, None]] * len(told)
    assert len({one["sha256"] for one in told}) == 1
