"""A model of API server, controllers and cache, small enough to be explored whole; the pass in it is the real one.

A world is a value. Live objects are told apart by what was last applied to them (the digest of the manifest),
their uid and owner; refusals follow the real server (a wrong uid conflicts, a vanished object is 409).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from qts_core import names
from qts_operator import memo, steps
from qts_operator.digests import child
from qts_operator.fields import applied, digest
from qts_operator.objects import desired
from qts_operator.objects.frame import Defaults
from qts_operator.plan import Action, Apply, Create, Delete, Rotate
from qts_operator.resolve import resolve
from qts_operator.snapshot import Child, Heard, Pod, Snapshot
from qts_operator.stages import Stage, read
from qts_operator.testing import fields_of
from qts_operator.writes import Done, Failed, Taken

OFF = {"enabled": False}
_SMALL = {
    "agents": {"qbmia": OFF, "quasar": OFF, "amos": OFF},
    "market": {"source": "External"},
    "networkPolicy": {"enabled": False},
}
#: the second asks for one agent more, the third stops everything, the fourth for new keys and passwords
SPECS: tuple[dict[str, Any], ...] = (
    _SMALL,
    _SMALL | {"agents": {"qbmia": OFF, "quasar": OFF}},
    _SMALL | {"suspend": True},
    _SMALL | {"redis": {"credentialsGeneration": 2}, "messaging": {"credentialsGeneration": 2}},
)
ROTATION = len(SPECS) - 1
DEFAULTS = Defaults()
OWNER, STRANGER = "u-system", "u-stranger"
MANIFESTS: dict[str, dict[str, Any]] = {}  # what can be applied, by digest
Key = tuple[str, str]


class Obj(msgspec.Struct, frozen=True):
    """A live object: what was applied last, by whom it is owned, whether its controller has caught up."""

    uid: int
    owner: str
    mark: str
    settled: bool


Objects = tuple[tuple[Key, Obj], ...]


class World(msgspec.Struct, frozen=True):
    """Everything outside the pass; budgets count what may still go wrong."""

    spec: int
    generation: int
    objects: Objects
    status: bytes
    cached: Objects  # what the operator's watch has shown
    cached_system: tuple[int, int, bytes]  # spec, generation, status
    looked: Objects  # the cache at the last look of the pass under way, and what it wrote since
    dirty: bool  # a pass is asked for
    uids: int
    faults: int
    crashes: int
    changes: int
    actors: int
    held: tuple[tuple[str, str], ...] = ()  # Secret → the stage whose files all pods have; () without pods
    lie: str = ""  # an untrue status that was written, or a stranger's object that was touched


Held = tuple[tuple[str, str], ...]


def manifests_of(spec: int, status: bytes, children: Objects, held: Held = ()) -> dict[Key, dict[str, Any]]:
    """Return what a resource asks for, remembered by digest."""
    seen = snapshot_of(spec, 1, status, children, held)
    wanted = desired(resolve(seen, DEFAULTS)[0])
    for manifest in wanted:
        MANIFESTS[digest(applied(manifest))] = manifest
    return {(m["kind"], m["metadata"]["name"]): m for m in wanted}


@cache
def wanted_marks(spec: int, status: bytes, children: Objects, held: Held = ()) -> dict[Key, str]:
    """Return the digest of every object that a resource asks for."""
    return {k: digest(applied(m)) for k, m in manifests_of(spec, status, children, held).items()}


def forget() -> None:
    """Drop what was worked out by the operator's own code: a test may have put an error into it."""
    memo.forget()
    wanted_marks.cache_clear()
    _child.cache_clear()


@cache
def _child(key: Key, obj: Obj) -> Child:
    kind, name = key
    manifest = MANIFESTS.get(obj.mark) or {"metadata": {"name": name, "namespace": "n"}}
    spec = manifest.get("spec") or {}
    count = int(spec.get("replicas") or 0)
    live = {**manifest, "metadata": dict(manifest["metadata"])}
    live["metadata"] |= {
        "uid": str(obj.uid),
        "resourceVersion": "1",
        "generation": 2,
        "ownerReferences": [{"uid": obj.owner, "kind": "QuantumTradingSystem", "controller": True}]
        if obj.owner == OWNER
        else [],
        "managedFields": [{"manager": "qts-operator", "operation": "Apply", "fieldsV1": fields_of(manifest)}],
    }
    up = count if obj.settled else 0
    live["status"] = {
        "observedGeneration": 2 if obj.settled else 1,
        **dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas", "availableReplicas"), up),
    }
    # what somebody edited, or a Secret with content, is told apart by its mark alone
    return msgspec.structs.replace(child(live, kind), digest=obj.mark)


def _pods(children: Objects, held: Held) -> tuple[tuple[Pod, ...], dict[str, Heard]]:
    """Return a running pod of each workload, and what it says of its keys and passwords."""
    stages = {name: read(text) for name, text in held}
    told = {}
    for kind, name in (("curve", "s-curve"), ("redis", "s-redis-auth")):
        stage = stages[name]
        used = stage.generation - (stage.phase == "Accepting")
        told |= {kind: used, f"{kind}_accepted": stage.generation}
    pods, heard = [], {}
    live = dict(children)
    for (kind, name), obj in children:
        if kind in ("Deployment", "StatefulSet") and obj.owner == OWNER and obj.settled:
            part = name.removeprefix("s-")
            pods.append(
                Pod(namespace="n", name=name, uid=name, version="1", agent=part, node="x", ready=True)
            )
            secret = live.get(("Secret", "s-redis-auth"))
            same = secret is not None and read(_stage_of(secret)) == stages["s-redis-auth"]
            heard[name] = Heard(credentials=told, acl="" if same else "behind")
    return tuple(pods), heard


def _stage_of(secret: Obj) -> str:
    """Return the stage that a Secret's last writer gave it."""
    manifest = MANIFESTS.get(secret.mark)
    notes = manifest["metadata"]["annotations"] if manifest is not None else {}
    return str(notes.get(names.ANNOTATION_CREDENTIALS, ""))


def unfinished(world: World) -> list[str]:
    """Return the Secrets that are not at the generation that the resource asks for, or are still on the way."""
    spec = SPECS[world.spec]
    asked = {
        name: Stage(spec.get(part, {}).get("credentialsGeneration", 1))
        for name, part in (("s-curve", "messaging"), ("s-redis-auth", "redis"))
    }
    ours = [(k[1], o) for k, o in world.objects if k[0] == "Secret" and o.owner == OWNER]
    return [name for name, obj in ours if name in asked and read(_stage_of(obj)) != asked[name]]


def synced(world: World) -> World:
    """Return the world after all kubelets and the side container have taken up what the Secrets hold."""
    live = {k[1]: _stage_of(o) for k, o in world.objects if k[0] == "Secret" and o.owner == OWNER}
    held = tuple((name, live.get(name, stage)) for name, stage in world.held)
    return msgspec.structs.replace(world, held=held, dirty=world.dirty or held != world.held)


def _too_early(world: World, secret: Obj, manifest: dict[str, Any]) -> str:
    """Return the lie of a stage that begins before all have taken up the one before; "" when it does not."""
    name, before = manifest["metadata"]["name"], _stage_of(secret)
    if world.held and not read(before).settled and read(dict(world.held)[name]) != read(before):
        return f"{name} leaves {before} too early"
    return ""


def snapshot_of(spec: int, generation: int, status: bytes, children: Objects, held: Held = ()) -> Snapshot:
    """Return what a pass sees."""
    pods, heard = _pods(children, held) if held else ((), {})
    return Snapshot(
        pods=pods,
        heard=heard,
        namespace="n",
        name="s",
        uid=OWNER,
        generation=generation,
        now=1e9,
        spec=SPECS[spec],
        status=msgspec.json.decode(status),
        children={key: _child(key, obj) for key, obj in children},
    )


def spec_of(generation: int) -> int:
    """Return which spec a generation has: changes go round."""
    return (generation - 1) % len(SPECS)


def seen(world: World) -> Snapshot:
    """Return what the cache shows."""
    return snapshot_of(*world.cached_system, world.cached, world.held)


def put(objects: Objects, key: Key, obj: Obj | None) -> Objects:
    """Return the objects with one set, or removed by None."""
    table = dict(objects)
    table.pop(key, None)
    if obj is not None:
        table[key] = obj
    return tuple(sorted(table.items()))


def perform(world: World, request: steps.Request, *, answered: bool = True) -> tuple[World, steps.Response]:
    """Carry out a request as server and `apply.py` do; unanswered, the cache does not learn of it."""
    if isinstance(request, steps.Look):
        return msgspec.structs.replace(world, looked=world.cached), steps.Seen(seen(world))
    if isinstance(request, steps.Report):
        return _report(world, request, answered=answered)
    if isinstance(request, steps.Tell):
        return world, Done()
    if isinstance(request, Apply | Create | Rotate | Delete):
        after, response = _write(world, request)
        if answered and isinstance(response, Done):
            key = _key(request)
            shown = dict(after.objects).get(key)
            learned = {"cached": put(after.cached, key, shown), "looked": put(after.looked, key, shown)}
            after = msgspec.structs.replace(after, **learned)
        return after, response
    raise TypeError(f"{type(request).__name__} does not occur here")


def _key(action: Action) -> Key:
    if isinstance(action, Apply | Create | Rotate):
        return action.manifest["kind"], action.manifest["metadata"]["name"]
    return action.kind, action.name


def _write(world: World, action: Action) -> tuple[World, steps.Response]:
    key = _key(action)
    live = dict(world.objects).get(key)
    if isinstance(action, Delete):
        if live is None:
            return world, Failed(code=404)
        if str(live.uid) != action.uid:
            return world, Failed(code=409, reason="Conflict")
        return _stored(world, key, None), Done()
    if not isinstance(action, Apply | Create | Rotate):
        raise TypeError(f"{type(action).__name__} is no write")
    mark = digest(applied(action.manifest))
    MANIFESTS.setdefault(mark, action.manifest)
    settled = action.manifest["kind"] not in ("Deployment", "StatefulSet")
    if isinstance(action, Rotate):
        if live is None or str(live.uid) != action.uid or _stage_of(live) != action.before:
            return world, Failed(code=409, reason="Conflict")
        lie = _too_early(world, live, action.manifest)
        made = msgspec.structs.replace(live, mark=mark)
        return msgspec.structs.replace(_stored(world, key, made), lie=world.lie or lie), Done()
    if isinstance(action, Apply) and action.uid is not None:
        if live is None or str(live.uid) != action.uid:
            return world, Failed(code=409, reason="Conflict")
        made = msgspec.structs.replace(live, mark=mark, settled=settled)
        return _stored(world, key, made), Done()
    if live is not None:
        if live.owner != OWNER:
            return world, Taken()
        return world, Done() if isinstance(action, Create) else Failed(code=409, reason="AlreadyExists")
    world = msgspec.structs.replace(world, uids=world.uids + 1)
    return _stored(world, key, Obj(world.uids, OWNER, mark, settled)), Done()


def _stored(world: World, key: Key, obj: Obj | None) -> World:
    before = dict(world.objects).get(key)
    after = msgspec.structs.replace(world, objects=put(world.objects, key, obj))
    if before is not None and before.owner != OWNER:
        return msgspec.structs.replace(after, lie=f"touched a stranger's {'/'.join(key)}")
    return after


def _report(world: World, request: steps.Report, *, answered: bool) -> tuple[World, steps.Response]:
    told = msgspec.json.encode(request.status)
    after = msgspec.structs.replace(world, status=told, lie=world.lie or untrue(world, request.status))
    if answered:
        spec, generation, _ = world.cached_system
        after = msgspec.structs.replace(after, cached_system=(spec, generation, told))
    return after, Done()


def untrue(world: World, told: dict[str, Any]) -> str:
    """Return what a status claims that its writer could not see, "" when it is true.

    Watches are late, so truth is what the cache showed at the last look: each entry of it was true on the
    server, and nothing of what this process wrote is missing from it.
    """
    former = msgspec.json.decode(world.status)
    generation = told["conditions"][0]["observedGeneration"]
    if generation > world.generation:
        return f"generation {generation} is of the future"
    spec = spec_of(generation)
    marks, shown = wanted_marks(spec, world.status, world.looked, world.held), dict(world.looked)
    right = all(
        key in shown and shown[key].owner == OWNER and (key[0] == "Secret" or shown[key].mark == mark)
        for key, mark in marks.items()
    )
    extra = [k for k, o in shown.items() if k not in marks and k[0] != "Secret" and o.owner == OWNER]
    observed = told.get("observedGeneration")
    if observed == generation and former.get("observedGeneration") != generation and (not right or extra):
        return f"generation {observed} is not applied"
    if observed not in (generation, former.get("observedGeneration")):
        return f"generation {observed} was never seen"
    conditions = {c["type"]: c for c in told["conditions"]}
    up = all(shown[key].settled for key in marks if key in shown)
    if conditions["Ready"]["status"] == "True" and not (right and up and observed == generation):
        return "Ready, and is not"
    if conditions["Ready"]["status"] == "True" and SPECS[spec].get("suspend"):
        return "Ready while suspended"
    person = conditions["Degraded"]["status"] == "True"  # nothing moves before somebody acts
    calm = all(read(_stage_of(o)).settled for k, o in world.looked if k[0] == "Secret")
    if conditions["Progressing"]["reason"] == "Complete" and not person and not (right and up and calm):
        return "complete, and is not"
    return ""
