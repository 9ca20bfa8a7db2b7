"""`qts replay`: recompute every decision of a journal from its inputs and compare bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from qts_cli import folder
from qts_cli.decisions import Unread, journal_of, without_round
from qts_cli.events import line


def replay(
    journal: Path | None = None,
    *,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
    run_dir: Path = folder.HOME,
) -> int:
    """Recompute every decision from the journal's inputs; exit 1 when one byte differs or cannot be read.

    Parameters
    ----------
    journal
        A run folder, journal folder or .qtsj file; without it the latest run.
    json_
        Print the report as one JSON object.
    run_dir
        Folder for runs, as for qts run.
    """
    path = journal_of(journal, run_dir)
    from qts_agents.pads.replay import replay as again  # brings numba

    unread = Unread()
    report = again(path, unread)
    if not (report.rounds or report.first_difference):
        raise without_round(path)
    identical = report.rounds > 0 and report.equal == report.rounds
    if json_:
        whole = identical and unread.code == 0
        told = {"kind": "replay", "rounds": report.rounds, "equal": report.equal, "identical": whole}
        others = {name: {"journal": then, "here": now} for name, (then, now) in report.versions.items()}
        print(line({**told, "first_difference": report.first_difference, "versions": others}))
    elif identical:
        print(f"{report.rounds} rounds compared: identical, byte for byte")
    else:
        differs = f"first difference: {report.first_difference}"
        print(f"{report.rounds} rounds compared, {report.equal} identical; {differs}")
    if report.versions and not json_:
        print(_other_versions(report.versions))
    return unread.code if identical else 1


def _other_versions(versions: dict[str, tuple[str, str]]) -> str:
    """Return in plain words what the journal was written with and is replayed with."""
    named = ", ".join(f"{name} {then} (here {now})" for name, (then, now) in versions.items())
    return f"the journal was written with {named}; other versions may compute other last bits"
