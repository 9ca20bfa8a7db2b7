"""What is refused to a bus, and whom it refuses, in words that name cause and remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec


class Refused(Protocol):
    """A wire whose server may refuse what is asked."""

    @property
    def refuses(self) -> dict[str, str]:
        """Return kind → what the server refuses, in plain words."""
        ...


class KeyRefusals(msgspec.Struct, frozen=True):
    """What came of connections whose keys do not match."""

    count: int = 0  # refused or ended for their key, here and at those we dialled
    peers: tuple[str, ...] = ()  # peers that cannot be reached for their key or ours
    strangers: str = ""  # who tried in vain to connect of late


class Refusals(msgspec.Struct, frozen=True):
    """What a bus is refused now; all empty where nothing is."""

    by_redis: Mapping[str, str] = {}  # kind → plain words
    keys: KeyRefusals = KeyRefusals()
    away: str = ""  # why Redis is not reached, in plain words; empty where nobody knows
    evicts: str = ""  # how Redis throws away what is stored, and the remedy

    @property
    def redis(self) -> str:
        """Return what a Redis that answers refuses."""
        return "; ".join(dict.fromkeys(self.by_redis.values()))
