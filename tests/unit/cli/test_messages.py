"""`qts messages` prints books by lane or by type, and fails when a message is unaccounted for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qts_cli.messages import messages
from qts_core.errors import ConfigError
from qts_messaging import books
from qts_messaging.accounts import Book, Inflow


def end(flow: Inflow | None, kind: str, outcome: str = "delivered") -> None:
    """End a message that has arrived for the first time."""
    assert flow is not None
    flow.finished(kind, outcome)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run in which amos got two of pads' three votes, one of them too late."""
    pads, amos = Book("pads", 1, 0), Book("amos", 1, 0)
    for n in range(3):
        pads.out["to.amos"].passed("decision_request", "amos", n)
    for number, outcome in enumerate(("delivered", "expired"), start=1):
        end(amos.arrived(("pads", 1, "to.amos"), number, 0), "decision_request", outcome)
    amos.refuse("trespass")
    amos.refuse("too_large", "pads")
    for book in (pads, amos):
        book.closed_ns = 10**12
        books.write(tmp_path, book.record())
    return tmp_path


@pytest.mark.parametrize(
    ("by_type", "rows"),
    [
        (False, ["pads to.amos - 3 - 0 0 -", "amos to.amos pads - 1 1 0 0"]),
        (True, ["pads amos decision_request 3 1 1 expired 1"]),
    ],
)
def test_tables(run: Path, by_type: bool, rows: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each table has its rows, and the sums stand below both."""
    assert messages(run, by_type=by_type) == 0
    printed = [" ".join(text.split()) for text in capsys.readouterr().out.splitlines()]
    assert {*rows, "3 sent, 1 delivered, lost: expired 1, gap 1; 0 unaccounted"} <= set(printed)
    assert printed[-1] == "refused, beside these: too_large 1, trespass 1"


def test_json_has_sums_and_types(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object holds both."""
    assert messages(run, json_=True) == 0
    told = json.loads(capsys.readouterr().out)
    (row,) = [each for each in told["types"] if each["type"] == "decision_request"]
    assert (told["sent"], told["lost"], row["unseen"]) == (3, {"expired": 1, "gap": 1}, 1)
    assert told["refused"] == {"too_large": 1, "trespass": 1}


def test_a_durable_message_nobody_saw_is_a_failure(tmp_path: Path) -> None:
    """Exit code 1 when the books do not explain a message."""
    pads, amos = Book("pads", 1, 0), Book("amos", 1, 0)
    pads.out["feedback"].passed("f", "*", 1)
    pads.out["feedback"].passed("f", "*", 2)
    end(amos.arrived(("pads", 1, "feedback"), 2, 0), "f")
    for book in (pads, amos):
        book.closed_ns = 10**12
        books.write(tmp_path, book.record())
    assert messages(tmp_path) == 1


def test_a_system_needs_its_name() -> None:
    """`-n` alone names no system."""
    with pytest.raises(ConfigError, match="NAME: which system"):
        messages(namespace="trading")


def test_what_waits_in_a_process_at_work_is_in_flight(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A book that is not closed: what has arrived and is not handled is on its way, not unaccounted."""
    pads, amos = Book("pads", 1, 0), Book("amos", 1, 0)
    for n in range(3):
        pads.out["feedback"].passed("f", "*", n)
    end(amos.arrived(("pads", 1, "feedback"), 1, 0), "f")
    amos.arrived(("pads", 1, "feedback"), 2, 0)
    for book in (pads, amos):
        books.write(tmp_path, book.record())
    assert messages(tmp_path) == 0
    assert "1 delivered, lost: none; 2 in flight; 0 unaccounted" in capsys.readouterr().out


@pytest.mark.parametrize("json_", [False, True])
def test_a_book_that_is_missing_is_named(run: Path, json_: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a process that hangs, or could not write: what it lost was put down to others, with exit code 0."""
    ports = dict.fromkeys(("pads", "qbmia", "amos", "market"), 1)
    (run / "run.json").write_text(json.dumps({"http": ports}))
    assert messages(run, json_=json_) == 1
    said = capsys.readouterr()
    if json_:
        assert json.loads(said.out)["silent"] == ["qbmia", "amos", "market"]
    else:
        assert said.err.startswith("no book of qbmia, amos, market: ")
