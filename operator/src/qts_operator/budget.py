"""The budget of restarts: those of the last window that fell in this generation of the resource. Pure.

The status keeps their times, so that a new leader knows them; a change of the spec begins anew.
"""

from __future__ import annotations

from typing import Any

from qts_operator.times import seconds_of, stamp

KEPT = 20  # the largest maxRestarts


def recent(entry: dict[str, Any], generation: int, window_s: float, now: float) -> tuple[float, ...]:
    """Return when the workload of this status entry was restarted within the window, oldest first."""
    record = entry.get("recentRestarts") or {}
    if record.get("generation") != generation:
        return ()
    times = (seconds_of(at) for at in record.get("at") or ())
    return tuple(t for t in times if t is not None and now - t < window_s)


def noted(entry: dict[str, Any], generation: int, now: float) -> dict[str, Any]:
    """Return the record with a restart at `now` added."""
    record = entry.get("recentRestarts") or {}
    former = record.get("at", []) if record.get("generation") == generation else []
    return {"generation": generation, "at": [*former, stamp(now)][-KEPT:]}
