"""Run the proofs of ROWS, keep what they came to, and write docs/operator-evidence.md.

    python -m tests.control_plane_evidence.evidence [--rows 1,4] [--needs python,nodes,server,pods,images]
        [--command TEXT] [--render]

A proof is run where what it needs is there; the others keep their last result, or are said to be not run. The
record is written after each command, so a run that was cut short is gone on with by --rows.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import msgspec

from .proofs import Need, Proof
from .render import document
from .results import READERS, Result
from .rows import ROWS

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "docs" / "operator-evidence.json"
DOCUMENT = ROOT / "docs" / "operator-evidence.md"
SHOWN = 8000  # characters of what a command that ended badly printed last
SHARED = ROOT.parent / "shared" / "cluster" / "cluster"


def recorded() -> dict[str, Result]:
    """Return the record by command."""
    if not RECORD.exists():
        return {}
    return {each.command: each for each in msgspec.json.decode(RECORD.read_bytes(), type=list[Result])}


def write(results: dict[str, Result]) -> None:
    """Write the record, in the order of the rows, and the document."""
    known = dict.fromkeys(proof.command for row in ROWS for proof in row.proofs)
    kept = {command: results[command] for command in known if command in results}
    text = msgspec.json.format(msgspec.json.encode(list(kept.values())), indent=2)
    RECORD.write_bytes(text + b"\n")
    DOCUMENT.write_text(document(ROWS, kept))


def run(proof: Proof, commit: str) -> Result:
    """Run one command and show the end of a bad one; one that takes longer than its limit ends with 124."""
    words = shlex.split(proof.command)
    given = dict(word.split("=", 1) for word in words if word.partition("=")[0].isupper())
    words = [word for word in words if word.partition("=")[0] not in given]
    words[0] = sys.executable if words[0] == "python" else words[0]
    began, code, printed = time.monotonic(), 124, ""
    process = subprocess.Popen(
        words, cwd=ROOT, env=os.environ | given, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        printed, _ = process.communicate(timeout=proof.limit_s)
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 15)
        printed, _ = process.communicate()
    if code:
        print(printed[-SHOWN:])
    numbers, missed = READERS[proof.reads](printed)
    return Result(
        command=proof.command,
        code=code,
        seconds=round(time.monotonic() - began, 1),
        numbers=numbers,
        missed=missed,
        commit=commit,
    )


def available() -> set[Need]:
    """Return what is there to run proofs on."""
    found: set[Need] = {"python"}
    if os.environ.get("PYTHON_IMAGE") and shutil.which("buildah"):
        found.add("images")
    if not os.environ.get("KUBECONFIG"):
        return found
    if _asked("kubectl", "get", "nodes", "-l", "type=kwok", "-o", "name"):
        found.add("nodes")
        if SHARED.exists():
            found.add("server")
    if _asked("kubectl", "get", "nodes", "-l", "type!=kwok", "-o", "name"):
        found.add("pods")
    return found


def _asked(*words: str) -> str:
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=30).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def main() -> int:
    """Run what was asked for; 1 when a command ended badly."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    parser.add_argument("--rows", default="", help="numbers; left out: all")
    parser.add_argument(
        "--needs", default="", help=f"of {', '.join(get_args(Need))}; left out: what is there"
    )
    parser.add_argument("--command", default="", help="text that a command holds; left out: all of the rows")
    parser.add_argument(
        "--render", action="store_true", help="run nothing, write the document from the record"
    )
    given = parser.parse_args()
    wanted = {int(n) for n in given.rows.split(",")} if given.rows else {row.number for row in ROWS}
    if not wanted <= {row.number for row in ROWS}:
        parser.error(f"--rows: unknown {min(wanted - {row.number for row in ROWS})}; known: 1 to {len(ROWS)}")
    needs = set(given.needs.split(",")) if given.needs else available()
    if not needs <= set(get_args(Need)):
        parser.error(
            f"--needs: unknown {min(needs - set(get_args(Need)))}; known: {', '.join(get_args(Need))}"
        )
    results, good = recorded(), True
    commit = _asked("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    asked = (proof for row in ROWS if row.number in wanted for proof in row.proofs)
    proofs = {p.command: p for p in asked if p.needs in needs and given.command in p.command}
    if not proofs:
        parser.error(f"no command of these rows needs {', '.join(sorted(needs))} and holds {given.command!r}")
    for proof in () if given.render else proofs.values():
        print(f"== {proof.command}", flush=True)
        results[proof.command] = told = run(proof, commit)
        print(f"   {told.code}, {told.seconds:g} s, {told.numbers} {told.missed}", flush=True)
        good &= told.code == 0
        write(results)
    write(results)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
