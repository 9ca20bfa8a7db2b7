"""The help of every command, as users see it; `pytest tests/golden --update-golden` rewrites the files."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from qts_cli import build

FOLDER = Path(__file__).parent / "cli"
PAGES = (
    "",
    "run",
    "status",
    "decisions",
    "scores",
    "messages",
    "dead",
    "replay",
    "plot",
    "evaluate",
    "orders",
    "plan",
    "config",
    "config check",
    "config show",
    "keys",
    "keys new",
    "keys redis",
    "support",
    "support explain",
    "generate",
)


def rendered(page: str) -> str:
    """Return the help of a command on a page of 100 columns."""
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=False, color_system=None, legacy_windows=False)
    build()([*page.split(), "--help"], console=console)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize("page", PAGES)
def test_help_is_unchanged(page: str, request: pytest.FixtureRequest) -> None:
    """The help text equals the stored one, so that a change of the command line is seen in review."""
    file = FOLDER / f"{page.replace(' ', '-') or 'qts'}.txt"
    found = rendered(page)
    if request.config.getoption("--update-golden"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(found)
    assert file.read_text() == found


def test_every_command_has_a_page() -> None:
    """No command is without a stored help text."""
    from qts_cli import _COMMANDS

    assert [name for name, _, _ in _COMMANDS if name not in PAGES] == []
