"""`qts messages`: what became of every message of a run."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.table import Table

from qts_cli import folder
from qts_cli.books import added, of_cluster, records
from qts_cli.books import silent as silent_in
from qts_cli.events import line
from qts_cli.terminal import wide_console
from qts_core.errors import ConfigError
from qts_messaging.accounts import Record
from qts_messaging.by_type import ALL, TypeRow
from qts_messaging.by_type import by_type as rows_by_type


def messages(
    run: Path | None = None,
    *,
    namespace: Annotated[str | None, Parameter(name=["--namespace", "-n"])] = None,
    by_type: Annotated[bool, Parameter(negative=())] = False,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
    run_dir: Path = folder.HOME,
) -> int:
    """Print the accounts of a run by process and lane; exit 1 where a message or a book is missing.

    Processes that are at work are asked, and what is on its way counts as in flight.

    Parameters
    ----------
    run
        A run folder, by default the latest; with a namespace the name of a system in the cluster.
    namespace
        Namespace of that system.
    by_type
        Print by sender, receiver and type instead; unseen is in no book of the receiver.
    json_
        Print one JSON object, with both.
    run_dir
        Folder for runs, as for qts run.
    """
    found, where, silent = _found(run, namespace, run_dir)
    total, types = added(found), rows_by_type(found)
    refused = dict(sum((Counter(record.refused) for record in found), Counter()))
    if json_:
        told = {"kind": "messages", "run": where, **total, "refused": refused, "silent": silent}
        print(line(told | {"types": msgspec.to_builtins(types)}))
        return 1 if total["unaccounted"] or silent else 0
    console = wide_console()
    console.print(_types(types) if by_type else _lanes(found))
    words = f"{total['sent']} sent, {total['delivered']} delivered, lost: {_reasons(total['lost']) or 'none'}"
    moving = f"; {total['in_flight']} in flight" if total["in_flight"] else ""
    console.print(f"{words}{moving}; {total['unaccounted']} unaccounted", highlight=False)
    if refused:
        console.print(f"refused, beside these: {_reasons(refused)}", highlight=False)
    if silent:
        missing = (
            f"no book of {', '.join(silent)}: what they sent and heard is not known, nor why others lost it"
        )
        print(missing, file=sys.stderr)
    return 1 if total["unaccounted"] or silent else 0


def _found(run: Path | None, namespace: str | None, run_dir: Path) -> tuple[list[Record], str, list[str]]:
    """Return the books that are asked for, whose they are, and which processes have none."""
    if namespace is not None:
        if run is None:
            raise ConfigError("NAME: which system? qts messages -n NAMESPACE NAME")
        return of_cluster(namespace, str(run)), f"{namespace}/{run}", []
    path = run if run is not None else folder.latest(run_dir)
    found = records(path)
    if not found:
        raise ConfigError(f"{path}: no accounts there; its processes neither answer nor have written any")
    return found, str(path), silent_in(path, found)


def _lanes(found: list[Record]) -> Table:
    """Return every process's view of every lane."""
    table = _table("process", "lane", "from", counts=("sent", "delivered", "expired", "dropped", "missing"))
    for record in found:
        for lane, out in sorted(record.out.items()):
            dropped = str(sum(out.dropped.values()))
            table.add_row(record.name, lane, "-", str(out.left), "-", str(out.expired), dropped, "-")
        for key, into in sorted(record.into.items()):
            sender, _, lane = key.split("|", 2)
            cells = (into.delivered, into.expired, sum(into.dropped.values()), into.gap)
            table.add_row(record.name, lane, sender, "-", *map(str, cells))
    return table


def _types(rows: list[TypeRow]) -> Table:
    """Return every type between every two processes."""
    table = _table("from", "to", "type", counts=("sent", "delivered", "unseen"))
    table.add_column("ended otherwise")
    for row in rows:
        seen = ("-", "-") if row.receiver == ALL else (str(row.delivered), str(row.unseen))
        others = Counter(row.unsent) + Counter(row.ended)
        table.add_row(row.sender, row.receiver, row.type, str(row.sent), *seen, _reasons(others))
    return table


def _table(*names: str, counts: tuple[str, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in names:
        table.add_column(column)
    for column in counts:
        table.add_column(column, justify="right")
    return table


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
