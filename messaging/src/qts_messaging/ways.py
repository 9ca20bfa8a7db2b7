"""How messages of one type travel to one recipient (pure)."""

from __future__ import annotations

from collections.abc import Set

import msgspec

from qts_core.errors import LocalError
from qts_core.roster import BY_WIRE
from qts_core.spec import System
from qts_messaging.messages import KIND, Message, lifetime_ms


class Way(msgspec.Struct, frozen=True):
    """What every message of one type to one recipient has in common; looked up once."""

    kind: str
    lane: str
    priority: int
    drop: str
    ttl_ms: int  # of a message without an end of its own; 0 = none
    direct: bool  # it may go to the peer's socket without waiting in a queue


def find(kind: type[Message], to: str | None, sender: str, known: Set[str], system: System) -> Way:
    """Return how messages of a type travel to `to`, None for all; LocalError when they do not."""
    route = kind.ROUTE
    name = route.addressed if to is not None else route.unaddressed
    if name is None:
        whom = "one peer" if to is not None else "all"
        raise LocalError(f"{kind.__name__} is not sent to {whom}")
    if to is not None and to not in known:
        raise LocalError(f"no_route: {to!r} is not a peer of {sender}")
    lane = _lane(name, route.topic if to is not None else route.open_topic, to)
    direct = name == "direct" and to is not None and route.drop != "never"
    return Way(
        KIND[kind],
        lane,
        route.priority,
        route.drop,
        lifetime_ms(kind, system, to is not None),
        direct,
    )


def expected(system: System) -> tuple[str, ...]:
    """Return the wire names of the processes that run under these settings."""
    return tuple(
        w for w, load in BY_WIRE.items() if (system.enabled(w) if load.agent else system.feed_runs())
    )


def _lane(way: str, topic: str, to: str | None) -> str:
    """Return the lane: numbers are counted per lane, and a lane has one kind of promise."""
    if to is None:
        return topic
    return f"{topic}.to.{to}" if way == "durable" else f"to.{to}"
