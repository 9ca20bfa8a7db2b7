"""Timing and printing shared by all benchmarks: one JSON object a line, medians, results compared first."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

Rounds = list[list[int]]
QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


@dataclass(frozen=True)
class Row:
    """One measured figure; `ratio` above 1: we are faster than the peer; `goal` bounds `value`.

    `unmeasured` says why there is no value; a goal is then not met.
    """

    figure: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    goal: float | None = None
    agrees: bool = True  # our result equals the peer's within the kernel's tolerance
    lower_is_better: bool = True
    unmeasured: str = ""

    def line(self) -> dict[str, object]:
        """Return what is printed: the row, the ratio to the peer, and whether goal and agreement hold."""
        out: dict[str, object] = asdict(self)
        if self.unmeasured:
            return out | {"value": None, "ratio": None, "ok": self.agrees and self.goal is None}
        ratio = None
        if self.peer_value is not None and self.value > 0.0 and self.peer_value > 0.0:
            ratio = self.peer_value / self.value
            ratio = ratio if self.lower_is_better else 1.0 / ratio
        met = (
            self.goal is None or (self.value <= self.goal) == self.lower_is_better or self.value == self.goal
        )
        return out | {"ratio": ratio, "ok": self.agrees and met}


def latency_rows(
    title: str, peer: str, allowed: dict[str, float], ours: list[int], theirs: list[int], sent: int
) -> Iterator[Row]:
    """Compare two lists of latencies (ns) of `sent` messages each, by nearest-rank quantiles in µs."""
    yield from rounds_rows(title, peer, allowed, ([ours], [theirs]), sent)


def rounds_rows(
    title: str, peer: str, allowed: dict[str, float], found: tuple[Rounds, Rounds], sent: int
) -> Iterator[Row]:
    """Compare latencies (ns) by rounds of `sent` messages: the medians of the rounds' quantiles, in µs.

    A stall of the machine falls into one round of one of the two; it must not decide between them.
    """
    agrees = all(len(taken) == sent for rounds in found for taken in rounds)
    for name, share in QUANTILES.items():
        mine, other = (statistics.median(quantile(v, share) for v in rounds) / 1000 for rounds in found)
        yield Row(f"{title}, {name}", mine, "us", peer, other, other * allowed[name], agrees)


def quantile(values: list[int], share: float) -> int:
    """Return the nearest-rank quantile."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def median_time(call: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of `repeats` calls after one that is not counted."""
    call()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def run(rows: Iterable[Callable[[bool], Row]], title: str, argv: list[str] | None = None) -> int:
    """Run every row function with `smoke`, print it, and return 1 if a result disagrees with its peer.

    A missed goal is printed as such and does not fail the run: it depends on the machine.
    """
    options = command(title, "short: does it run, do the results agree").parse_args(argv)
    return told((function(options.smoke) for function in rows), options.json)


def command(about: str | None, smoke: str = "") -> argparse.ArgumentParser:
    """Return the options that every benchmark has; `smoke` tells what its short form is, "": it has none."""
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.{Path(sys.argv[0]).stem}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    if smoke:
        parser.add_argument("--smoke", action="store_true", help=smoke)
    return parser


def a_folder(text: str) -> Path:
    """Read an option that names a folder; argparse tells its user when there is none."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: {'no folder' if path.exists() else 'no such folder'}")
    return path


def a_target(text: str) -> Path:
    """Read an option that names a file to write, before anything is measured."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: a folder; name a file")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: its folder does not exist; make it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text}: cannot be written; name another")
    return path


def told(rows: Iterable[Row], as_json: bool = True) -> int:
    """Print each row as it comes; return 1 if one disagrees with its peer."""
    agreed = True
    for row in rows:
        agreed &= row.agrees
        line = row.line()
        print(json.dumps(line) if as_json else text(line), flush=True)
    return 0 if agreed else 1


def text(line: dict[str, object]) -> str:
    """Return a row for people."""
    mark = "ok  " if line["ok"] else "MISS" if line["agrees"] else "DIFF"
    value = (
        f"not measured: {line['unmeasured']}" if line["unmeasured"] else f"{line['value']:.4g} {line['unit']}"
    )
    text = f"{mark} {line['figure']}: {value}"
    if line["goal"] is not None:
        text += f" (goal {line['goal']:.4g})"
    if line["ratio"] is not None:
        text += f"; {line['peer']} {line['peer_value']:.4g}, ratio {line['ratio']:.3g}"
    return text


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def end(main: Callable[[list[str]], int]) -> None:
    """Run a program and end its process at once, also after an error: ZeroMQ contexts are never torn down."""
    try:
        code = main(sys.argv[1:])
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else 1
        if isinstance(asked.code, str):
            sys.stderr.write(asked.code + "\n")
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
