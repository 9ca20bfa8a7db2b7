"""What the state files of all voters share: a version in front, reliability, open requests (pure)."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from qts_agents.opinions import Pending, Reliability
from qts_core.errors import ConfigError

S = TypeVar("S")
R = TypeVar("R")


class _Head(msgspec.Struct):
    version: int


def decode(raw: bytes, kind: type[S], agent: str, version: int) -> S:
    """Return the saved state as `kind`; ConfigError for another version or a damaged file."""
    try:
        found = msgspec.msgpack.decode(raw, type=_Head).version
        if found != version:
            raise ConfigError(f"{agent} state has version {found}; this build reads {version}; delete it")
        return msgspec.msgpack.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{agent} state is damaged ({error}); delete it") from error


def refill(
    known: tuple[Reliability, Pending[R]], k: float, updates: int, pending: list[tuple[str, R]]
) -> None:
    """Put what was saved of reliability and open requests into fresh ones."""
    reliability, requests = known
    reliability.k, reliability.updates = k, updates
    for round_id, remembered in pending:
        requests.put(round_id, remembered)
