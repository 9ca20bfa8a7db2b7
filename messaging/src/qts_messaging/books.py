"""The final accounts of processes as files, for whoever adds them up."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from qts_messaging.accounts import Record


def write(folder: Path, record: Record) -> Path:
    """Write a book to `folder`/accounts-<name>-<epoch>.json: a restarted process has a new epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"accounts-{record.name}-{record.epoch}.json"
    path.write_bytes(msgspec.json.encode(record))
    return path


def load(folders: Iterable[Path]) -> list[Record]:
    """Read all books below `folders`; a file that is cut off is left out (its process was killed)."""
    found: list[Record] = []
    for path in sorted({p for folder in folders for p in folder.rglob("accounts-*.json")}):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Record))
        except msgspec.MsgspecError:
            continue
    return found
