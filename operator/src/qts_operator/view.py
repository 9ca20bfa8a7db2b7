"""The stores that reflectors fill, and which pass each change asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from sys import intern
from typing import Any, Generic, TypeVar

import msgspec

from qts_core import names
from qts_operator import digests, lines
from qts_operator.cache import Item, Store
from qts_operator.digests import Resource
from qts_operator.echoes import Echoes
from qts_operator.kept import keep, whole
from qts_operator.objects import KINDS
from qts_operator.progress import comes_up, grows
from qts_operator.snapshot import Child, Node, Pod

Live = dict[str, Any]
T = TypeVar("T", bound=Item)
Poke = Callable[[str], None]


class Digesting(Generic[T]):
    """A sink that digests objects into a store and asks for a pass where something moved.

    `whole` decodes a line as far as `digest` looks at it.

    `changed` is told of what the watch shows with what was known before; everything else `moved`.
    """

    def __init__(
        self,
        store: Store[T],
        digest: Callable[[Live], T],
        moved: Callable[[T], None],
        changed: Callable[[T | None, T], None] | None = None,
        read: Callable[[bytes], Live] = lines.whole,
    ) -> None:
        self.store, self.digest, self._moved, self.whole = store, digest, moved, read
        self._changed_from = changed or (lambda _, item: moved(item))

    def read(self, line: bytes) -> Live:
        """Return an event; of an object that is known at its version no more than that is decoded."""
        head = lines.head(line)
        if head["type"] in ("ADDED", "MODIFIED") and self._shown(head["object"].get("metadata", {})):
            return head
        return self.whole(line)

    def replace(self, items: list[T], within: str | None = None) -> int:
        """Take what a full list of one namespace, or of all, kept; return how much the watch had missed."""
        changed = self.store.replace(items, within)
        for item in changed:
            self._moved(item)
        return len(changed)

    def put(self, live: Live) -> None:
        """Take an added or changed object; one that differs in its version alone moves nothing."""
        if self._shown(live["metadata"]):
            return  # the answer to our own write came first
        item = self.digest(live)
        known = self.store.get(item.namespace, item.name)
        if self.store.put(item) and (known is None or not _same(known, item)):
            self._changed_from(known, item)

    def _shown(self, metadata: Live) -> bool:
        version, uid = str(metadata.get("resourceVersion", "")), metadata.get("uid", "")
        namespace, name = metadata.get("namespace", ""), metadata.get("name")
        if not isinstance(namespace, str) or not isinstance(name, str):
            return False
        return self.store.shows(namespace, name, uid, version)

    def remove(self, live: Live) -> None:
        """Take a deletion."""
        metadata = live["metadata"]
        item: Any = self.store.get(metadata.get("namespace", ""), metadata["name"])
        if item is None or item.uid != metadata.get("uid", ""):
            item = self.digest(live)
        else:  # what is known says whose it was, though its last version cannot be read
            item = msgspec.structs.replace(item, version=str(metadata.get("resourceVersion", "")))
        if self.store.remove(item):
            self._moved(item)


class Systems(Digesting[Resource]):
    """Where resources go; `changed` is told how many specs moved, those of the first list aside."""

    def __init__(
        self,
        store: Store[Resource],
        moved: Callable[[Resource], None],
        changed_from: Callable[[Resource | None, Resource], None],
        changed: Callable[[float], None],
    ) -> None:
        super().__init__(store, digests.resource, moved, changed_from)
        self._changed = changed

    def replace(self, items: list[Resource], within: str | None = None) -> int:
        """Take what a full list of one namespace, or of all, kept; return how much the watch had missed."""
        before = self._generations() if within in self.store.listed else None
        missed = super().replace(items, within)
        if before is not None:
            self._changed(float(len(self._generations() - before)))
        return missed

    def put(self, live: Live) -> None:
        """Take an added or changed resource."""
        before = self.store.get(live["metadata"].get("namespace", ""), live["metadata"]["name"])
        super().put(live)
        after = self.store.get(live["metadata"].get("namespace", ""), live["metadata"]["name"])
        if after is not None and (before is None or _spec(before) != _spec(after)):
            self._changed(1.0)

    def _generations(self) -> set[tuple[str, int]]:
        return {_spec(resource) for resource in self.store.all()}


def _spec(resource: Resource) -> tuple[str, int]:
    return resource.uid, resource.generation


class NodeEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A node as the cache keeps it."""

    namespace: str
    name: str
    uid: str
    version: str
    system: str
    node: Node


class View:
    """Everything that is seen of the cluster."""

    def __init__(
        self,
        poke: Poke,
        spec_changed: Callable[[float], None] = lambda _: None,
        gather: Poke | None = None,
        progress: Poke | None = None,
    ) -> None:
        """`poke` asks for a pass; `gather`, for what follows our own writes, for one a moment later.

        `progress`, for what cannot make a system Ready yet, asks for one when its numbers may be told again.
        """
        self._spec_changed = spec_changed
        self._gather = gather or poke
        self._progress = progress or self._gather
        self.systems: Store[Resource] = Store()
        self.children: dict[str, Store[Child]] = {kind.name: Store(keep, whole) for kind in KINDS}
        self.pods: Store[Pod] = Store()
        self.nodes: Store[NodeEntry] = Store()
        self.echoes = Echoes()
        self._poke = poke

    def sink_systems(self) -> Systems:
        """Return where resources go."""
        return Systems(self.systems, self._resource_moved, self._resource_changed, self._spec_changed)

    def sink_children(self, kind: str) -> Digesting[Child]:
        """Return where owned objects of one kind go."""
        return Digesting(
            self.children[kind],
            lambda live: digests.child(live, kind),
            self._owned,
            lambda known, item: self._owned(item, kind, waits=grows(known, item)),
        )

    def sink_pods(self) -> Digesting[Pod]:
        """Return where pods go."""
        return Digesting(
            self.pods,
            digests.pod,
            self._owned,
            lambda known, item: self._owned(item, "Pod", waits=comes_up(known, item)),
            lines.pod,
        )

    def sink_nodes(self) -> Digesting[NodeEntry]:
        """Return where nodes go: to systems that ask for a device or have pods on one that is gone."""
        return Digesting(self.nodes, _node, self._node_moved)

    def listed(self, namespace: str) -> bool:
        """Tell whether the systems of a namespace were ever listed."""
        return not self.systems.listed.isdisjoint((None, namespace))

    def keys(self, within: str | None = None) -> list[str]:
        """Return the keys of the systems, of a namespace or of all; where none may be listed, of owners."""
        known = dict.fromkeys((each.namespace, each.name) for each in self.systems.all())
        if None not in self.systems.listed:
            for store in self.children.values():
                known |= dict.fromkeys(each for each in store.systems() if not self.listed(each[0]))
        return [key_of(*each) for each in known if within in (None, each[0])]

    def counts(self) -> dict[str, int]:
        """Return how many objects of each kind are known."""
        seen = {names.KIND: len(self.systems), "Pod": len(self.pods), "Node": len(self.nodes)}
        return seen | {kind: len(store) for kind, store in self.children.items()}

    def _resource_moved(self, resource: Resource) -> None:
        self._poke(key_of(resource.namespace, resource.name))

    def _resource_changed(self, known: Resource | None, resource: Resource) -> None:
        if known is None or _spec(known) != _spec(resource) or known.deleting != resource.deleting:
            self._resource_moved(resource)  # as old as it is, though a request is on its way
            return
        item = (names.KIND, resource.namespace, resource.name)
        ask = partial(self._resource_moved, resource)
        self.echoes.ask(key_of(resource.namespace, resource.name), item, resource.version, ask)

    def _owned(self, item: Child | Pod, kind: str = "", *, waits: bool = False) -> None:
        if not item.system:
            return
        key = key_of(item.namespace, item.system)
        ask = self._progress if waits and self._coming_up(item.namespace, item.system) else self._gather
        self.echoes.ask(key, (kind, item.namespace, item.name), item.version, partial(ask, key))

    def _coming_up(self, namespace: str, system: str) -> bool:
        """Tell whether some workload has no pod that is up yet.

        Who starts all or nothing is left out: each pod that gets its devices counts for the others.
        """
        resource = self.systems.get(namespace, system)
        if resource is None or resource.gang:
            return False
        return any(
            child.ready < min(1, child.replicas) or child.observed < child.generation
            for kind in ("StatefulSet", "Deployment")
            for child in self.children[kind].of(namespace, system)
        )

    def _node_moved(self, entry: NodeEntry) -> None:
        if not entry.node.ready:
            for pod in self.pods.all():
                if pod.node == entry.name:
                    self._owned(pod)
        self._gpu_systems()

    def _gpu_systems(self) -> None:
        for resource in self.systems.all():
            if resource.gpu:
                self._poke(key_of(resource.namespace, resource.name))


def key_of(namespace: str, name: str) -> str:
    """Return the queue's key of a system."""
    return intern(f"{namespace}/{name}")  # half a dozen tables have it


def _node(live: Live) -> NodeEntry:
    node = digests.node(live)
    metadata = live["metadata"]
    version = str(metadata.get("resourceVersion", ""))
    uid = metadata.get("uid", "")
    return NodeEntry(namespace="", name=node.name, uid=uid, version=version, system="", node=node)


def _same(known: Any, item: Any) -> bool:
    return bool(msgspec.structs.replace(known, version="") == msgspec.structs.replace(item, version=""))
