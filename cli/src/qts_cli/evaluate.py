"""`qts evaluate`: a market through the real agents at full speed, and whether they know anything."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from qts_cli.run import settings
from qts_cli.supervisor import die_with_parent
from qts_cli.whole import Whole
from qts_core import config
from qts_core.errors import ConfigError

if TYPE_CHECKING:
    from qts_agents.evaluation.report import Report
    from qts_agents.evaluation.track import Track


Keep = Callable[[bytes], None]


def evaluate(
    market: str | None = None,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("evaluation.html"),
    bars: Whole | None = None,
    ablations: bool = True,
    jobs: Whole = 0,
    ledger: Path | None = None,
    journal: Path | None = None,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
    config_file: Annotated[Path | None, Parameter(name="--config")] = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
) -> int:
    """Replay a market through the real agents and say, with scores and costs, whether there is an edge.

    Parameters
    ----------
    market
        A packaged data set, or a CSV or Parquet file of bars; without it the market of the settings.
    output
        The HTML report; the same as JSON is written beside it.
    bars
        Decide on at most so many bars after the history; needed where the market does not end.
    ablations
        Also run the board without each of its seats and without phases.
    jobs
        Processes for the ablations; 0 = one for each core.
    ledger
        The list of all trials; without it trials.jsonl beside the report.
    journal
        A new folder that takes the board's journal, for qts decisions, replay and plot.
    json_
        Print the JSON report instead of the summary.
    config_file
        Settings file; without it $QTS_CONFIG, else quantum_system_config.json of this folder.
    set_
        Override a setting, for example horizon_bars=10; may be given again.
    """
    if bars is not None and bars < 1:
        raise ConfigError(f"--bars: expected at least 1, found {bars}")
    if jobs < 0:
        raise ConfigError(f"--jobs: expected 0 or more, found {jobs}")
    book = ledger or output.parent / "trials.jsonl"
    _writable(output, book)
    loaded = settings(config_file, (*market_sets(market), *set_))

    import msgspec

    from qts_agents.evaluation import trials
    from qts_cli.evaluation_page import page

    trials.read(book)  # a damaged one is told now, not after the runs
    with _journal(journal) as keep:
        told = _evaluated(loaded, bars, ablations, jobs or os.cpu_count() or 1, book, keep)
    text = msgspec.json.format(msgspec.json.encode(_plain(told)), indent=1)
    _written(output, page(told).encode())
    _written(output.with_suffix(".json"), text + b"\n")
    print(text.decode() if json_ else _summary(told, output))
    return 0


def _writable(output: Path, book: Path) -> None:
    """Refuse names under which no report or ledger can be written; told now, not after the runs."""
    if output.suffix != ".html":
        raise ConfigError(f'--output: expected a name that ends in ".html", found "{output}"')
    if not output.parent.is_dir():
        raise ConfigError(f"--output: the folder {output.parent} does not exist; make it first")
    taken = next((path for path in (output, output.with_suffix(".json")) if path.is_dir()), None)
    if taken:
        raise ConfigError(f"--output: {taken} is a folder; name a file")
    if book.resolve() in (output.resolve(), output.with_suffix(".json").resolve()):
        raise ConfigError(f"--ledger: {book} is where the report is written; name another file")
    _allowed("--output", output)
    _allowed("--ledger", book)


def _allowed(flag: str, file: Path) -> None:
    """Refuse a file whose folder, or the nearest one above it that is there, takes no files."""
    folder = next(above for above in file.absolute().parents if above.exists())
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{flag}: the folder {folder} cannot be written to; name another")


@contextmanager
def _journal(folder: Path | None) -> Iterator[Keep | None]:
    """Give what takes the records of a journal; the folder must be new, or two lives would be read as one."""
    if folder is None:
        yield None
        return
    from qts_agents.pads.journal import JournalWriter

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--journal: {folder} is there and not empty; name a new folder")
    _allowed("--journal", folder / "0001")
    writer = JournalWriter(folder)
    try:
        yield writer.append
    finally:
        writer.close()


def market_sets(market: str | None) -> tuple[str, ...]:
    """Return the settings that choose a data set or a file; ConfigError where there is none of that name."""
    if market is None:
        return ()
    from qts_agents.market import datasets, record

    key = "path" if record.is_file(market) else "dataset"
    if key == "dataset":
        datasets.origin_of(market, "MARKET")
    elif not Path(market).exists():
        raise ConfigError(f"MARKET: {market}: no such file; name a packaged data set, or a file of bars")
    return ('market.source="replay"', f"market.replay.{key}={json.dumps(market)}", "market.replay.speed=0")


def _evaluated(
    loaded: config.Loaded, bars: int | None, ablate: bool, jobs: int, book: Path, keep: Keep | None
) -> Report:
    """Run everything, add what was tried to the ledger and return the report."""
    import msgspec

    from qts_agents.evaluation import ablations, report, theories, trials
    from qts_agents.evaluation.track import play

    system = loaded.system
    variants = ablations.ablations(system) if ablate else {}
    track = play(system, bars, keep=keep)
    others = _runs(variants, bars, jobs)
    made = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "code": _code(),
        "settings": loaded.digest,
        "ledger": str(book),
    }
    scale = system.pads.signal_scale
    new = report.tried(track, others, scale, made["code"], made["settings"])
    ratios = trials.ratios(trials.add(book, new), track.tape.source, track.tape.close_ns.size)
    told = report.report(track, others, scale, ratios, made)
    told = msgspec.structs.replace(told, theories=theories.compare(track, system))
    told.speed["factor"] = told.speed["bars_per_s"] * system.market_update_interval
    return told


def _runs(variants: dict[str, Any], bars: int | None, jobs: int) -> dict[str, Track]:
    """Run each variant; in processes of their own where more than one may run."""
    trees = {name: config.dump(system) for name, system in variants.items()}
    if jobs == 1 or len(trees) < 2:
        return {name: _run(tree, bars) for name, tree in trees.items()}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(trees)), spawn, initializer=_end_with_parent) as pool:
        waiting = {name: pool.submit(_run, tree, bars) for name, tree in trees.items()}
        try:
            return {name: future.result() for name, future in waiting.items()}
        except KeyboardInterrupt:
            for child in multiprocessing.active_children():
                child.kill()  # else the pool waits for every variant that is left
            raise
        except BrokenProcessPool:
            lost = [name for name, future in waiting.items() if future.exception()][:jobs]  # they ran first
            raise ConfigError(
                f"--jobs: an ablation's process was killed ({' or '.join(lost)}), as when memory runs out; "
                "try --jobs 1"
            ) from None


def _end_with_parent() -> None:
    """Leave nothing running when this evaluation is killed, even before its pool could ask for that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal it goes to all; whoever asked ends them
    die_with_parent()
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)


def _run(tree: bytes, bars: int | None) -> Track:
    import msgspec

    from qts_agents.evaluation.track import play

    return play(config.convert(msgspec.json.decode(tree)), bars)


def _code() -> str:
    """Return version, commit where there is one (marked when the tree was changed), and digest of the source.

    Without the digest all that is tried and never committed would be one trial of the ledger.
    """
    told = version("quantum-trading-system")
    try:
        ask = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
        found = subprocess.run(ask, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return f"{told} source {_source(_packages())}"
    return f"{told}+{found.stdout.strip()} source {_source(_packages())}"


def _packages() -> list[Path]:
    """Return the folders of the packages that an evaluation runs."""
    specs = (find_spec(name) for name in ("qts_agents", "qts_cli", "qts_core", "qts_messaging"))
    return [Path(spec.origin).parent for spec in specs if spec is not None and spec.origin is not None]


def _source(packages: list[Path]) -> str:
    """Return twelve digits of the SHA-256 of the Python files of `packages`, names and contents."""
    digest = hashlib.sha256()
    for package in packages:
        for file in sorted(package.rglob("*.py")):
            digest.update(f"{package.name}/{file.relative_to(package).as_posix()}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _plain(told: Report) -> Any:
    """Return the report as JSON can hold it: floats to 8 digits, what is not a number as null."""
    import msgspec

    def short(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.8g}") if math.isfinite(value) else None
        if isinstance(value, dict):
            return {key: short(item) for key, item in value.items()}
        return [short(item) for item in value] if isinstance(value, list) else value

    return short(msgspec.to_builtins(told))


def _written(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"--output: {path} cannot be written: {error.strerror or error}") from None


def _summary(told: Report, output: Path) -> str:
    lines = [
        (
            f"{told.market['bars']} bars, {told.rounds} rounds in {told.speed['elapsed_s']:.1f} s: "
            f"{told.speed['factor']:.0f} times the speed of a run at one bar per market_update_interval"
        )
    ]
    for name, one in told.forecasters.items():
        gain, hit = one.log_gain, one.hit
        if not one.rows:
            lines.append(f"{name:13} nothing to score: no opinion whose horizon has ended")
            continue
        hits = f"hits {hit.rate:.1%} ({hit.low:.1%} to {hit.high:.1%})" if hit.n else "no side taken"
        error = f"± {gain.error:.4f}" if math.isfinite(gain.error) else "(too few rounds for an error)"
        lines.append(
            f"{name:13} log score {gain.value:+.4f} {error} over the base rate, "
            f"Brier {one.brier.brier:.4f}, {hits}, "
            f"staked Sharpe {one.staked.sharpe:+.2f}"
        )
    board, hold = told.board, told.buy_and_hold
    lines.append(
        f"board account {board.total_return:+.2%}, Sharpe {board.sharpe:+.2f} "
        f"(buy and hold {hold.sharpe:+.2f}), "
        f"deflated {board.deflated_sharpe:.3f} over {told.trials['count']:g} trials"
    )
    for name, text in told.failures.items():
        print(f"qts: {name} failed in this evaluation: {text}", file=sys.stderr)
    return "\n".join([*lines, f"verdict: {told.verdict}", f"{output} and {output.with_suffix('.json')}"])
