"""The budget of restarts: those of the last window that fell in this generation of the resource. Pure.

The status keeps their times, so that a new leader knows them; a change of the spec begins anew. The kubelet's
restarts count as ours do. Nobody tells of each, so the status keeps how many of each pod are already counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qts_operator.snapshot import Pod
from qts_operator.times import seconds_of, stamp

KEPT = 20  # the largest maxRestarts


def recent(entry: dict[str, Any], generation: int, window_s: float, now: float) -> tuple[float, ...]:
    """Return when the workload of this status entry was restarted within the window, oldest first."""
    times = (seconds_of(at) for at in _times(entry, generation))
    return tuple(sorted(t for t in times if t is not None and now - t < window_s))


def noted(entry: dict[str, Any], generation: int, now: float) -> dict[str, Any]:
    """Return the record with a restart at `now` added."""
    counted = (entry.get("recentRestarts") or {}).get("counted") or {}
    return _record(generation, [*_times(entry, generation), stamp(now)], counted)


def seen(entry: dict[str, Any], pods: Iterable[Pod], generation: int, now: float) -> dict[str, Any]:
    """Return the entry with the kubelet's restarts that are not in it, each dated by the last of its pod."""
    known = (entry.get("recentRestarts") or {}).get("counted") or {}
    counted = {p.uid: p.restarts for p in sorted(pods, key=lambda p: p.uid) if p.restarts}
    if counted == known:
        return entry
    times = _times(entry, generation)
    for pod in pods:
        more = pod.restarts - known.get(pod.uid, 0)
        times += [stamp(pod.ended or now)] * min(max(more, 0), KEPT)
    return entry | {"recentRestarts": _record(generation, sorted(times), counted)}


def _times(entry: dict[str, Any], generation: int) -> list[str]:
    record = entry.get("recentRestarts") or {}
    return list(record.get("at") or ()) if record.get("generation") == generation else []


def _record(generation: int, times: list[str], counted: dict[str, int]) -> dict[str, Any]:
    record: dict[str, Any] = {"generation": generation, "at": times[-KEPT:]}
    return record | ({"counted": counted} if counted else {})
