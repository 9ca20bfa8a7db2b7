"""What terminals show that are narrow, and of words that could be taken for something else."""

from __future__ import annotations

import io
import sys
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType
from rich.text import Text
from tests.unit.cli.test_view import became, decision, facts, status

from qts_cli import decisions, main, screen, terminal
from qts_cli.summary import summarise
from qts_cli.view import View

BRACKETS = "/tmp/a [b]/[/y] x"  # the first would be left out as markup, the second raises


def printed(told: RenderableType, width: int = 80) -> str:
    """Return what a terminal of `width` columns shows."""
    console = terminal.console(width)
    console.file = io.StringIO()
    console.print(told)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return text


def busy() -> dict[str, Any]:
    """Return a decision whose every column is long."""
    event = decision("DECREASE") | {"phase": "reorganization"}
    seats = {f"seat{n}": event["votes"]["qbmia"] | {"seat": f"antifragility{n}"} for n in range(4)}
    event["symbols"]["EUR/USD"] |= {"reason": "VETO", "override": "", "cautions": ["HIGH VOLATILITY"] * 3}
    return event | {"votes": seats}


def test_a_narrow_terminal_shows_each_decision() -> None:
    """At 80 columns bar, symbol, action and numbers are whole, on the live screen and in the table."""
    view = View(("pads", "qbmia"), ("market",))
    view.take(busy())
    view.statuses({"qbmia": status("qbmia", state="degraded", reasons=["hears nobody at all " * 9])}, 1.0)
    shown = printed(screen.render(view, "title", 1.0))
    line = next(each for each in shown.splitlines() if "DECREASE" in each)
    assert [w for w in ("2017-05-02 09:00", "EUR/USD", "0.70", " 20 ") if w not in line] == []
    assert "…" in line
    process = next(each for each in shown.splitlines() if "qbmia" in each and "degraded" in each)
    assert "connected" in process
    listed = printed(decisions._table(deque([busy()]), None))
    assert [w for w in ("EUR/USD", "DECREASE", "0.70", "+0.100", "0.0200", "VETO") if w not in listed] == []
    assert len(listed.splitlines()) == 2  # nothing is folded, the heads neither
    wide = printed(decisions._table(deque([busy()]), None), 250)
    assert wide.count("antifragility") == 4


def test_words_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """What a path or a process says in brackets stands on the screen, in its scroll-back and in the summary."""
    view = View(("pads",), ())
    view.take(became("pads", "down", BRACKETS))
    assert BRACKETS in printed(screen.render(view, BRACKETS, 1.0)).replace("\n", "")
    event = summarise(facts(run=BRACKETS)) | {"failures": [f"no {BRACKETS}"]}
    assert printed(screen.summary_table(event)).count(BRACKETS) == 2
    live = screen.Screen(view, "title")
    live({"kind": "restart", "agent": "pads", "cause": BRACKETS, "restarts": 1})
    assert f"restart pads after {BRACKETS} (number 1)" in capsys.readouterr().out
    terminal.wide_console().print(f"run {BRACKETS}")
    assert BRACKETS in capsys.readouterr().out


def test_parts_of_the_screen_are_no_markup_wherever_they_are_shown() -> None:
    """A console that takes markup, as a caller may have, leaves words of others alone too."""
    view = View(("pads",), ())
    view.take(became("pads", "down", BRACKETS))
    console = Console(width=100, file=io.StringIO())
    console.print(screen.render(view, BRACKETS, 1.0), Text())
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count(BRACKETS) == 3  # title, row, trouble


@pytest.mark.parametrize("encoding", ["iso-8859-1", "ascii", "utf-8"])
def test_a_terminal_with_another_encoding(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encoding: str
) -> None:
    """What it cannot show becomes a question mark, not a traceback; UTF-8 shows all."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, newline=""))
    assert main(["status", "--run-dir", str(tmp_path)]) == 2  # any command
    console = terminal.console(80)
    console.print(decisions._table(deque([busy()]), None))
    sys.stdout.flush()
    shown = raw.getvalue().decode(encoding)
    assert ("…" in shown, "?" in shown) == ((True, False) if encoding == "utf-8" else (False, True))


@pytest.mark.parametrize(("term", "draws"), [("dumb", False), ("unknown", False), ("xterm", True)])
def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch, term: str, *, draws: bool) -> None:
    """It cannot go back to redraw: it showed nothing until the end."""
    terminal_like = io.StringIO()
    monkeypatch.setattr(terminal_like, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdout", terminal_like)
    monkeypatch.setenv("TERM", term)
    assert terminal.draws() is draws
    monkeypatch.setattr(terminal_like, "isatty", lambda: False)
    assert not terminal.draws()
