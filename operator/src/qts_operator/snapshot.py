"""What a pass may look at, frozen: digests of the live objects, and nothing that can change under it."""

from __future__ import annotations

from typing import Any

import msgspec

from qts_core import names
from qts_core.probes import Status


class Child(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One owned object, reduced to what plan and status need."""

    kind: str
    namespace: str
    name: str
    uid: str
    version: str  # resourceVersion
    system: str = ""
    owner_uid: str = ""
    owner_kind: str = ""
    digest: str = ""
    deleting: bool = False
    generation: int = 0
    observed: int = 0
    replicas: int = 0  # wanted by its spec
    current: int = 0
    ready: int = 0
    updated: int = 0
    available: int = 0
    revision: int = 0
    template_hash: str = ""
    newest: str = ""  # of a StatefulSet: the revision that its controller gives to new pods
    default_images: str = ""  # annotation: the defaults that its template was rendered with
    holders: str = ""  # annotation of a Secret: the wire names that it has credentials of
    credentials: str = ""  # annotation of a Secret: generation and stage
    acl: str = ""  # annotation of a Secret: fingerprint of its access list
    counts: bool = False  # its number of replicas is ours
    parked: str = ""  # annotation: the replicas that somebody else had given it before it was held back
    keys: frozenset[str] = frozenset()  # of a Secret: the names of its files, as its field managers tell
    stuck: bool = False
    rolled: bool = False  # its controller says that its newest template was available
    failure: str = ""  # message of ReplicaFailure
    failing_since: float = 0.0  # that, or of a StatefulSet that it counts no pod; seconds since the epoch

    @property
    def settled(self) -> bool:
        """Tell whether its controller has done all that the spec asks for."""
        return self._made and self.ready == self.available == self.replicas

    @property
    def rolled_out(self) -> bool:
        """Tell whether its roll-out is over: pods that are ready no more are none.

        A StatefulSet counts a pod that ends, as on a lost node, and makes no other beside it: its template
        alone decides. Where it had no other yet nobody says whether its pods ever were ready.
        """
        numbers = self._made or self.kind == "StatefulSet"
        return self.settled or (numbers and not self.rolling)

    @property
    def rolling(self) -> bool:
        """Tell whether its newest template never was available; a pod that is lost later is no roll-out."""
        return self.observed < self.generation or not self.rolled

    @property
    def _made(self) -> bool:
        return self.observed >= self.generation and self.updated == self.replicas == self.current


class Pod(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One pod of ours."""

    namespace: str
    name: str
    uid: str
    version: str
    system: str = ""
    agent: str = ""  # component label: agent, market, redis
    phase: str = ""
    ready: bool = False
    up: bool = False  # every container runs and has passed its start-up probe
    deleting: bool = False
    node: str = ""
    ip: str = ""
    unschedulable: str = ""  # the scheduler's message while the pod has no node
    waits: str = ""  # the container that waits
    waiting: str = ""  # its reason, such as ImagePullBackOff
    waiting_message: str = ""
    reason: str = ""  # why it failed: Evicted, UnexpectedAdmissionError
    started: float = 0.0  # creation, seconds since the epoch
    ready_since: float = 0.0  # seconds since the epoch; 0 = not known
    restarts: int = 0
    template: str = ""  # what its controller calls the template that it was made from
    down: str = ""  # the container that has ended and is not up again
    ending: str = ""  # how it ended last: "OOMKilled", "exit code 1"
    loops: bool = False  # it ends again and again
    exited: bool = False  # a container has ended at least once
    ended: float = 0.0  # when a container that was restarted last ended, seconds since the epoch
    limits: dict[str, int] = {}
    claims: tuple[str, ...] = ()  # templates that its devices are claimed by


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One node: what it offers and whom it lets in."""

    name: str
    labels: dict[str, str] = {}
    taints: tuple[tuple[str, str, str], ...] = ()  # key, value, effect
    allocatable: dict[str, int] = {}  # extended resources only
    ready: bool = True
    unready_since: float = 0.0  # seconds since the epoch; 0 while ready, or not known
    unschedulable: bool = False


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """One pod's devices, and the nodes that would take it."""

    agent: str
    resource: str
    count: int
    nodes: frozenset[str]
    counted: bool = True  # False: claims, whose devices only the scheduler can count


class Other(msgspec.Struct, frozen=True, kw_only=True):
    """Another system that starts all or nothing."""

    key: str
    created: float
    claiming: bool
    waiting: bool
    needs: tuple[Need, ...] = ()


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A named fact; reason and message go unchanged to condition, Event, log and label."""

    reason: str
    message: str
    condition: str = "Degraded"


class Heard(msgspec.Struct, frozen=True):
    """What a pod says of its credentials at /statusz; the side container of Redis tells its access list."""

    credentials: dict[str, int] = {}
    acl: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one pass knows."""

    namespace: str
    name: str
    uid: str
    generation: int
    now: float  # seconds since the epoch
    spec: dict[str, Any]
    status: dict[str, Any] = {}  # as the server has it
    children: dict[tuple[str, str], Child] = {}  # (kind, name)
    pods: tuple[Pod, ...] = ()
    nodes: tuple[Node, ...] | None = None  # None: not visible
    used: dict[str, dict[str, int]] = {}  # node → resource → asked for by all pods there
    statusz: Status | None = None  # answer of PADS, None when it could not be asked
    heard: dict[str, Heard] = {}  # pod uid → its answer, asked while credentials change
    unread: dict[str, str] = {}  # Secret → why it could not be read
    absent: frozenset[str] = frozenset()  # templates of claims that the spec names and that do not exist
    login: Finding | None = None  # why the Secret that `redis.urlSecretRef` names cannot be used
    blocked: tuple[Finding, ...] = ()  # from outside the pass: rights, definition
    pruned: dict[str, Any] = {}  # what the served definition would not keep, as in pruning.py
    refused: Finding | None = None  # a pod that the last pass was not allowed to delete
    offered: frozenset[str] = frozenset()  # optional kinds that the cluster has, once they are seen
    barred: dict[str, str] = {}  # optional kinds that may not be seen, and what the server said
    restricted: tuple[str, ...] = ()  # what is not done for want of a right, and why; it hinders no system
    created: float = 0.0  # of the resource, seconds since the epoch
    others: tuple[Other, ...] = ()  # other systems that start all or nothing
    kept: dict[str, tuple[str, str]] = {}  # uid → (version, desired digest) that the server altered

    def owned(self, kind: str, part: str) -> Child | None:
        """Return an owned object, None when it is missing or another resource's."""
        found = self.children.get((kind, names.part(self.name, part)))
        return found if found is not None and found.owner_uid == self.uid else None

    def pods_of(self, agent: str) -> tuple[Pod, ...]:
        """Return the pods of one workload."""
        return tuple(p for p in self.pods if p.agent == agent)
