"""The last word of a run: what was decided, what became of every message, what went wrong (pure)."""

from __future__ import annotations

from typing import Any

import msgspec

from qts_cli.events import Event

ENDED_BY_SIGNAL = "signal"
ENDED_BY_TIME = "time is up"
ENDED_BY_DATA = "end of data"
ENDED_BY_FAILURE = "nothing left to run"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when everything has stopped."""

    ended: str  # why the run ended
    down: tuple[str, ...] = ()  # which processes stayed down, and why
    redis: str = ""  # why the embedded Redis stayed down
    ready: int
    agents: int
    decides: bool  # PADS and a feed were part of the run
    decisions: dict[str, int]  # by action
    decided: int  # rounds that ended in a decision
    bars: int  # live ones
    backfilled: int
    rounds: int
    restarts: dict[str, int]
    messages: dict[str, Any]  # sent, delivered, lost by reason, unaccounted
    run: str
    seconds: float
    first_decision_s: float | None
    round_ms: dict[str, float | None]


def failures(facts: Facts) -> list[str]:
    """Return in plain words why this run is not a success; empty when it is one."""
    found: list[str] = []
    if facts.ended == ENDED_BY_FAILURE:
        found += facts.down or ("every process is down; see the logs in the run folder",)
    elif facts.redis:
        found.append(facts.redis)
    if facts.ended == ENDED_BY_SIGNAL:
        return found
    if not facts.decides and facts.agents and not facts.ready:
        found.append("no agent was ready at the end")
    if facts.decides and facts.decided == 0:
        found.append(f"no decision within {facts.seconds:.0f} s")
    if facts.rounds > facts.decided:
        found.append(f"{facts.rounds - facts.decided} of {facts.rounds} rounds ended without a decision")
    unaccounted = facts.messages.get("unaccounted", 0)
    if unaccounted:
        found.append(f"{unaccounted} messages are unaccounted for; see `qts messages`")
    return found


def summarise(facts: Facts) -> Event:
    """Return the summary event."""
    return {
        "kind": "summary",
        "ended": facts.ended,
        "agents": f"{facts.ready}/{facts.agents}",
        "decisions": facts.decisions,
        "messages": facts.messages,
        "bars": facts.bars,
        "backfilled": facts.backfilled,
        "rounds": facts.rounds,
        "restarts": facts.restarts,
        "first_decision_s": facts.first_decision_s,
        "round_ms": facts.round_ms,
        "seconds": round(facts.seconds, 1),
        "failures": failures(facts),
        "run": facts.run,
    }
