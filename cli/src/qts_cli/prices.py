"""Closing prices of one symbol out of a journal's market updates."""

from __future__ import annotations

from pathlib import Path

import msgspec

from qts_agents.columns import array
from qts_agents.pads.journal import bars
from qts_cli.rounds import stamp


class Prices(msgspec.Struct):
    """Times as text and closes, gaps as None; oldest first, each bar once."""

    at: list[str] = []
    close: list[float | None] = []


def prices(journal: Path, symbol: str) -> Prices:
    """Return every closed bar of `symbol` in the journal."""
    found: dict[int, float | None] = {}
    for update in bars(journal):
        if symbol not in update.symbols:
            continue
        row = update.symbols.index(symbol)
        closes, valid = array(update.close)[row], array(update.valid)[row]
        for at_ns, close, known in zip(array(update.close_ns), closes, valid, strict=True):
            found[int(at_ns)] = float(close) if known else None
    ordered = sorted(found)
    return Prices([stamp(at_ns) for at_ns in ordered], [found[at_ns] for at_ns in ordered])
