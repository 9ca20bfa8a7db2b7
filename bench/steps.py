"""What a bar and a round cost each agent, in one process without a wire: python -m bench.steps --json.

The stage of `qts evaluate` decides on every bar of a made-up market; each call of an agent is timed. So this
is what `bench.decision_round` would show if transport and waiting for a core were free.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bench.decision_round import HISTORY, bars_file
from bench.harness import Row, command, median_time, told

from qts_agents.evaluation.stage import Stage
from qts_agents.kernels import backend
from qts_agents.kernels.outcomes import CLASSES
from qts_agents.market.source import open_source
from qts_agents.pads.scorecard import BOARD, ROWS, Rows, scores
from qts_agents.pads.tables import base_weights
from qts_core import config
from qts_core.allocator import keep_threshold
from qts_core.spec import System

WARM = 40  # bars that are not counted: the first outcomes are learned after 30
LOADS, SMOKE = ((1, 200), (1_000, 12)), ((1, 3),)  # symbols, bars
CALLS = {"pads": ("on_update", "on_answers"), "voter": ("on_bars", "on_request", "on_feedback")}


def system(path: Path) -> System:
    """Return the default settings over the bars of `path`, decided on at every bar."""
    changes = (
        "market.source=replay", f"market.replay.path={path}", "market.replay.speed=0",
        "market_update_interval=1", "decision_interval=1",
    )  # fmt: skip
    return config.load(None, {}, changes).system


def timed(agent: Any, name: str, calls: tuple[str, ...], taken: dict[str, list[float]]) -> None:
    """Let each of an agent's `calls` write down how many ms it takes."""

    def wrapped(inner: Any, key: str) -> Any:
        def call(*arguments: Any) -> Any:
            begun_s = time.perf_counter()
            try:
                return inner(*arguments)
            finally:
                taken[key].append(1e3 * (time.perf_counter() - begun_s))

        return call

    for call in calls:
        setattr(agent, call, wrapped(getattr(agent, call), f"{name}.{call}"))


def rows(symbols: int, bars: int) -> Iterator[Row]:
    """Time one life over `bars` bars after those that warm it up."""
    taken: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        made = system(bars_file(Path(folder), symbols, HISTORY + 2 * (HISTORY + WARM + bars)))
        stage = Stage(made, open_source(made))
        timed(stage._pads, "pads", CALLS["pads"], taken)
        for name, voter in stage._voters.items():
            timed(voter, name, CALLS["voter"], taken)
        for number, _ in enumerate(stage.bars(WARM + bars)):
            if number == WARM - 1:
                taken.clear()
    for name, ms in taken.items():
        peer = round(float(np.percentile(ms, 99)), 3)
        yield Row(
            f"{name}, {symbols} symbols, p50 of {len(ms)}",
            round(float(np.median(ms)), 3),
            "ms",
            "its p99",
            peer,
        )


def scoring(times: int) -> Row:
    """Time how good forecasts were over a full ring, as `/scorez` and the metrics ask; beside the rounds."""
    draws = np.random.default_rng(1)
    names = (*base_weights(config.load(None, {}, ()).system.board()), BOARD)
    p = draws.dirichlet(np.ones(len(CLASSES)), (ROWS, len(names))).astype(np.float32)
    y = draws.integers(0, len(CLASSES), ROWS).astype(np.uint8)
    rows = Rows(names, ROWS, p, draws.uniform(0.1, 0.9, ROWS), y)
    taken = 1e3 * median_time(lambda: scores(rows), times)
    return Row(f"scores of {ROWS} rows, {len(names)} forecasters", round(taken, 2), "ms")


def main() -> int:
    """Print every row."""
    parser = command(__doc__, "few bars of one symbol")
    parser.add_argument("--symbols", type=int, help="so many alone, of those that are measured")
    options = parser.parse_args()
    keep_threshold()  # as every process of the system does
    backend.threads(hardware_optimization=True)
    loads = SMOKE if options.smoke else LOADS
    for symbols, bars in (load for load in loads if options.symbols in (None, load[0])):
        told(rows(symbols, bars), options.json)
    return told([scoring(3 if options.smoke else 50)], options.json)


if __name__ == "__main__":
    raise SystemExit(main())
