"""Whole decision rounds of a running system, request to publication: python -m bench.decision_round --json.

`qts run` with four agents, ZeroMQ with CURVE and the embedded Valkey; a feed closes a bar at a fixed pace
(open loop: it waits for nobody) and every bar is decided on. Times are those of the "round" spans that PADS
exports, each sampled: from sending the requests until the decision is published. Beside it stands what
the same rounds spent computing alone, the slowest vote plus the decision; the rest is transport and waiting
for a core.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from bench.harness import Row, text
from tests.processes.receiver import Receiver
from tests.processes.running import free_ports, qts_arguments
from tests.processes.whole import Whole

HISTORY = 360  # bars before the first live one, enough for every window of an agent
VOTERS = ("qbmia", "quasar", "amos")
PATIENCE_S = 600.0


class Load(msgspec.Struct, frozen=True):
    """How many symbols, at which pace, how many rounds to wait for, and what is allowed."""

    symbols: int
    interval_s: float
    rounds: int
    goal_ms: float


LOADS = (Load(1, 0.05, 1_000, 5.0), Load(1_000, 1.0, 30, 50.0))
SMOKE = (Load(16, 0.5, 5, 50.0),)


def bars_file(folder: Path, symbols: int, bars: int) -> Path:
    """Write heavy-tailed walks of `symbols` as Parquet; return its path."""
    draws = np.random.default_rng(1)
    close = 100.0 * np.exp(np.cumsum(0.002 * draws.standard_t(4, (bars, symbols)), axis=0))
    opened = np.concatenate((close[:1], close[:-1]))
    wick = np.exp(0.001 * np.abs(draws.normal(size=close.shape)))
    when = pd.date_range("2024-01-01", periods=bars, freq="min", tz="UTC")
    table = pd.DataFrame({
        "timestamp": np.repeat(when, symbols), "symbol": np.tile([f"S{i:04d}" for i in range(symbols)], bars),
        "open": opened.ravel(), "high": (np.maximum(opened, close) * wick).ravel(),
        "low": (np.minimum(opened, close) / wick).ravel(), "close": close.ravel(),
        "volume": np.exp(draws.normal(5.0, 1.0, close.size)),
    })  # fmt: skip
    path = folder / f"bars-{symbols}.parquet"
    table.to_parquet(path, index=False)
    return path


def rounds_of(receiver: Receiver) -> list[tuple[float, float]]:
    """Return (whole, computing alone) in ms of every round whose three votes came, oldest first."""
    traces: dict[bytes, dict[str, Any]] = {}
    for service, span in list(receiver.spans):
        named = traces.setdefault(span.trace_id, {})
        if span.name in ("round", "decide") or span.name == f"evaluate {service}":
            named[span.name] = span
    wanted = ("round", "decide", *(f"evaluate {name}" for name in VOTERS))
    whole = [named for named in traces.values() if all(name in named for name in wanted)]
    whole.sort(key=lambda named: named["round"].start_time_unix_nano)

    def ms(span: Any) -> float:
        return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6

    return [(ms(t["round"]), max(ms(t[f"evaluate {n}"]) for n in VOTERS) + ms(t["decide"])) for t in whole]


def measure(load: Load) -> tuple[list[tuple[float, float]], bool]:
    """Return the rounds of a run, without the first tenth, and whether every message has an end."""
    receiver = Receiver()
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name:
        live = max(2 * HISTORY, 4 * load.rounds)
        path = bars_file(Path(name), load.symbols, HISTORY + live)
        changes = (
            f"market_update_interval={load.interval_s}", f"decision_interval={load.interval_s}",
            f"market.replay.path={path}", "market.replay.repeat=true",
            "observability.sample_ratio=1",
            f"observability.otlp_endpoint=http://127.0.0.1:{receiver.server_address[1]}",
        )  # fmt: skip
        arguments = [a for a in qts_arguments(free_ports(5), *changes) if "dataset" not in a]
        run = Whole(Path(name), *paired(arguments))
        try:
            ended_s = time.monotonic() + PATIENCE_S
            while len(rounds_of(receiver)) < load.rounds and time.monotonic() < ended_s:
                if run.process.poll() is not None:
                    break
                time.sleep(1.0)
        finally:
            run.process.send_signal(signal.SIGTERM)
            code = run.end()
    receiver.shutdown()
    receiver.server_close()
    found = rounds_of(receiver)
    clean = code == 0 and run.events[-1]["messages"]["unaccounted"] == 0 and len(found) >= load.rounds
    return found[len(found) // 10 :], clean


def paired(arguments: list[str]) -> list[str]:
    """Return the settings with one `--set` before each."""
    return [part for text in arguments if text != "--set" for part in ("--set", text)]


def rows(smoke: bool) -> Iterator[Row]:
    """Measure every load."""
    for load in SMOKE if smoke else LOADS:
        found, clean = measure(load)
        whole, alone = np.array(found).T if found else np.full((2, 1), np.nan)
        for name, share in (("p50", 50), ("p99", 99)):
            yield Row(
                f"round of {load.symbols} symbols, {name} of {len(found)} at {1 / load.interval_s:.3g}/s",
                round(float(np.percentile(whole, share)), 3), "ms", "computing alone",
                round(float(np.percentile(alone, share)), 3), load.goal_ms, clean,
            )  # fmt: skip


def main() -> int:
    """Print every row; 1 when a message was lost or too few rounds came."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--smoke", action="store_true", help="few rounds of few symbols")
    options = parser.parse_args()
    good = True
    for row in rows(options.smoke):
        good &= row.agrees
        print(json.dumps(row.line()) if options.json else text(row.line()), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
