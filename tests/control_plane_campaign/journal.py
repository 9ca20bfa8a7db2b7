"""A second client's record of every version that the API server shows, and what is read off it. Pure but for `follow`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from random import Random
from typing import Any

import msgspec

from qts_core import names
from qts_core.clock import SystemClock
from qts_operator.cluster import PODS, SYSTEMS, Api
from qts_operator.metrics import Metrics
from qts_operator.objects import KINDS, Kind
from qts_operator.watch import Reflector, Tools

MANAGED = {"labelSelector": f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"}
OWNED: tuple[Kind, ...] = tuple(kind for kind in KINDS if not kind.optional)
Tree = dict[str, Any]


class Version(msgspec.Struct, frozen=True):
    """One thing that was seen: an object as it was then."""

    event: str  # ADDED, MODIFIED, DELETED
    kind: str
    live: Tree

    @property
    def item(self) -> str:
        """Return kind and name."""
        return f"{self.kind}/{self.live['metadata']['name']}"

    @property
    def uid(self) -> str:
        """Return the object's uid."""
        return str(self.live["metadata"]["uid"])


class Journal:
    """Versions of the watched namespaces since `begin`, and the live objects of each."""

    def __init__(self) -> None:
        self.versions: defaultdict[str, list[Version]] = defaultdict(list)
        self.live: defaultdict[str, dict[str, Tree]] = defaultdict(dict)
        self.last_s: defaultdict[str, float] = defaultdict(float)

    def begin(self, namespace: str) -> None:
        """Forget what was; what is stays."""
        self.versions[namespace] = []

    def follow(self, api: Api, prefix: str) -> list[Reflector]:
        """Return the reflectors that keep the journal of namespaces whose names begin with `prefix`."""
        tools = Tools(SystemClock(), Random(0), Metrics())
        kinds = ((SYSTEMS, {}), (PODS, MANAGED), *((kind, MANAGED) for kind in OWNED))
        return [
            Reflector(api, kind, _Sink(self, kind.name, prefix), scope=(None, params), tools=tools)
            for kind, params in kinds
        ]

    def note(self, event: str, kind: str, live: Tree) -> None:
        """Take one version; a repeated one changes nothing."""
        namespace = live["metadata"]["namespace"]
        version = Version(event, kind, live)
        known = self.live[namespace].get(version.item)
        if event != "DELETED" and known is not None and _mark(known) == _mark(live):
            return
        self.versions[namespace].append(version)
        self.last_s[namespace] = time.monotonic()
        if event == "DELETED":
            self.live[namespace].pop(version.item, None)
        else:
            self.live[namespace][version.item] = live


class _Sink:
    def __init__(self, journal: Journal, kind: str, prefix: str) -> None:
        self._journal, self._kind, self._prefix = journal, kind, prefix

    def replace(self, items: list[Tree], within: str | None = None) -> int:
        fresh = {live["metadata"]["uid"] for live in items}
        for namespace, objects in list(self._journal.live.items()):
            for item, live in list(objects.items()):
                if item.startswith(f"{self._kind}/") and live["metadata"]["uid"] not in fresh:
                    self._journal.note("DELETED", self._kind, live)
            assert namespace.startswith(self._prefix)
        for live in items:
            self.put(live)
        return 0

    def put(self, live: Tree) -> None:
        if live["metadata"].get("namespace", "").startswith(self._prefix):
            known = (
                f"{self._kind}/{live['metadata']['name']}"
                in self._journal.live[live["metadata"]["namespace"]]
            )
            self._journal.note("MODIFIED" if known else "ADDED", self._kind, live)

    def remove(self, live: Tree) -> None:
        if live["metadata"].get("namespace", "").startswith(self._prefix):
            self._journal.note("DELETED", self._kind, live)


def _mark(live: Tree) -> tuple[str, str]:
    return live["metadata"]["uid"], live["metadata"]["resourceVersion"]


def at_rest(objects: dict[str, Tree], name: str, *, applied: bool) -> bool:
    """Tell whether controllers and the status have caught up, or all is gone with the resource."""
    system = objects.get(f"{names.KIND}/{name}")
    if system is None:
        return not objects
    told, generation = system.get("status") or {}, system["metadata"]["generation"]
    conditions = told.get("conditions") or [{}]
    spoken = conditions[0].get("observedGeneration") == generation
    if applied:
        # on a busy machine the status may follow the Deployments by more than the second of silence
        moving = [c for c in conditions if c.get("type") == "Progressing" and c["status"] != "False"]
        spoken = spoken and told.get("observedGeneration") == generation and not moving
    return spoken and all(
        _settled(live) for item, live in objects.items() if item.startswith(("Deployment/", "StatefulSet/"))
    )


def _settled(live: Tree) -> bool:
    told, asked = live.get("status") or {}, live["spec"].get("replicas", 1)
    if told.get("observedGeneration") != live["metadata"]["generation"]:
        return False
    return all(told.get(k, 0) == asked for k in ("replicas", "readyReplicas", "updatedReplicas"))


def counts(versions: Iterable[Version]) -> dict[str, int]:
    """Return how often each owned object was created and deleted, pods aside."""
    found: defaultdict[str, int] = defaultdict(int)
    for version in versions:
        if version.kind not in (names.KIND, "Pod") and version.event != "MODIFIED":
            found[f"{version.event} {version.item}"] += 1
    return dict(found)


def templates(versions: Iterable[Version]) -> dict[str, int]:
    """Return how many pod templates each workload had: each but the first is a roll-out."""
    seen: defaultdict[str, set[bytes]] = defaultdict(set)
    for version in versions:
        if version.kind in ("Deployment", "StatefulSet"):
            seen[version.item].add(
                msgspec.json.encode(version.live["spec"]["template"], order="deterministic")
            )
    return {item: len(each) for item, each in seen.items()}


def statuses(versions: Iterable[Version]) -> list[tuple[int, Tree]]:
    """Return generation and status of each version of the resource that has one."""
    return [
        (v.live["metadata"]["generation"], v.live["status"])
        for v in versions
        if v.kind == names.KIND and v.event != "DELETED" and v.live.get("status")
    ]
