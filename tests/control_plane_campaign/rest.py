"""When a system rests: controllers and status are done, and the operator has seen and handled all that is there. Pure.

The cluster's own doings (a node that falls silent and takes its pods with it, a controller that is late) end a rest:
what the operator tells of them is no write at rest. So a rest is marked with how often the world had moved by then.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from qts_core import names
from qts_operator.expectations import not_older
from qts_operator.view import View

from .journal import OWNED, Version
from .workloads import Tree

#: kinds that both the journal and an engine watch; Secrets an engine never does
WATCHED = (names.KIND, "Pod", *(kind.name for kind in OWNED if kind.watched))


class Rest(msgspec.Struct, frozen=True):
    """How many writes there were, and how often the world had moved, when a system came to rest."""

    writes: int
    moves: int


class Asked(msgspec.Struct, frozen=True):
    """What a user or the world did to an object: to be seen at `version` at least, or gone (None)."""

    item: str
    uid: str
    version: int | None

    def shown(self, live: dict[str, Tree], versions: Iterable[Version]) -> bool:
        """Tell whether the journal shows it."""
        now = live.get(self.item)
        if now is not None and self._fits(now):
            return True
        return any(
            v.item == self.item and v.uid == self.uid and (v.event == "DELETED" or self._fits(v.live))
            for v in versions
        )

    def _fits(self, live: Tree) -> bool:
        metadata, version = live["metadata"], self.version
        return (
            metadata["uid"] == self.uid
            and version is not None
            and int(metadata["resourceVersion"]) >= version
        )


def caught_up(view: View, namespace: str, name: str, objects: dict[str, Tree]) -> bool:
    """Tell whether an engine's view of a system has everything that the journal has, and nothing else."""
    stores: dict[str, Any] = {names.KIND: view.systems, "Pod": view.pods} | view.children
    seen = {f"{kind}/{each.name}": each for kind in WATCHED for each in stores[kind].of(namespace, name)}
    there = {item: live for item, live in objects.items() if item.partition("/")[0] in WATCHED}
    return seen.keys() == there.keys() and all(
        each.uid == there[item]["metadata"]["uid"]
        and not_older(each.version, there[item]["metadata"]["resourceVersion"])
        for item, each in seen.items()
    )


def at_rest(objects: dict[str, Tree], name: str, *, applied: bool) -> bool:
    """Tell whether controllers and the status have caught up, or all is gone with the resource.

    A pod that has failed is still to go: its restart may wait for another pod of the agent.
    """
    system = objects.get(f"{names.KIND}/{name}")
    if system is None:
        return not objects
    told, generation = system.get("status") or {}, system["metadata"]["generation"]
    conditions = told.get("conditions") or [{}]
    spoken = conditions[0].get("observedGeneration") == generation
    if applied:
        # on a busy machine the status may follow the Deployments by more than the silence that is waited for
        moving = [c for c in conditions if c.get("type") == "Progressing" and c["status"] != "False"]
        spoken = spoken and told.get("observedGeneration") == generation and not moving
    failed = any(
        item.startswith("Pod/") and (live.get("status") or {}).get("phase") == "Failed"
        for item, live in objects.items()
    )
    return (
        spoken
        and not failed
        and all(
            _settled(live)
            for item, live in objects.items()
            if item.startswith(("Deployment/", "StatefulSet/"))
        )
    )


def _settled(live: Tree) -> bool:
    told, asked = live.get("status") or {}, live["spec"].get("replicas", 1)
    if told.get("observedGeneration") != live["metadata"]["generation"]:
        return False
    return all(told.get(k, 0) == asked for k in ("replicas", "readyReplicas", "updatedReplicas"))


def excused(write: str) -> bool:
    """Tell whether a moving world may cause a write: the status tells of it, nothing else changes for it."""
    verb, _, path = write.partition(" ")
    return verb == "PATCH" and path.endswith("/status")
