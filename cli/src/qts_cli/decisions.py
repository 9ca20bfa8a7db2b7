"""`qts decisions`: a journal as a table or as JSON lines."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from qts_agents.pads.census import Census, census
from qts_agents.pads.journal import SUFFIX, entries
from qts_agents.pads.records import Entry, Timings
from qts_cli import folder
from qts_cli.events import Event, line
from qts_cli.tail import Rounds
from qts_cli.terminal import add_columns, cut_text, wide_console
from qts_cli.whole import Whole
from qts_core.errors import ConfigError


def decisions(
    journal: Path | None = None,
    *,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
    symbol: str | None = None,
    last: Whole | None = None,
    count: Annotated[bool, Parameter(negative=())] = False,
    run_dir: Path = folder.HOME,
) -> int:
    """Print every decision of a journal, with each agent's vote.

    Parameters
    ----------
    journal
        A run folder, journal folder or .qtsj file; without it the latest run.
    json_
        Print one JSON object a line, with every symbol's probabilities, shares and votes, and how long each
        stage of the round took.
    symbol
        Only this symbol.
    last
        Only the last so many rounds.
    count
        Say instead how often each action, style, override, caution, alert and phase change came up, in the
        whole journal.
    run_dir
        Folder for runs, as for qts run.
    """
    if last is not None and last < 1:
        raise ConfigError(f"--last: expected a number above 0, found {last}")
    if count and (symbol is not None or last is not None):
        raise ConfigError("--count counts the whole journal; leave out --symbol and --last")
    most = None if last is None else min(last, sys.maxsize)
    path = journal_of(journal, run_dir)
    unread = Unread()
    read = entries(path, unread)
    if count:
        found = census(read)
        if not found:
            raise without_round(path)
        _count(found, json_)
        return unread.code
    chosen = deque((event for event in events(read) if _has(event, symbol)), maxlen=most)
    if not chosen:
        if symbol is not None:
            raise ConfigError(f"{path}: no decision on {symbol or repr(symbol)}")
        raise without_round(path)
    if json_:
        for event in chosen:
            print(line(_only(event, symbol)))
    else:
        wide_console().print(_table(chosen, symbol))
    return unread.code


def journal_of(given: Path | None, run_dir: Path) -> Path:
    """Return the folder or file that holds the journal; ConfigError when there is none."""
    path = given if given is not None else folder.latest(run_dir)
    if path.is_file() and path.suffix == SUFFIX:
        return path
    inner = path / "journal"
    path = inner if inner.is_dir() else path
    if not any(path.glob(f"*{SUFFIX}")):
        run = path if path != inner else path.parent
        if (run / "run.json").is_file():
            raise ConfigError(f"{run}: {_undecided(run)}")
        raise ConfigError(f"{path}: no journal there; expected a .qtsj file or a folder that holds some")
    return path


def without_round(path: Path) -> ConfigError:
    """Return what is wrong with the journal at `path`, a folder or file, when it holds no round."""
    run = path.parent if path.name == "journal" else path
    why = _undecided(run) if (run / "run.json").is_file() else "give the journal of a run that has decided"
    return ConfigError(f"{path}: no decision in this journal; {why}")


def _undecided(run: Path) -> str:
    """Return why a run has no journal, and what to do."""
    if why := folder.ended(run):
        return f"this run ended ({why}) before its first decision; start another with `qts run`"
    return "nothing is decided in this run yet; `qts status` says what it waits for"


class Unread:
    """Says on stderr what of a damaged journal is not shown, and holds the exit code for it."""

    def __init__(self) -> None:
        self.code = 0

    def __call__(self, words: str) -> None:
        """Tell where a file of the journal ceases to be readable."""
        self.code = 1
        print(f"qts: {words}; nothing after it is told here, a copy of the file may hold it", file=sys.stderr)


def events(read: Iterable[Entry]) -> Iterator[Event]:
    """Yield every round among a journal's records as a decision event, all symbols spelled out.

    How long its stages took stands behind a round, so each waits for what follows it.
    """
    rounds = Rounds(shown=None)
    held: Event | None = None
    for event in chain(rounds.take(read, 0.0), (None,)):
        if held is not None:
            yield held | {"stages_ms": _stages(held, rounds.timings)}
        held = event


def _stages(event: Event, timings: Timings | None) -> dict[str, float]:
    """Return stage → ms of a round, nothing where the journal does not say (one made without processes)."""
    if timings is None or timings.round_id != event["round_id"]:
        return {}
    return {stage: round(took / 1e6, 3) for stage, took in timings.stages.items()}


def _has(event: Event, symbol: str | None) -> bool:
    return symbol is None or symbol in event["symbols"]


def _only(event: Event, symbol: str | None) -> Event:
    if symbol is None:
        return event
    votes = {
        agent: {**vote, "symbols": {symbol: vote["symbols"][symbol]}} if "symbols" in vote else vote
        for agent, vote in event["votes"].items()
    }
    return {**event, "symbols": {symbol: event["symbols"][symbol]}, "votes": votes}


def _table(chosen: deque[Event], symbol: str | None) -> Table:
    from qts_cli.screen import action_text, phase_text, votes

    table = Table(box=None, pad_edge=False, header_style="dim")
    numbers, wide = ("conf.", "signal", "size"), ("reason", "phase", "votes by seat")
    add_columns(table, ("bar", "symbol", "decision", *numbers, *wide), numbers, wide)
    for event in chosen:
        for name, row in event["symbols"].items():
            if symbol is not None and name != symbol:
                continue
            table.add_row(
                event["asof"],
                name,
                action_text(row["action"]),
                f"{row['confidence']:.2f}",
                f"{row['signal']:+.3f}",
                f"{row['size']:.4f}",
                cut_text(_reason(row)),
                cut_text(phase_text(event["phase"])),
                cut_text(votes(event, name)),
            )
    return table


def _reason(row: Event) -> str:
    """Return the reason with the override's name, or with what forbade an entry."""
    why = row["override"] or (", ".join(row["cautions"]) if row["reason"] == "VETO" else "")
    return f"{row['reason']} {why}".rstrip()


def _count(found: Census, as_json: bool) -> None:
    """Print how often everything that a board can do was done."""
    if as_json:
        print(line({kind: dict(counts.most_common()) for kind, counts in found.items()}))
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("", "", "count"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for kind, counts in found.items():
        for k, (name, times) in enumerate(counts.most_common()):
            table.add_row("" if k else kind, name, str(times))
    wide_console().print(table)
