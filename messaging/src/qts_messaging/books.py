"""The final accounts of processes as files, for whoever adds them up."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from pathlib import Path

import msgspec

from qts_messaging.accounts import Record

_log = logging.getLogger(__name__)


def write(folder: Path, record: Record) -> Path | None:
    """Write a book to `folder`/accounts-<name>-<epoch>.json: a restarted process has a new epoch.

    None where the disk has no room for it: the log says so, and who ends has ended well.
    """
    path = folder / f"accounts-{record.name}-{record.epoch}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(record))
    except OSError as error:
        _log.error("the book cannot be written: %s: %s", path, error.strerror)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)  # half a book is none
        return None
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
