"""Live objects to the small structs that the cache keeps. Pure.

Texts that many objects share are interned: a system's objects repeat its names and its uid some twenty times.
"""

from __future__ import annotations

import re
from datetime import datetime
from sys import intern
from typing import Any

import msgspec
import orjson

from qts_core import names
from qts_core.whence import in_fields
from qts_operator.conditions import said
from qts_operator.fields import summary
from qts_operator.memo import alike
from qts_operator.objects.quantities import value_of
from qts_operator.packing import Packed, Packer
from qts_operator.progress import ends_of
from qts_operator.snapshot import Child, Node, Pod

Live = dict[str, Any]
_pack = Packer().pack
#: labels that say which template a pod was made from: of a StatefulSet, of a Deployment
TEMPLATES = ("controller-revision-hash", "pod-template-hash")
FORGIVEN_S = 600.0  # a container that lived as long begins a new count of the kubelet's pauses
_REVISION = re.compile("[0-9]{1,9}")  # anybody may write the annotation, other digits of Unicode too


class Resource(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A resource as a packed text, decoded when it is looked at: most of a large cache is read rarely."""

    namespace: str
    name: str
    uid: str
    version: str
    system: str
    generation: int
    deleting: bool
    gpu: bool
    gang: bool
    created: float
    packed: Packed  # spec and status

    def decoded(self) -> tuple[Live, Live]:
        """Return spec and status."""
        tree = orjson.loads(self.packed.text())
        return tree["spec"], tree["status"]


def resource(live: Live) -> Resource:
    """Digest a QuantumTradingSystem."""
    metadata = live["metadata"]
    spec = live.get("spec") or {}
    agents = (spec.get("agents") or {}).values()
    return Resource(
        namespace=intern(metadata.get("namespace", "")),
        name=intern(metadata["name"]),
        uid=intern(metadata["uid"]),
        version=str(metadata.get("resourceVersion", "")),
        system=intern(metadata["name"]),
        generation=int(metadata.get("generation") or 0),
        deleting="deletionTimestamp" in metadata,
        gpu=any(((a or {}).get("gpu") or {}).get("mode", "None") != "None" for a in agents),
        gang=spec.get("startup") == "AllOrNothing",
        created=_seconds(metadata.get("creationTimestamp") or ""),
        packed=_pack(orjson.dumps({"spec": spec, "status": live.get("status") or {}})),
    )


def child(live: Live, kind: str) -> Child:
    """Digest an owned object."""
    metadata = live["metadata"]
    spec, status = live.get("spec") or {}, live.get("status") or {}
    owner: Live = next((o for o in metadata.get("ownerReferences") or () if o.get("controller")), {})
    notes = metadata.get("annotations") or {}
    told = {c.get("type"): c for c in status.get("conditions") or ()}
    mine = summary(live)
    reason, failure = (told.get("Progressing") or {}).get("reason"), told.get("ReplicaFailure") or {}
    revision = str(notes.get(names.ANNOTATION_TEMPLATE_REVISION, ""))
    return Child(
        kind=kind,
        namespace=intern(metadata.get("namespace", "")),
        name=intern(metadata["name"]),
        uid=metadata["uid"],
        version=str(metadata.get("resourceVersion", "")),
        system=intern(_system(metadata, owner)),
        owner_uid=intern(owner.get("uid", "")),
        owner_kind=intern(owner.get("kind", "")),
        digest=mine.digest,
        deleting="deletionTimestamp" in metadata,
        generation=int(metadata.get("generation") or 0),
        observed=int(status.get("observedGeneration") or 0),
        replicas=int(spec.get("replicas") or 0),
        current=int(status.get("replicas") or 0),
        ready=int(status.get("readyReplicas") or 0),
        updated=int(status.get("updatedReplicas") or 0),
        available=int(status.get("availableReplicas") or 0),
        revision=int(revision) if _REVISION.fullmatch(revision) else 0,
        newest=status.get("updateRevision") or "",
        template_hash=notes.get(names.ANNOTATION_TEMPLATE_HASH, ""),
        default_images=intern(notes.get(names.ANNOTATION_DEFAULT_IMAGES, "")),
        holders=notes.get(names.ANNOTATION_HOLDERS, ""),
        credentials=notes.get(names.ANNOTATION_CREDENTIALS, ""),
        acl=notes.get(names.ANNOTATION_ACL, ""),
        counts=mine.counts,
        parked=notes.get(names.ANNOTATION_REPLICAS_BEFORE_SUSPEND, ""),
        keys=files_of(metadata) if kind == "Secret" else frozenset(),
        stuck=reason == "ProgressDeadlineExceeded",
        rolled=_was_available(status) if kind == "StatefulSet" else reason == "NewReplicaSetAvailable",
        failure=failure.get("message", "") if failure.get("status") == "True" else "",
        failing_since=_without_pods(metadata, status)
        if kind == "StatefulSet"
        else _seconds(failure.get("lastTransitionTime") or ""),
    )


def _was_available(status: Live) -> bool:
    """Tell whether all pods of a StatefulSet's newest template were ready once, or it never had another one.

    That is when its controller takes the template that it rolls out for the current one.
    """
    return bool(status.get("currentRevision") == status.get("updateRevision"))


def _without_pods(metadata: Live, status: Live) -> float:
    """Return since when a StatefulSet counts no pod, 0 while it counts one.

    It has no condition of that, but its status was last written then, which its field managers tell; where
    somebody cleared them it was when it was made.
    """
    if status.get("replicas"):
        return 0.0
    entries = [e for e in metadata.get("managedFields") or () if e.get("subresource") == "status"]
    written = max((_seconds(e.get("time") or "") for e in entries), default=0.0)
    return written or _seconds(metadata.get("creationTimestamp") or "")


def _system(metadata: Live, owner: Live) -> str:
    """Return whose an object is: by its owner, as anybody may change a label."""
    if owner.get("kind") == names.KIND:
        return str(owner.get("name", ""))
    return str((metadata.get("labels") or {}).get(names.LABEL_SYSTEM, ""))


def files_of(metadata: Live) -> frozenset[str]:
    """Return the names of a Secret's files without its content: somebody manages each of them.

    An apply of `stringData` is noted by that name.
    """
    entries = [e.get("fieldsV1") or {} for e in metadata.get("managedFields") or ()]
    fields = [e.get(kind) or {} for e in entries for kind in ("f:data", "f:stringData")]
    return frozenset(intern(key[2:]) for each in fields for key in each if key.startswith("f:"))


def _refused(spec: Live, scheduled: Live) -> str:
    """Return what the scheduler says of a pod without a node.

    It also says so of one that was bound while the answer was lost, until the kubelet knows better.
    """
    if spec.get("nodeName") or scheduled.get("status") != "False":
        return ""
    return str(scheduled.get("message", ""))


def pod(live: Live) -> Pod:
    """Digest a pod."""
    metadata, spec = live["metadata"], live.get("spec") or {}
    status = live.get("status") or {}
    labels = metadata.get("labels") or {}
    told = {c.get("type"): c for c in status.get("conditions") or ()}
    scheduled, containers = told.get("PodScheduled") or {}, status.get("containerStatuses") or []
    waits: Live = next((c for c in containers if (c.get("state") or {}).get("waiting")), {})
    waiting: Live = (waits.get("state") or {}).get("waiting") or {}
    down: Live = next((c for c in containers if not c.get("started") and _ended(c)), {})
    end = _last_end(down)
    return Pod(
        namespace=intern(metadata.get("namespace", "")),
        name=intern(metadata["name"]),
        uid=metadata["uid"],
        version=str(metadata.get("resourceVersion", "")),
        system=intern(labels.get(names.LABEL_SYSTEM, "")),
        agent=intern(labels.get(names.LABEL_COMPONENT, "")),
        phase=intern(status.get("phase", "")),
        ready=(told.get("Ready") or {}).get("status") == "True",
        up=bool(containers) and all(c.get("started") for c in containers),
        deleting="deletionTimestamp" in metadata,
        node=intern(spec.get("nodeName") or ""),
        ip=status.get("podIP") or "",
        unschedulable=_refused(spec, scheduled),
        waits=intern(waits.get("name", "")),
        waiting=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        reason=status.get("reason", ""),
        started=_seconds(metadata.get("creationTimestamp") or ""),
        ready_since=_seconds((told.get("Ready") or {}).get("lastTransitionTime") or ""),
        restarts=sum(int(c.get("restartCount") or 0) for c in containers),
        exited=any(_ended(c) for c in containers) or status.get("phase") == "Failed",
        down=intern(down.get("name", "")),
        ending=_words(end) if down else "",
        loops=_loops(down, end),
        template=intern(next((labels[name] for name in TEMPLATES if name in labels), "")),
        ended=max((_former_end(c) for c in containers), default=0.0),
        limits=requested(spec),
        claims=tuple(
            name for c in spec.get("resourceClaims") or () if (name := c.get("resourceClaimTemplateName"))
        ),
    )


def node(live: Live) -> Node:
    """Digest a node."""
    metadata, spec, status = live["metadata"], live.get("spec") or {}, live.get("status") or {}
    told = said(status, "Ready")
    ready = told.get("status", "True") == "True"
    return Node(
        name=metadata["name"],
        labels=metadata.get("labels") or {},
        taints=tuple(
            (t.get("key", ""), t.get("value", ""), t.get("effect", "")) for t in spec.get("taints") or ()
        ),
        allocatable=_extended(status.get("allocatable") or {}),
        ready=ready,
        unready_since=0.0 if ready else _seconds(told.get("lastTransitionTime") or ""),
        unschedulable=bool(spec.get("unschedulable")),
    )


def requested(spec: Live) -> dict[str, int]:
    """Return the extended resources that a pod's containers ask for, added up; nobody may change it."""
    total: dict[str, int] = {}
    for container in spec.get("containers") or ():
        limits = (container.get("resources") or {}).get("limits") or {}
        for name, count in _extended(limits).items():
            total[name] = total.get(name, 0) + count
    return alike(*total.items())


def _extended(quantities: Live) -> dict[str, int]:
    return {k: int(value_of(str(v))) for k, v in quantities.items() if "/" in k}


def _ended(container: Live) -> bool:
    """Tell whether a container has ended at least once."""
    states = (container.get("state") or {}), (container.get("lastState") or {})
    return int(container.get("restartCount") or 0) > 0 or any(s.get("terminated") for s in states)


def _last_end(container: Live) -> Live:
    """Return how a container ended, or the one that stood here before it; {} when none has."""
    states = (container.get("state") or {}), (container.get("lastState") or {})
    return next((t for s in states if (t := s.get("terminated"))), {})


def _words(end: Live) -> str:
    """Return how a container ended in a few words, with its own last ones where it left any.

    A process of ours says there what is wrong with its settings, whose fields in the resource are named.
    """
    reason, said = end.get("reason") or "Error", ends_of(in_fields((end.get("message") or "").strip()))
    how = f"exit code {end.get('exitCode', 0)}" if reason in ("Error", "Completed") else str(reason)
    return intern(f"{how}: {said}" if said else how)


def _loops(container: Live, end: Live) -> bool:
    """Tell whether a container ends again and again: the kubelet pauses between two tries, or tries."""
    state = container.get("state") or {}
    waits = (state.get("waiting") or {}).get("reason") == "CrashLoopBackOff"
    lived = _seconds(end.get("finishedAt") or "") - _seconds(end.get("startedAt") or "")
    return waits or (int(container.get("restartCount") or 0) > 1 and lived < FORGIVEN_S)


def _former_end(container: Live) -> float:
    """Return when the container that stood here before this one ended, 0 when there was none."""
    former = (container.get("lastState") or {}).get("terminated") or {}
    return _seconds(former.get("finishedAt") or "")


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else 0.0
