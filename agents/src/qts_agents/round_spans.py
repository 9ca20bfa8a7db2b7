"""The spans of a decision round in one table: their names, and below which span of whom each hangs.

The id of a span follows from trace, process and stage (`qts_core.telemetry`), so that a table is all it
takes to write one after the round, in any process, with the parent that the others know.
"""

from __future__ import annotations

from functools import cache

import msgspec

from qts_core.roster import BY_WIRE

Place = tuple[str, str]  # of a span: process and stage
MARKET, PADS = "market", "pads"


class Stage(msgspec.Struct, frozen=True, gc=False):
    """What is known of a span before there is one."""

    name: str
    parent: Place | None = None  # None: the first of its trace
    kind: str = "internal"
    system: str = ""  # of messages
    destination: str = ""
    key: str = ""  # tells spans of one name and process apart; else the name does

    @property
    def stage(self) -> str:
        """Return what the id of the span is derived from."""
        return self.key or self.name


BAR_PUBLISHED = Stage("publish market", None, "producer", "redis", "market")
BAR_PROCESSED = Stage("process market", (MARKET, BAR_PUBLISHED.name), "consumer", "redis", "market")
BAR: Place = (PADS, BAR_PROCESSED.name)
ROUND: Place = (PADS, "round")
DECIDED = Stage("decide", ROUND)
DECISION_PROCESSED = Stage("process decisions", (PADS, "publish decisions"), "consumer", "redis", "decisions")


@cache
def round_below(parent: Place | None) -> Stage:
    """Return a round: below the bar that opened it, or the first span of a trace."""
    return Stage("round", parent)


@cache
def decision_below(parent: Place | None) -> Stage:
    """Return the telling of a decision: below its round, or where nobody was asked below what led to it."""
    return Stage("publish decisions", parent, "producer", "redis", "decisions")


@cache
def asked(wire: str) -> Stage:
    """Return PADS' question to a voter."""
    return Stage("send requests", ROUND, "producer", "zeromq", "requests", f"send requests {wire}")


@cache
def heard(wire: str) -> Stage:
    """Return PADS' taking of a voter's answer."""
    key = f"process votes {wire}"
    return Stage("process votes", vote(wire), "consumer", "zeromq", "votes", key)


@cache
def vote(wire: str) -> Place:
    """Return where a voter's answer is sent."""
    return BY_WIRE[wire].name, "send votes"


@cache
def answered(wire: str) -> tuple[Stage, Stage, Stage]:
    """Return a voter's three: it takes the question, works, sends the answer."""
    name = BY_WIRE[wire].name
    taken = Stage("process requests", (PADS, asked(wire).stage), "consumer", "zeromq", "requests")
    below = name, taken.stage
    return (
        taken,
        Stage(f"evaluate {name}", below),
        Stage("send votes", below, "producer", "zeromq", "votes"),
    )
