"""`qts dead`: messages that no handler could take, and how to have them handled again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from qts_cli import folder
from qts_cli.events import line
from qts_cli.terminal import wide_console
from qts_core.config import load
from qts_core.errors import ConfigError, LocalError
from qts_core.roster import BY_WIRE
from qts_messaging.dead_letters import Letter, read, redrive
from qts_messaging.redis_connection import AWAY, Door

TIMEOUT_S = 5.0


def dead(
    run: Path | None = None,
    *,
    again: Annotated[str, Parameter(name="--again")] = "",
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
    run_dir: Path = folder.HOME,
) -> int:
    """List the dead letters of a run that is up; with --again give them back to whom they failed at.

    Parameters
    ----------
    run
        A run folder; without it the latest run.
    again
        The entry of one letter, or "all".
    json_
        Print one JSON object a letter.
    run_dir
        Folder for runs, as for qts run.
    """
    path = run if run is not None else folder.latest(run_dir)
    letters, moved = asyncio.run(_work(path, again))
    if json_:
        for each in letters:
            print(line({"kind": "dead_letter", **each.as_dict(), "again": each.entry in moved}))
        return 0
    _print(letters)
    if again:
        print(f"{len(moved)} given back")
    return 0


async def _work(path: Path, again: str) -> tuple[list[Letter], set[str]]:
    """Read the letters; drive those chosen again; return both."""
    system, url = _place(path)
    if (path / "summary.json").is_file():
        raise LocalError(f"{path}: this run has ended ({folder.ended(path)}), and its dead letters with it")
    found: list[Letter] = []
    moved: set[str] = set()
    for group in BY_WIRE:
        client = Door(url, path / "keys", group)(TIMEOUT_S)  # the one user that may write under this name
        try:
            letters = await read(client, system, group)
            chosen = [each for each in letters if again in ("all", each.entry)]
            await redrive(client, system, group, chosen)
        except AWAY as error:
            raise LocalError(
                f"{path}: its Redis does not answer ({error}); dead letters need a run that is up"
            ) from None
        finally:
            await client.aclose()
        found += letters
        moved.update(each.entry for each in chosen)
    if again not in ("", "all") and not moved:
        raise ConfigError(f"--again {again}: no such letter; `qts dead` lists their entries")
    return found, moved


def _place(path: Path) -> tuple[str, str]:
    """Return the name of the run's system and the address of its Redis."""
    try:
        tree = json.loads((path / "run.json").read_text())
        loaded = load(path / tree["config"], {})
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{path}: no run folder ({error}); give one that `qts run` made") from None
    if tree["redis"] is None or not loaded.system.use_real_messaging:
        raise ConfigError(f"{path}: this run is simulated; its dead letters end with it")
    return str(tree["system"]), loaded.system.redis_url


def _print(letters: Sequence[Letter]) -> None:
    """Print a table for people."""
    if not letters:
        print("no dead letters")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("entry", "message", "from", "failed at", "why"):
        table.add_column(column)
    for each in letters:
        table.add_row(each.entry, each.kind, each.sender, each.group, each.reason)
    wide_console().print(table)
