"""What became of every message of a run, from the final books of its processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec


def account(run: Path) -> dict[str, Any]:
    """Return sent, delivered, lost by reason and unaccounted over all processes of a run."""
    from qts_messaging import books, reconcile

    total = reconcile.reconcile(books.load([run]))
    return dict(msgspec.to_builtins(total))
