"""The table of evidence is whole, names what exists, and the document is what the record says."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from typing import get_args

import pytest

from .evidence import DOCUMENT, ROOT, recorded
from .proofs import Need, Proof, Row, about
from .render import document, outcome
from .results import READERS, Result, of_figures, of_last, of_tests
from .rows import ROWS

PROOFS = {proof.command: proof for row in ROWS for proof in row.proofs}


def test_every_requirement_has_a_row_with_a_proof() -> None:
    assert [row.number for row in ROWS] == list(range(1, 26))
    assert all(row.proofs and row.acceptance for row in ROWS)
    assert {proof.reads for proof in PROOFS.values()} <= READERS.keys()
    assert {proof.needs for proof in PROOFS.values()} <= set(get_args(Need))


def _named(command: str) -> list[str]:
    return re.findall(r"tests/\S+\.py(?:::\w+)?", command)


@pytest.mark.parametrize("proof", PROOFS.values(), ids=lambda proof: proof.command[:60])
def test_what_a_proof_names_exists(proof: Proof) -> None:
    """Each file is there and has the named test; each module can be imported; each option is known to it."""
    for place in _named(proof.command) + _named(proof.short):
        path, _, name = place.partition("::")
        text = (ROOT / path).read_text()
        assert f"def {name}" in text if name else "def test_" in text
    words = shlex.split(proof.command)
    if words[0].startswith("scripts/"):
        assert os.access(ROOT / words[0], os.X_OK)
        return
    module = words[words.index("-m") + 1]
    assert importlib.util.find_spec(module) is not None
    if module != "pytest":
        assert all(word in _help(module) for word in words if word.startswith("--"))


@functools.cache
def _help(module: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=ROOT
    ).stdout


def test_the_document_is_what_the_record_says() -> None:
    """`make evidence`, or its --render, was run after the last change of the table."""
    assert DOCUMENT.read_text() == document(ROWS, recorded())
    assert recorded().keys() <= PROOFS.keys()


def _row(missing: str = "") -> Row:
    proofs = (Proof(command="a"), Proof(command="b", short="-", needs="nodes"))
    return Row(number=1, requirement="r", acceptance="all of it", tier="T0", proofs=proofs, missing=missing)


def _ran(command: str, code: int = 0, **more: object) -> dict[str, Result]:
    return {command: Result(command=command, code=code, seconds=2.0, **more)}  # type: ignore[arg-type]


def test_an_outcome_is_no_better_than_its_worst_command() -> None:
    both = _ran("a") | _ran("b")
    assert outcome(_row(), both) == "holds"
    assert outcome(_row("something"), both) == "in part"
    assert outcome(_row(), _ran("a")) == "not run"
    assert outcome(_row(), _ran("a", 1)) == "missed"
    assert outcome(_row(), both | _ran("b", missed=("goal",))) == "missed"


@pytest.mark.parametrize(("within_s", "told"), [(2.0, "holds"), (1.5, "missed")])
def test_a_command_that_took_longer_than_it_may_has_missed(within_s, told) -> None:
    row = Row(
        number=1,
        requirement="r",
        acceptance="soon",
        tier="T0",
        proofs=(Proof(command="a", within_s=within_s),),
    )
    assert outcome(row, _ran("a")) == told
    assert ("- missed: at most 1.5 s" in document([row], _ran("a"))) is (told == "missed")


@pytest.mark.parametrize(("words", "told"), [((), "missed"), (("slow",), "missed"), (("small",), "holds")])
def test_a_row_is_judged_by_what_it_is_about(words: tuple[str, ...], told: str) -> None:
    """Its command may tell more; a fault that is no number's is everybody's."""
    proof = about(Proof(command="a"), *words)
    row = Row(number=1, requirement="r", acceptance="small", tier="T0", proofs=(proof,))
    numbers = {"so small": "1", "so slow": "2"}
    ran = _ran("a", numbers=numbers, missed=("so slow",))
    assert outcome(row, ran) == told
    assert ("so slow" in document([row], ran)) is (told == "missed")
    assert outcome(row, _ran("a", numbers=numbers, missed=("1 tests left out",))) == "missed"


def test_the_document_tells_commands_numbers_and_what_is_missing() -> None:
    told = document([_row("something")], _ran("a", numbers={"plans": "12"}, commit="abc", missed=("speed",)))
    for text in (
        "## 1. r: missed",
        "all of it",
        "Not shown: something.",
        "- plans: 12",
        "- missed: speed",
        "abc",
    ):
        assert text in told
    assert "`b` (CI runs no form of it; needs nodes)\n\n- not run" in told


def test_numbers_are_read_from_what_commands_print() -> None:
    """Tests with what they measured, figures with their goals, the last sum; nothing printed is nothing shown."""
    printed = "..\n==== measured ====\n       1,234 plans played\n         2.5 seconds\n==== 3 passed, 1 skipped in 2.00s ====\n"
    assert of_tests(printed) == (
        {"plans played": "1,234", "seconds": "2.5", "tests": "3 passed, 1 skipped"},
        ("1 tests left out",),
    )
    assert of_tests("12 passed in 3s")[1] == ()
    quiet = "..\n=== measured ===\n         948 refused\n74 passed in 64.03s (0:01:04)\n"
    assert of_tests(quiet) == ({"refused": "948", "tests": "74 passed"}, ())
    assert of_tests("")[1] == ("no test passed",)
    timed = "== measured ==\n       1,002 s (goal: at most 1002)\n       0.5 s, slowest (goal: at most 0.4)\n1 passed in 2s"
    assert of_tests(timed)[1] == ("s, slowest (goal: at most 0.4)",)
    row = '{"figure": "CPU each", "value": 50.0, "unit": "ms", "goal": 30.0, "ok": false}'
    assert of_figures(f"a log line\n{row}\n") == ({"CPU each": "50 ms (goal 30)"}, ("CPU each",))
    assert of_figures("")[1] == ("no figure was printed",)
    assert of_last('{"a": 1}\n{"plans": 5}\n7 s\n') == ({"plans": "5"}, ())
    assert of_last("{broken\n")[1] == ("nothing was counted",)
    assert of_last('{"plans": 5, "missed": 0}')[1] == ()
    assert of_last('{"plans": 5, "missed": 2}')[1] == ("2 plans passed without their death",)
