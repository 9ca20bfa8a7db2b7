"""Events of a resource: one for each condition that changed, after the status was written. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from qts_core import names
from qts_operator.objects import Kind
from qts_operator.snapshot import Snapshot

KIND = Kind("Event", "events.k8s.io", "v1", "events")
#: conditions worth an Event, and the status that is good news
_TOLD = {"Ready": "True", "Degraded": "False", "GPUAvailable": "True"}


def transitions(snapshot: Snapshot, new: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the Events of a status change."""
    former = {c["type"]: c for c in snapshot.status.get("conditions") or ()}
    told = []
    for condition in new["conditions"]:
        good, before = _TOLD.get(condition["type"]), former.get(condition["type"])
        if good is None:
            continue
        same = before is not None and before["status"] == condition["status"]
        if same and before is not None and before["reason"] == condition["reason"]:
            continue
        # a first status that says "healthy" or "still starting" is no news
        if before is None and (condition["status"] == good or condition["type"] == "Ready"):
            continue
        told.append(_event(snapshot, condition, normal=condition["status"] == good))
    return told


def _event(snapshot: Snapshot, condition: dict[str, Any], *, normal: bool) -> dict[str, Any]:
    at = datetime.fromtimestamp(snapshot.now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": f"{snapshot.name}-", "namespace": snapshot.namespace},
        "type": "Normal" if normal else "Warning",
        "reason": condition["reason"],
        "note": (condition["message"] or condition["reason"])[:1000],
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
