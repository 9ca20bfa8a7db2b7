"""Where tables are printed: the terminal or a page, text as it is, what must be read uncut."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

_PAGE = 180


def console(width: int | None = None) -> Console:
    """Return the terminal, `width` columns wide if given; nothing that is printed is taken for markup.

    A path such as `a [b]/c` lost a part, one such as `[/c]` raised, and an image `a:b:c` is no picture.
    """
    return Console(width=width, markup=False, emoji=False)


def wide_console() -> Console:
    """Return the terminal, or a page wide enough for a table where there is none."""
    return console(None if sys.stdout.isatty() else _PAGE)


def draws() -> bool:
    """Tell whether there is a terminal that the live screen can be drawn on; `TERM=dumb` is none."""
    return sys.stdout.isatty() and not console().is_dumb_terminal


def add_columns(table: Table, names: Iterable[str], right: Iterable[str], cut: Iterable[str]) -> None:
    """Add columns to `table`, those of `right` to the right; those of `cut` give way where it is narrow."""
    to_right, may_give = frozenset(right), frozenset(cut)
    for name in names:
        table.add_column(
            cut_text(name),
            justify="right" if name in to_right else "left",
            no_wrap=name not in may_give,
        )


def cut_text(text: str | Text, style: str = "") -> Text:
    """Return the cell of a column that may give way: one line that ends in dots where it is cut."""
    found = Text(text, style) if isinstance(text, str) else text
    found.no_wrap, found.overflow = True, "ellipsis"
    return found
