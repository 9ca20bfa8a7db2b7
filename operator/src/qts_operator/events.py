"""Events of a resource: one for each condition that changed, after the status was written, and one for each
object of which the server did not keep a field. Pure.

What happens again within ten minutes is no new Event: the first one becomes a series that counts. A new
leader does not know the series of the one before and begins its own.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

import msgspec

from qts_core import names
from qts_operator.conditions import CONDITIONS, FAULTS
from qts_operator.objects import Kind
from qts_operator.snapshot import Snapshot
from qts_operator.starting import STARTING_UP

KIND = Kind("Event", "events.k8s.io", "v1", "events")
WITHIN_S = 600.0
#: what the condition Restricted says while none may be written
UNWRITTEN = "no Events are written"
#: what an Event says of a reason that a condition has no message for
NOTES = {"Healthy": "nothing needs a person any more"}
#: of an object that the server keeps in another form: nobody is hindered, so no condition tells of it
NOT_KEPT = "FieldsNotKept"
#: what a first status may say of Ready without an Event: it is meant, or Degraded tells it
AT_FIRST = ("SpecNotApplied", "Suspended", *FAULTS)
LIMIT = 4096
_MICRO = "%Y-%m-%dT%H:%M:%S.%fZ"


def transitions(snapshot: Snapshot, new: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the Events of a status change."""
    former = {c["type"]: c for c in snapshot.status.get("conditions") or ()}
    # who suspends or pauses a system means it
    paused = any(c["reason"] == "Paused" for c in new["conditions"])
    on_purpose = ("Suspended", "SpecNotApplied") if paused else ("Suspended",)
    told = []
    for condition in new["conditions"]:
        good, before = CONDITIONS[condition["type"]].good, former.get(condition["type"])
        if not good:
            continue
        same = before is not None and before["status"] == condition["status"]
        if same and before is not None and before["reason"] == condition["reason"]:
            continue
        # a first status that says "healthy" or "not applied yet" is no news, nor is what comes up in its time
        quiet = condition["type"] == "Ready" and condition["reason"] in AT_FIRST
        if before is None and (condition["status"] == good or quiet):
            continue
        if condition["status"] == "Unknown" or condition["reason"] == STARTING_UP:
            continue
        meant = condition["status"] == good or condition["reason"] in on_purpose
        told.append(_event(snapshot, condition, normal=meant))
    return told


def altered(snapshot: Snapshot, told: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the Events of objects that the server did not keep as they were sent."""
    return [_event(snapshot, {"reason": NOT_KEPT, "message": text}, normal=False) for text in told]


def unreported(snapshot: Snapshot, text: str) -> dict[str, Any]:
    """Return the Event of a system whose status may not be written: what stands there is old."""
    note = f"the status is not written, so it may be out of date: {text}"
    return _event(snapshot, {"reason": "AccessDenied", "message": note}, normal=False)


def _event(snapshot: Snapshot, condition: dict[str, Any], *, normal: bool) -> dict[str, Any]:
    at = datetime.fromtimestamp(snapshot.now, UTC).strftime(_MICRO)
    note: str = condition["message"] or NOTES.get(condition["reason"]) or condition["reason"]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": f"{snapshot.name}-", "namespace": snapshot.namespace},
        "type": "Normal" if normal else "Warning",
        "reason": condition["reason"],
        "note": note[:1000],
        "action": "Reconcile",
        "eventTime": at,
        "reportingController": names.FIELD_MANAGER,
        "reportingInstance": names.FIELD_MANAGER,
        "regarding": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": snapshot.name,
            "namespace": snapshot.namespace,
            "uid": snapshot.uid,
        },
    }


def rehearsal(namespace: str, now: float) -> dict[str, Any]:
    """Return an Event that is sent to learn whether one may be written, and is not to be kept."""
    who = {"apiVersion": "v1", "kind": "Namespace", "name": namespace, "namespace": namespace}
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": f"{names.FIELD_MANAGER}-", "namespace": namespace},
        "type": "Normal",
        "reason": "Rehearsal",
        "note": "kept by nobody",
        "action": "Rehearse",
        "eventTime": datetime.fromtimestamp(now, UTC).strftime(_MICRO),
        "reportingController": names.FIELD_MANAGER,
        "reportingInstance": names.FIELD_MANAGER,
        "regarding": who,
    }


class Written(msgspec.Struct, frozen=True):
    """An Event as it was last written: where, at which version, how often it happened, when."""

    name: str
    version: str
    count: int
    at: float  # seconds since the epoch


class Series:
    """The Events that may be continued, newest last."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, ...], Written] = OrderedDict()

    def of(self, event: dict[str, Any], now: float) -> Written | None:
        """Return the Event that this one repeats; None when there is none, or it was too long ago."""
        known = self._known.get(_same(event))
        return known if known is not None and now - known.at < WITHIN_S else None

    def next(self, known: Written, now: float) -> dict[str, Any]:
        """Return the change that counts one more."""
        at = datetime.fromtimestamp(now, UTC).strftime(_MICRO)
        return {"metadata": {}, "series": {"count": known.count + 1, "lastObservedTime": at}}

    def written(self, event: dict[str, Any], answer: dict[str, Any], now: float) -> None:
        """Take the server's answer."""
        told, key = answer["metadata"], _same(event)
        count = int((answer.get("series") or {}).get("count") or 1)
        self._known[key] = Written(told["name"], str(told.get("resourceVersion", "")), count, now)
        self._known.move_to_end(key)
        if len(self._known) > LIMIT:
            self._known.popitem(last=False)

    def lost(self, event: dict[str, Any]) -> None:
        """Forget an Event that is gone or was changed by somebody else."""
        self._known.pop(_same(event), None)


def _same(event: dict[str, Any]) -> tuple[str, ...]:
    """Return what two Events of one series have in common: the API server lets nothing else change."""
    return event["regarding"]["uid"], event["type"], event["reason"], event["note"]
