"""A second client's record of every version that the API server shows, and what is read off it. Pure but for `follow`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from random import Random
from typing import Any

import msgspec
import orjson

from qts_core import names
from qts_core.clock import SystemClock
from qts_operator.cluster import MINE, PODS, SYSTEMS, Api, whole
from qts_operator.metrics import Metrics
from qts_operator.objects import KINDS, Kind
from qts_operator.watch import Reflector, Tools

MANAGED = MINE
OWNED: tuple[Kind, ...] = tuple(kind for kind in KINDS if not kind.optional)
WORKLOADS = ("Deployment/", "StatefulSet/")
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
    """Versions of the watched namespaces since `begin`, what was there then, and the live objects of each.

    `moves` counts the changes that are not the operator's: pods, and what controllers say of workloads.
    """

    def __init__(self) -> None:
        self.versions: defaultdict[str, list[Version]] = defaultdict(list)
        self.live: defaultdict[str, dict[str, Tree]] = defaultdict(dict)
        self.first: defaultdict[str, dict[str, Tree]] = defaultdict(dict)
        self.last_s: defaultdict[str, float] = defaultdict(float)
        self.moves: defaultdict[str, int] = defaultdict(int)

    def begin(self, namespace: str) -> None:
        """Forget what was; what is stays."""
        self.versions[namespace] = []
        self.first[namespace] = dict(self.live[namespace])

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
        self.moves[namespace] += _by_others(version, known)
        self.last_s[namespace] = time.monotonic()
        if event == "DELETED":
            self.live[namespace].pop(version.item, None)
        else:
            self.live[namespace][version.item] = live


class _Sink:
    def __init__(self, journal: Journal, kind: str, prefix: str) -> None:
        self._journal, self._kind, self._prefix = journal, kind, prefix

    digest = staticmethod(whole)
    read = whole = staticmethod(orjson.loads)

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


def _by_others(version: Version, known: Tree | None) -> bool:
    if not version.item.startswith(WORKLOADS):
        return version.kind == "Pod"
    return known is not None and known.get("status") != version.live.get("status")


def counts(versions: Iterable[Version]) -> dict[str, int]:
    """Return how often each owned object was created and deleted, pods aside."""
    found: defaultdict[str, int] = defaultdict(int)
    for version in versions:
        if version.kind not in (names.KIND, "Pod") and version.event != "MODIFIED":
            found[f"{version.event} {version.item}"] += 1
    return dict(found)


def roll_outs(first: dict[str, Tree], versions: Iterable[Version]) -> dict[str, int]:
    """Return how often the pod template of each workload changed, from what was there at `first` on.

    A workload that is made is no roll-out, and one whose status alone moves is none either.
    """
    last = {item: _template(live) for item, live in first.items() if item.startswith(WORKLOADS)}
    found: defaultdict[str, int] = defaultdict(int)
    for version in versions:
        if not version.item.startswith(WORKLOADS):
            continue
        if version.event == "DELETED":
            last.pop(version.item, None)
            continue
        template = _template(version.live)
        found[version.item] += last.get(version.item, template) != template
        last[version.item] = template
    return {item: count for item, count in found.items() if count}


def _template(live: Tree) -> bytes:
    return msgspec.json.encode(live["spec"]["template"], order="deterministic")


def statuses(versions: Iterable[Version]) -> list[tuple[int, Tree]]:
    """Return generation and status of each version of the resource that has one."""
    return [
        (v.live["metadata"]["generation"], v.live["status"])
        for v in versions
        if v.kind == names.KIND and v.event != "DELETED" and v.live.get("status")
    ]
