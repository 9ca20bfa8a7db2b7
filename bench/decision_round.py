"""Whole decision rounds of a running system, request to publication: python -m bench.decision_round --json.

`qts run` with four agents, ZeroMQ with CURVE and the embedded Valkey; a feed closes a bar at a fixed pace
(open loop: it waits for nobody) and every bar is decided on: the least distance of decisions is half a bar,
as with a whole one a bar that comes a moment early is passed over. Times are those of the "round" spans that
PADS exports, from sending the requests until the decision is published. Of rounds of one symbol every fourth
is sampled, so that building and exporting spans, which no user samples ten times a second, is no load
between them; a sampled round is the same round. Beside it stands the floor of the same machine at the same
minute, four bare pyzmq processes at the same pace (`bench.round_floor`). More figures say where the time
goes: a round besides the agents' own computing (the goal of the messaging's design), from the publication
of the bar to the decision's (what a user waits for, whoever comes first where processes share cores); when
the last voter began, the votes were together, the board had decided; what was computed alone; the processor
time of all processes. The collector of the spans runs at normal priority, whatever that of the benchmark
is: it is no part of what is measured. With --low-latency the run has that option of `qts run`, so cores do
not fall asleep between its processes' turns, which come ahead of others; the floor has that, too.
"""

from __future__ import annotations

import contextlib
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
from bench.harness import Row, command, told
from bench.round_floor import floor
from tests.processes.receiver import Receiver
from tests.processes.running import qts_arguments
from tests.processes.whole import Whole

from qts_cli.latency import low_latency
from qts_cli.sockets import free_ports

HISTORY = 360  # bars before the first live one, enough for every window of an agent
VOTERS = ("qbmia", "quasar", "amos")
PARTS = ("publish market", "round", "decide")  # spans of each round, beside one for each vote
BESIDES_MS = 5.0  # p99 of a round of one symbol, less the agents' own computing (messaging.md §9)
PATIENCE_S = 600.0


class Load(msgspec.Struct, frozen=True):
    """How many symbols, at which pace, how many sampled rounds to wait for, and what is allowed."""

    symbols: int
    interval_s: float
    rounds: int
    goal_ms: float
    sampled: float = 1.0  # share


#: agents learn from outcomes after some 30 bars, and most rounds must come after that
LOADS = (Load(1, 0.1, 200, 5.0, sampled=0.25), Load(1_000, 1.0, 120, 50.0))
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


class Round(msgspec.Struct, frozen=True):
    """When what happened in a round, ms after its first request was sent; and what was computed alone."""

    begun: float  # the last voter began
    together: float  # the last vote was in
    decided: float
    published: float
    computing: float  # the slowest vote and the decision
    besides: float  # published, less the computing
    waited: float  # from the bar's publication to the decision's


def rounds_of(receiver: Receiver) -> list[Round]:
    """Return every round whose three votes came, oldest first."""
    traces: dict[bytes, dict[str, Any]] = {}
    for service, span in list(receiver.spans):
        named = traces.setdefault(span.trace_id, {})
        if span.name in PARTS or span.name == f"evaluate {service}":
            named[span.name] = span
    votes = [f"evaluate {name}" for name in VOTERS]
    whole = [named for named in traces.values() if all(name in named for name in (*PARTS, *votes))]
    whole.sort(key=lambda named: named["round"].start_time_unix_nano)
    return [_round([named[part] for part in PARTS], [named[vote] for vote in votes]) for named in whole]


def _round(parts: list[Any], votes: list[Any]) -> Round:
    """Read the times of one round's spans: those of PARTS, and its votes'."""
    bar, whole, decide = parts

    def ms(at_ns: int) -> float:
        return float(at_ns - whole.start_time_unix_nano) / 1e6

    def lasted(span: Any) -> float:
        return float(span.end_time_unix_nano - span.start_time_unix_nano) / 1e6

    published, computing = lasted(whole), max(lasted(vote) for vote in votes) + lasted(decide)
    return Round(
        max(ms(vote.start_time_unix_nano) for vote in votes),
        ms(decide.start_time_unix_nano),
        ms(decide.end_time_unix_nano),
        published,
        computing,
        published - computing,
        published - ms(bar.start_time_unix_nano),
    )


class Measured(msgspec.Struct, frozen=True):
    """What a run showed."""

    rounds: list[Round]  # without the first tenth
    processor_ms: dict[str, float]  # of processes and of their loops, a round
    clean: bool  # every message has an end, and enough rounds came


def collect(receiver: Receiver) -> None:
    """Take spans at normal priority."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # of this thread and those it starts
    receiver.serve_forever()


def processor_s(run: Whole) -> dict[str, float]:
    """Return the processor time of living processes, and of their first threads, which are the loops."""
    names = {int(event["pid"]): str(event.get("agent", "redis")) for event in run.events if event.get("pid")}
    taken = {}
    for pid, name in names.items():
        for path, of in ((f"/proc/{pid}/stat", name), (f"/proc/{pid}/task/{pid}/stat", f"{name}'s loop")):
            with contextlib.suppress(OSError):
                fields = Path(path).read_text().rpartition(")")[2].split()
                taken[of] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return taken


def watched(run: Whole, receiver: Receiver, load: Load) -> dict[str, float]:
    """Wait until all rounds came; return the ms of processor time from bar to bar, once rounds are played."""
    began_s, before = time.monotonic(), dict[str, float]()
    while time.monotonic() < began_s + PATIENCE_S and run.process.poll() is None:
        found = len(rounds_of(receiver))
        if found and not before:
            began_s, before = time.monotonic(), processor_s(run)
        if found >= load.rounds:
            share = 1e3 * load.interval_s / (time.monotonic() - began_s)
            return {name: share * (s - before.get(name, 0.0)) for name, s in processor_s(run).items()}
        time.sleep(2.0)
    return {}


def measure(load: Load, *options: str) -> Measured:
    """Let a run with these options of `qts run` decide so often."""
    receiver = Receiver()
    threading.Thread(target=collect, args=(receiver,), daemon=True).start()
    with tempfile.TemporaryDirectory() as name:
        live = max(2 * HISTORY, 2 * round(load.rounds / load.sampled))
        path = bars_file(Path(name), load.symbols, HISTORY + live)
        changes = (
            f"market_update_interval={load.interval_s}", f"decision_interval={load.interval_s / 2}",
            f"market.replay.path={path}", "market.replay.repeat=true",
            f"observability.sample_ratio={load.sampled}",
            f"observability.otlp_endpoint=http://127.0.0.1:{receiver.server_address[1]}",
        )  # fmt: skip
        arguments = [a for a in qts_arguments(free_ports(5), *changes) if "dataset" not in a]
        run = Whole(Path(name), *options, *paired(arguments))
        try:
            processor_ms = watched(run, receiver, load)
        finally:
            run.process.send_signal(signal.SIGTERM)
            code = run.end()
    receiver.shutdown()
    receiver.server_close()
    found = rounds_of(receiver)
    clean = code == 0 and run.events[-1]["messages"]["unaccounted"] == 0 and len(found) >= load.rounds
    return Measured(found[len(found) // 10 :], processor_ms, clean)


def paired(arguments: list[str]) -> list[str]:
    """Return the settings with one `--set` before each."""
    return [part for text in arguments if text != "--set" for part in ("--set", text)]


def rows(smoke: bool, awake: bool) -> Iterator[Row]:
    """Measure every load."""
    for load in SMOKE if smoke else LOADS:
        with low_latency() if awake else contextlib.nullcontext():
            bare = floor(load.symbols, load.interval_s, max(5, min(200, load.rounds)))
        found = measure(load, *["--low-latency"] * awake)
        taken = {
            name: [getattr(r, name) for r in found.rounds] or [np.nan] for name in Round.__struct_fields__
        }
        what = f"of {len(found.rounds)} at {1 / load.interval_s:.3g}/s"
        for name, share in (("p50", 50), ("p99", 99)):
            yield Row(
                f"round of {load.symbols} symbols, {name} {what}",
                round(float(np.percentile(taken["published"], share)), 3), "ms", "bare pyzmq and XADD",
                round(float(np.percentile(bare, share)), 3), load.goal_ms, found.clean,
            )  # fmt: skip
            of = f"round of {load.symbols} symbols"
            for part, how in (
                ("besides", "besides the agents' computing"),
                ("waited", "from bar to decision"),
            ):
                value = round(float(np.percentile(taken[part], share)), 3)
                goal = BESIDES_MS if (part, name, load.symbols) == ("besides", "p99", 1) else None
                yield Row(f"{of}, {how}, {name}", value, "ms", goal=goal)
        for name in ("begun", "together", "decided", "computing"):
            value = round(float(np.median(taken[name])), 3)
            yield Row(f"round of {load.symbols} symbols, {name}, p50", value, "ms")
        spent = found.processor_ms
        whole = sum(ms for name, ms in spent.items() if not name.endswith("loop"))
        for name, ms in {"all processes": whole, **spent}.items():
            yield Row(f"processor time of {name} a round of {load.symbols} symbols", round(ms, 2), "ms")


def main() -> int:
    """Print every row; 1 when a message was lost or too few rounds came."""
    parser = command(__doc__, "few rounds of few symbols")
    parser.add_argument("--low-latency", action="store_true", help="with this option of qts run")
    options = parser.parse_args()
    return told(rows(options.smoke, options.low_latency), options.json)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
