"""Closing prices of one symbol out of a journal's market updates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from qts_agents.columns import array
from qts_agents.pads.records import Entry, body
from qts_cli.rounds import stamp
from qts_messaging.messages import MarketUpdate


class Prices(msgspec.Struct):
    """Times as text and closes, gaps as None; oldest first, each bar once."""

    at: list[str] = []
    close: list[float | None] = []


class Closes:
    """Takes the closes of one symbol as a journal is read; without a name, of the first one that it meets."""

    def __init__(self, symbol: str | None = None) -> None:
        self.symbol = symbol
        self._found: dict[int, float | None] = {}

    def seen(self, read: Iterable[Entry]) -> Iterator[Entry]:
        """Hand on every record of a journal and take what is in its bars."""
        for entry in read:
            if entry.kind == "bars":
                self._take(body(entry, MarketUpdate))
            yield entry

    def prices(self) -> Prices:
        """Return every closed bar seen so far."""
        ordered = sorted(self._found)
        return Prices([stamp(at_ns) for at_ns in ordered], [self._found[at_ns] for at_ns in ordered])

    def _take(self, update: MarketUpdate) -> None:
        self.symbol = self.symbol or update.symbols[0]
        if self.symbol not in update.symbols:
            return
        row = update.symbols.index(self.symbol)
        closes, valid = array(update.close)[row], array(update.valid)[row]
        for at_ns, close, known in zip(array(update.close_ns), closes, valid, strict=True):
            self._found[int(at_ns)] = float(close) if known else None
