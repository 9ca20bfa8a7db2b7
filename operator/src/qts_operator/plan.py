"""Desired minus observed: actions as data, [] at rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from sys import intern

import msgspec

from qts_core import names
from qts_operator.fields import applied, digest
from qts_operator.memo import remembered
from qts_operator.objects import desired
from qts_operator.objects.frame import Frame, Manifest
from qts_operator.snapshot import Child
from qts_operator.stages import read

Key = tuple[str, str]


class Apply(msgspec.Struct, frozen=True, kw_only=True):
    """Send the manifest; `uid` is the object's, None when it is not known to exist."""

    manifest: Manifest
    uid: str | None = None
    replicas: int | None = None  # of a Deployment that has another number now


class Create(msgspec.Struct, frozen=True, kw_only=True):
    """Create the Secret, with content made on the spot; keep it when it exists."""

    manifest: Manifest


class Rotate(msgspec.Struct, frozen=True, kw_only=True):
    """Take the Secret of this uid from the stage `before` to the one that the manifest names."""

    manifest: Manifest
    uid: str
    before: str


class HandOver(msgspec.Struct, frozen=True, kw_only=True):
    """Leave a Deployment's number of replicas to whoever writes it next, at this value until then."""

    namespace: str
    name: str
    uid: str
    replicas: int
    parked: str = ""  # note of what an autoscaler's number was
    kind: str = "Deployment"


class Delete(msgspec.Struct, frozen=True, kw_only=True):
    """Delete exactly this object."""

    kind: str
    namespace: str
    name: str
    uid: str


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Do nothing until the object of this name is gone."""

    kind: str
    name: str


class Refuse(msgspec.Struct, frozen=True, kw_only=True):
    """Leave a stranger's object alone, and say so."""

    kind: str
    name: str
    orphan: str = ""  # nobody owns it: the label by which an earlier system of the name would have left it


Action = Apply | Create | Rotate | HandOver | Delete | Wait | Refuse


class Want(msgspec.Struct, frozen=True, gc=False):
    """What tells a wanted object from the one that is there."""

    kind: str
    name: str
    digest: str
    credentials: str = ""  # of a Secret: the stage that it should be in


Kept = Mapping[str, tuple[str, str]]


@partial(remembered, limit=16_384)
def want(manifest: Manifest) -> Want:
    """Return the digest of a manifest; a change of a resource leaves most of its objects alone."""
    notes = manifest["metadata"].get("annotations") or {}
    return Want(*_key(manifest), digest(applied(manifest)), notes.get(names.ANNOTATION_CREDENTIALS, ""))


def _key(manifest: Manifest) -> Key:
    return manifest["kind"], intern(manifest["metadata"]["name"])  # the cache has it too


#: a pass asks for what its frame renders up to three times; a system's manifests have 50 KB
_rendered = remembered(desired, limit=32, fleeting=True)


@remembered
def wants(frame: Frame) -> tuple[Want, ...]:
    """Return the digests of everything that a frame renders."""
    return tuple(want(manifest) for manifest in _rendered(frame))


def due(frame: Frame, observed: Mapping[Key, Child], kept: Kept) -> list[Action]:
    """Return the plan for a frame; nothing is rendered while everything is as it should be."""
    wanted = {(w.kind, w.name): w for w in wants(frame)}
    opened = any(_open(w, observed.get(key), frame.uid, kept) for key, w in wanted.items())
    if not opened and not _strays(wanted.keys(), observed, frame.uid):
        return []
    return _planned([(m, wanted[_key(m)]) for m in _rendered(frame)], observed, frame.uid, kept)


def plan(
    wanted: Sequence[Manifest],
    observed: Mapping[Key, Child],
    owner_uid: str,
    kept: Kept | None = None,
) -> list[Action]:
    """Return what must be done so that `observed` becomes `wanted`, in the order of writing."""
    return _planned([(manifest, want(manifest)) for manifest in wanted], observed, owner_uid, kept or {})


def _planned(
    wanted: Sequence[tuple[Manifest, Want]], observed: Mapping[Key, Child], owner_uid: str, kept: Kept
) -> list[Action]:
    """Return the plan for manifests with their digests."""
    actions: list[Action] = []
    for manifest, each in wanted:
        child = observed.get((each.kind, each.name))
        action = _one(manifest, each, child, owner_uid, kept)
        if isinstance(action, Apply) and child is not None:
            actions += _left(manifest, child)
        if action is not None:
            actions.append(action)
    strays = _strays({(each.kind, each.name) for _, each in wanted}, observed, owner_uid)
    return actions + [Delete(kind=c.kind, namespace=c.namespace, name=c.name, uid=c.uid) for c in strays]


def _strays(wanted: AbstractSet[Key], observed: Mapping[Key, Child], owner_uid: str) -> list[Child]:
    """Return our objects that nothing asks for any more; a Secret is never one."""
    rest = [observed[key] for key in sorted(observed.keys() - wanted)]
    return [c for c in rest if c.owner_uid == owner_uid and not c.deleting and c.kind != "Secret"]


def _open(wanted: Want, child: Child | None, owner_uid: str, kept: Kept) -> bool:
    """Tell whether an object is missing, another's, going, or not as wanted."""
    if child is None or child.owner_uid != owner_uid or child.deleting:
        return True
    if wanted.kind == "Secret":
        # without a change of credentials a Secret is never written
        return read(wanted.credentials) != read(child.credentials)
    return child.digest != wanted.digest and kept.get(child.uid) != (child.version, wanted.digest)


def _one(manifest: Manifest, wanted: Want, child: Child | None, owner_uid: str, kept: Kept) -> Action | None:
    kind, name = wanted.kind, wanted.name
    if not _open(wanted, child, owner_uid, kept):
        return None
    if child is None:
        return Create(manifest=manifest) if kind == "Secret" else Apply(manifest=manifest)
    if child.owner_uid != owner_uid:
        # the child of an earlier resource of this name goes with its owner; anybody else's stays
        former = child.owner_kind == names.KIND
        if former or child.deleting:
            return Wait(kind=kind, name=name)
        label = f"{names.LABEL_SYSTEM}={manifest['metadata']['labels'][names.LABEL_SYSTEM]}"
        return Refuse(kind=kind, name=name, orphan="" if child.owner_uid else label)
    if child.deleting:
        return Wait(kind=kind, name=name)
    if kind == "Secret":
        return Rotate(manifest=manifest, uid=child.uid, before=child.credentials)
    replicas = manifest["spec"].get("replicas") if kind == "Deployment" else None
    return Apply(manifest=manifest, uid=child.uid, replicas=replicas if replicas != child.replicas else None)


def _left(manifest: Manifest, child: Child) -> list[Action]:
    """Return what comes before a Deployment is applied without a number: alone, that would reset it to 1."""
    if child.kind != "Deployment" or "replicas" in manifest["spec"] or not (child.counts or child.parked):
        return []
    replicas = int(child.parked) if child.parked.isdecimal() else child.replicas
    return [HandOver(namespace=child.namespace, name=child.name, uid=child.uid, replicas=replicas)]


def line(action: Action) -> str:
    """Return one line for a person."""
    match action:
        case Apply(manifest=manifest, uid=uid):
            verb = "Apply" if uid else "Create"
            return f"{verb} {manifest['kind']}/{manifest['metadata']['name']}"
        case Create(manifest=manifest):
            return f"Create {manifest['kind']}/{manifest['metadata']['name']}"
        case Rotate(manifest=manifest):
            stage = manifest["metadata"]["annotations"][names.ANNOTATION_CREDENTIALS]
            return f"Rotate Secret/{manifest['metadata']['name']}: {stage}"
        case HandOver(name=name, replicas=replicas):
            return f"Leave the replicas of Deployment/{name}, now {replicas}, to its autoscaler"
        case Delete(kind=kind, name=name):
            return f"Delete {kind}/{name}"
        case Wait(kind=kind, name=name):
            return f"Wait for {kind}/{name} to be gone"
        case Refuse(kind=kind, name=name):
            return f"Refuse {kind}/{name}: it belongs to somebody else"
