"""Desired minus observed: actions as data, [] at rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from qts_core import names
from qts_operator.fields import applied, digest
from qts_operator.objects.frame import Manifest
from qts_operator.snapshot import Child
from qts_operator.stages import read

Key = tuple[str, str]


class Apply(msgspec.Struct, frozen=True, kw_only=True):
    """Send the manifest; `uid` is the object's, None when it is not known to exist."""

    manifest: Manifest
    uid: str | None = None


class Create(msgspec.Struct, frozen=True, kw_only=True):
    """Create the Secret, with content made on the spot; keep it when it exists."""

    manifest: Manifest


class Rotate(msgspec.Struct, frozen=True, kw_only=True):
    """Take the Secret of this uid from the stage `before` to the one that the manifest names."""

    manifest: Manifest
    uid: str
    before: str


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


Action = Apply | Create | Rotate | Delete | Wait | Refuse


def plan(
    desired: Sequence[Manifest],
    observed: Mapping[Key, Child],
    owner_uid: str,
    kept: Mapping[str, tuple[str, str]] | None = None,
) -> list[Action]:
    """Return what must be done so that `observed` becomes `desired`, in the order of writing."""
    actions: list[Action] = []
    for manifest in desired:
        key = (manifest["kind"], manifest["metadata"]["name"])
        action = _one(manifest, observed.get(key), owner_uid, kept or {})
        if action is not None:
            actions.append(action)
    wanted = {(m["kind"], m["metadata"]["name"]) for m in desired}
    for key in sorted(observed.keys() - wanted):
        child = observed[key]
        if child.owner_uid == owner_uid and not child.deleting and child.kind != "Secret":
            actions.append(Delete(kind=child.kind, namespace=child.namespace, name=child.name, uid=child.uid))
    return actions


def _one(
    manifest: Manifest, child: Child | None, owner_uid: str, kept: Mapping[str, tuple[str, str]]
) -> Action | None:
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    if child is None:
        return Create(manifest=manifest) if kind == "Secret" else Apply(manifest=manifest)
    if child.owner_uid != owner_uid:
        # the child of an earlier resource of this name goes with its owner; anybody else's stays
        former = child.owner_kind == names.KIND
        return Wait(kind=kind, name=name) if former or child.deleting else Refuse(kind=kind, name=name)
    if child.deleting:
        return Wait(kind=kind, name=name)
    if kind == "Secret":
        return _rotation(manifest, child)
    wanted = digest(applied(manifest))
    if child.digest == wanted or kept.get(child.uid) == (child.version, wanted):
        return None
    return Apply(manifest=manifest, uid=child.uid)


def _rotation(manifest: Manifest, child: Child) -> Action | None:
    """Return the next step of a change; without one a Secret is never written."""
    wanted = manifest["metadata"]["annotations"][names.ANNOTATION_CREDENTIALS]
    if read(wanted) == read(child.credentials):
        return None
    return Rotate(manifest=manifest, uid=child.uid, before=child.credentials)


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
        case Delete(kind=kind, name=name):
            return f"Delete {kind}/{name}"
        case Wait(kind=kind, name=name):
            return f"Wait for {kind}/{name} to be gone"
        case Refuse(kind=kind, name=name):
            return f"Refuse {kind}/{name}: it belongs to somebody else"
