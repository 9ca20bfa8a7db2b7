"""What became of every message: the books of a run's processes, from files, or asked for while they live."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from qts_cli import cluster_status, folder
from qts_cli.sockets import ask
from qts_core import names
from qts_core.errors import RemoteError
from qts_core.roster import BY_NAME
from qts_messaging import books
from qts_messaging.accounts import Record


def records(run: Path) -> list[Record]:
    """Return the final books of a run, one for each start of a process, and those of processes at work."""
    found = books.load([run])
    if not folder.runs(run):
        return found
    ports: dict[str, int] = folder.read_run(run).get("http", {})
    return found + asyncio.run(_asked(ports))


def silent(run: Path, found: Iterable[Record]) -> list[str]:
    """Return the processes of a run that have neither left a book nor told of it: nobody knows of theirs."""
    if not (run / "run.json").is_file():
        return []
    told = {record.name for record in found}
    return [name for name in folder.read_run(run).get("http", {}) if BY_NAME[name].wire not in told]


def of_cluster(namespace: str, name: str) -> list[Record]:
    """Return the book of every process of a system in the cluster; RemoteError when one does not answer."""
    found = asyncio.run(cluster_status.books(namespace, name))
    silent = [agent for agent, body in found.items() if not body]
    if silent or not found:
        whom = ", ".join(silent) or name
        raise RemoteError(f"{whom}: no answer at {names.PATH_BOOK}; see qts status -n {namespace} {name}")
    return _read(found.values())


async def _asked(ports: dict[str, int]) -> list[Record]:
    """Return the books of those processes that answer."""
    return _read(await asyncio.gather(*(ask(port, names.PATH_BOOK, name) for name, port in ports.items())))


def _read(bodies: Iterable[bytes]) -> list[Record]:
    return [msgspec.json.decode(body, type=Record) for body in bodies if body]


def account(run: Path) -> dict[str, Any]:
    """Return sent, delivered, lost by reason and unaccounted over all processes of a finished run."""
    return added(books.load([run]))


def added(found: list[Record]) -> dict[str, Any]:
    """Return sent, delivered, lost by reason, in flight and unaccounted over all these books."""
    from qts_messaging.reconcile import reconcile

    return dict(msgspec.to_builtins(reconcile(found)))
