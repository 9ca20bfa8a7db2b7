"""What became of every message of a run, from the final books of its processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from qts_messaging import books
from qts_messaging.accounts import Record


def records(run: Path) -> list[Record]:
    """Return the final book of every process of a run, restarted ones more than once."""
    return books.load([run])


def account(run: Path) -> dict[str, Any]:
    """Return sent, delivered, lost by reason and unaccounted over all processes of a run."""
    from qts_messaging.reconcile import reconcile

    return dict(msgspec.to_builtins(reconcile(records(run))))
