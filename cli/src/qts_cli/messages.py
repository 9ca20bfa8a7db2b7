"""`qts messages`: what became of every message of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from qts_cli import folder
from qts_cli.books import account, records
from qts_cli.decisions import wide_console
from qts_cli.events import line
from qts_core.errors import ConfigError


def messages(
    run: Path | None = None,
    *,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
    run_dir: Path = folder.HOME,
) -> int:
    """Print the accounts of a finished run by process and lane; exit 1 when a message is unaccounted for.

    Parameters
    ----------
    run
        A run folder; without it the latest run.
    json_
        Print one JSON object.
    run_dir
        Folder for runs, as for qts run.
    """
    path = run if run is not None else folder.latest(run_dir)
    found = records(path)
    if not found:
        raise ConfigError(f"{path}: no accounts there; processes write them when a run ends in order")
    total = account(path)
    if json_:
        print(line({"kind": "messages", "run": str(path), **total}))
        return 1 if total["unaccounted"] else 0
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("process", "lane", "from", "sent", "delivered", "expired", "dropped", "missing"):
        table.add_column(column, justify="left" if column in ("process", "lane", "from") else "right")
    for record in found:
        for lane, out in sorted(record.out.items()):
            dropped = str(sum(out.dropped.values()))
            table.add_row(record.name, lane, "-", str(out.left), "-", str(out.expired), dropped, "-")
        for key, into in sorted(record.into.items()):
            sender, _, lane = key.split("|", 2)
            cells = (into.delivered, into.expired, sum(into.dropped.values()), into.gap)
            table.add_row(record.name, lane, sender, "-", *map(str, cells))
    console = wide_console()
    console.print(table)
    lost = ", ".join(f"{reason} {count}" for reason, count in total["lost"].items()) or "none"
    words = f"{total['sent']} sent, {total['delivered']} delivered, lost: {lost}"
    console.print(f"{words}; {total['unaccounted']} unaccounted", highlight=False)
    return 1 if total["unaccounted"] else 0
