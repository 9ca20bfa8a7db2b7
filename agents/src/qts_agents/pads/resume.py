"""PADS after its own restart: the newest state in the journal and the events since, so that all goes on.

The journal holds every input, and equal inputs give equal state. A header that opens a file holds the state
at that moment, so that at most a few MiB are read at a start, however long the run is. A journal of other
settings or code, or one that does not give its own records again, is left alone: PADS begins anew and says
why. Of a damaged one it takes up what can be read, and says what cannot.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from qts_agents.pads import journal, records, replay
from qts_agents.pads.actions import Action, Ask, Record
from qts_agents.pads.agent import CODE, Pads
from qts_core.errors import ConfigError
from qts_core.spec import SYSTEM, System

INPUTS = ("bars", "peers", "message", "tick", "answers")


class Resumed(msgspec.Struct, frozen=True):
    """What became of the attempt: a PADS as it was and what it had not done yet, or why there is none."""

    pads: Pads | None
    actions: list[Action]
    why: str
    read: int = 0  # bytes of journal
    lost: str = ""  # what a damaged journal costs, in plain words; a change that somebody made is no damage


def resume(folder: Path, system: System) -> Resumed:
    """Return the PADS that wrote the newest journal of `folder`, as it was at its end."""
    files, damage = newest(folder), list[str]()
    if not files:
        if any(folder.glob(f"*{journal.SUFFIX}")):
            return _anew(f"no file of {folder} begins with a header that can be read")
        return Resumed(None, [], "there is no journal yet")
    found = (entry for file in files for entry in journal.entries(file, damage.append))
    try:
        resumed = _live_again(found, system)
        lost = resumed.lost or "; ".join(f"what PADS decided behind it is not known: {e}" for e in damage)
        read = sum(file.stat().st_size for file in files)
        return msgspec.structs.replace(resumed, read=read, lost=lost)
    except (ConfigError, msgspec.MsgspecError) as error:
        return _anew(f"the journal cannot be read: {error}")


def newest(folder: Path) -> list[Path]:
    """Return the files since the newest header, in order; a file after a change of size has none."""
    files = journal.in_order(folder)
    for start in range(len(files) - 1, -1, -1):
        first = next(iter(journal.entries(files[start])), None)
        if first is not None and first.kind == "header":
            return files[start:]
    return []


def _live_again(found: Any, system: System) -> Resumed:
    """Apply every input; check each record that PADS makes of it against the one in the journal."""
    header = records.body(next(found), records.Header)
    if header.versions.get("code") != CODE:
        return Resumed(None, [], "the journal is of another version")
    if msgspec.convert(header.config, SYSTEM) != system:
        return Resumed(None, [], "the settings have changed")
    pads = replay.fresh(header)
    due: deque[Action] = deque()
    for entry in found:
        if entry.kind in INPUTS:
            due.extend(replay.apply(pads, entry)[1:])  # the first is the record of the input itself
        elif entry.kind != records.REMARK and not _matches(due, entry):
            return _anew("the journal does not give its own records again")
    while due and not isinstance(due[0], Record):
        due.popleft()  # what followed the last record was most likely done, and a decision is not said twice
    return Resumed(pads, [action for action in due if not isinstance(action, Ask)], "")


def _matches(due: deque[Action], entry: records.Entry) -> bool:
    """Take the actions up to the record that `entry` is; what was done with it was done before the end."""
    while due:
        action = due.popleft()
        if isinstance(action, Record):
            made = records.decode(action.data)
            return (made.kind, made.now_ns, bytes(made.body)) == (entry.kind, entry.now_ns, bytes(entry.body))
    return False


def _anew(why: str) -> Resumed:
    lost = f"account, reputations and phase begin anew: {why}; the files of the journal stay as they are"
    return Resumed(None, [], why, lost=lost)
