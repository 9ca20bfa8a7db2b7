"""How far readers of durable messages are behind (pure)."""

from __future__ import annotations

import msgspec


class Backlog(msgspec.Struct, frozen=True):
    """How far a reader of durable messages is behind."""

    age_s: float = 0.0  # since the oldest that it has not handled was stored
    waiting: int = 0  # not handled

    def beside(self, other: Backlog) -> Backlog:
        """Add up what it has to read in two streams."""
        return Backlog(max(self.age_s, other.age_s), self.waiting + other.waiting)
