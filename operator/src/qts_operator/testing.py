"""FakeCluster: an API server in memory that answers `Api`, with a fault at any call. For tests.

It keeps what the operator relies on: versions that grow, uids, managedFields of applied objects, generation,
watch events in order, preconditions, owner references, and refusals as ApiError.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import orjson

from qts_core import names
from qts_operator.cluster import SYSTEMS, Listing, Read
from qts_operator.fields import project
from qts_operator.lines import whole
from qts_operator.middleware import ApiError
from qts_operator.objects import BY_KIND, KINDS, Kind

Live = dict[str, Any]
T = TypeVar("T")
Key = tuple[str, str, str]


class FakeCluster:
    """Objects by (kind, namespace, name); `calls` is the log of writes, `fault` may raise before one."""

    def __init__(self) -> None:
        self.objects: dict[Key, Live] = {}
        self.calls: list[tuple[str, str, str]] = []
        self.unserved = {kind.name for kind in KINDS if kind.optional}
        self.fault: Callable[[str, str, str], None] = lambda _verb, _kind, _name: None
        self._numbers = itertools.count(1)
        self._watchers: list[tuple[str, dict[str, str], asyncio.Queue[Live]]] = []
        self.version = 0
        self.served: Live | None = None  # the schema of our resources; None: every field is kept

    async def list(
        self,
        kind: Kind,
        namespace: str | None,
        params: dict[str, str],
        keep: Callable[[Live], T],
        read: Read = whole,
    ) -> Listing[T]:
        """Return what `keep` makes of every object of a kind."""
        if kind.name in self.unserved:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        wanted = _wanted(params)
        items = [
            keep(read(orjson.dumps({"type": "ADDED", "object": live}))["object"])
            for (k, ns, _), live in sorted(self.objects.items())
            if k == kind.name and namespace in (None, ns) and _labelled(live, wanted)
        ]
        return Listing(items, str(self.version))

    @asynccontextmanager
    async def watch(
        self, kind: Kind, namespace: str | None, params: dict[str, str], read: Read = orjson.loads
    ) -> AsyncIterator[AsyncIterator[Live]]:
        """Open a stream of everything that happens from now on; `read` gets it as a line."""
        queue: asyncio.Queue[Live] = asyncio.Queue()
        wanted = _wanted(params)
        entry = (kind.name, wanted, queue)
        self._watchers.append(entry)
        since = int(params.get("resourceVersion") or 0)
        ours = [live for (k, _, _), live in self.objects.items() if k == kind.name]
        # in order, or a stream that breaks here would go on after what it never showed
        for live in sorted(ours, key=_version):
            if _version(live) > since and _labelled(live, wanted):
                queue.put_nowait({"type": "MODIFIED", "object": copy.deepcopy(live)})

        async def events() -> AsyncIterator[Live]:
            while True:
                event = await queue.get()
                if namespace in (None, event["object"]["metadata"].get("namespace")):
                    yield read(orjson.dumps(event))

        try:
            yield events()
        finally:
            self._watchers.remove(entry)

    async def get(self, kind: Kind, namespace: str, name: str, *, metadata: bool = False) -> Live | None:
        """Return one object, or only its metadata; None when it is not there."""
        self.fault("get", kind.name, name)
        live = self.objects.get((kind.name, namespace, name))
        if live is None:
            return None
        found = copy.deepcopy(live)
        if metadata and "data" in found:
            fields: Live = {"f:data": {f"f:{file}": {} for file in found["data"]}}
            found["metadata"]["managedFields"] = [{"manager": names.FIELD_MANAGER, "fieldsV1": fields}]
        return {"metadata": found["metadata"]} if metadata else found

    async def apply(self, manifest: Live, *, uid: str | None, manager: str = names.FIELD_MANAGER) -> Live:
        """Apply: fields that the manifest has are set, fields it had before and has no more are removed."""
        kind, key = manifest["kind"], _key(manifest)
        self._write("apply", kind, key[2])
        known = self.objects.get(key)
        if uid is not None and (known is None or known["metadata"]["uid"] != uid):
            raise ApiError(409, "Conflict", "Precondition failed: UID")
        if uid is None and known is not None:
            raise ApiError(409, "Conflict", "the object has been modified")
        others = [e for e in _entries(known) if e["manager"] != manager]
        body = copy.deepcopy(manifest)
        for entry in others:
            body = merged(project(entry["fieldsV1"], known), body)
            _yield(entry["fieldsV1"], known or {}, body)
        fresh = self._stamped(body, known)
        mine: Live = {"manager": manager, "operation": "Apply", "fieldsV1": fields_of(manifest)}
        fresh["metadata"]["managedFields"] = [*others, mine]
        self._store(key, fresh, known)
        return copy.deepcopy(fresh)

    async def create(self, kind: Kind, manifest: Live) -> Live:
        """Create an object."""
        metadata = manifest["metadata"]
        name = metadata.get("name") or f"{metadata['generateName']}{next(self._numbers)}"
        self._write("create", kind.name, name)
        key = (kind.name, metadata.get("namespace", ""), name)
        if key in self.objects:
            raise ApiError(409, "AlreadyExists", f"{kind.plural} {name} already exists")
        body = copy.deepcopy(manifest)
        body["metadata"]["name"] = name
        fresh = self._stamped(body, None)
        self._store(key, fresh, None)
        return copy.deepcopy(fresh)

    async def rehearse(self, kind: Kind, manifest: Live) -> None:
        """Do all that creating an object does, but keep it."""
        self.fault("rehearse", kind.name, manifest["metadata"]["namespace"])

    async def update(self, kind: Kind, manifest: Live) -> Live:
        """Replace an object at the version it was read with."""
        key = (kind.name, manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"])
        self._write("update", kind.name, key[2])
        known = self.objects.get(key)
        if known is None:
            raise ApiError(404, "NotFound", key[2])
        if known["metadata"]["resourceVersion"] != manifest["metadata"].get("resourceVersion"):
            raise ApiError(409, "Conflict", "the object has been modified")
        fresh = self._stamped(copy.deepcopy(manifest), known)
        self._store(key, fresh, known)
        return copy.deepcopy(fresh)

    async def amend(self, kind: Kind, namespace: str, name: str, version: str, change: Live) -> Live:
        """Merge `change` into an object, only at the version it was read with."""
        self._write("amend", kind.name, name)
        known = self.objects.get((kind.name, namespace, name))
        if known is None:
            raise ApiError(404, "NotFound", name)
        if known["metadata"]["resourceVersion"] != version:
            raise ApiError(409, "Conflict", "the object has been modified")
        fresh = self._stamped(merged(known, change), known)
        self._store((kind.name, namespace, name), fresh, known)
        return copy.deepcopy(fresh)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete exactly this object."""
        self._write("delete", kind.name, name)
        known = self.objects.get((kind.name, namespace, name))
        if known is None:
            raise ApiError(404, "NotFound", name)
        if known["metadata"]["uid"] != uid:
            raise ApiError(409, "Conflict", "Precondition failed: UID")
        self.remove(kind.name, namespace, name)

    async def put_status(self, namespace: str, name: str, uid: str, status: Live) -> Live:
        """Apply the status of a system."""
        self._write("status", names.KIND, name)
        key = (names.KIND, namespace, name)
        known = self.objects.get(key)
        if known is None or known["metadata"]["uid"] != uid:
            raise ApiError(409, "Conflict", "Precondition failed: UID")
        unknown = [] if self.served is None else strangers({"status": status}, self.served)
        if unknown:
            text = "\n  ".join(f"{path}: field not declared in schema" for path in unknown)
            raise ApiError(500, "", f"failed to create typed patch object ({namespace}/{name}): {text}")
        fresh = copy.deepcopy(known) | {"status": copy.deepcopy(status)}
        self._store(key, self._stamped(fresh, known), known)
        return copy.deepcopy(self.objects[key])

    async def glance(self, namespace: str, name: str) -> Live | None:
        """Return a system to who may write its status alone."""
        self.fault("glance", names.KIND, name)
        return copy.deepcopy(self.objects.get((names.KIND, namespace, name)))

    async def serves(self, kind: Kind) -> bool:
        """Tell whether the server has a kind."""
        return kind.name not in self.unserved

    async def schema(self, kind: Kind) -> Live | None:
        """Return the schema of our resources."""
        return copy.deepcopy(self.served) if kind is SYSTEMS else None

    def system(self, namespace: str, name: str, spec: Live) -> Live:
        """Create or change a resource, as a user would."""
        key = (names.KIND, namespace, name)
        known = self.objects.get(key)
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": name, "namespace": namespace},
            "spec": copy.deepcopy(spec),
        }
        if known is not None and "status" in known:
            body["status"] = known["status"]
        fresh = self._stamped(body, known)
        self._store(key, fresh, known)
        return copy.deepcopy(fresh)

    def change(self, kind: str, namespace: str, name: str, edit: Callable[[Live], None]) -> None:
        """Change an object as somebody else would."""
        key = (kind, namespace, name)
        known = self.objects[key]
        fresh = copy.deepcopy(known)
        edit(fresh)
        self._store(key, self._stamped(fresh, known), known)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object and, as garbage collection would, all that it owns."""
        gone = self.objects.pop((kind, namespace, name))
        self.version += 1
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._tell(kind, gone, None, gone)
        uid = gone["metadata"]["uid"]
        for key, live in list(self.objects.items()):
            owners = live["metadata"].get("ownerReferences") or ()
            if any(o["uid"] == uid for o in owners) and key in self.objects:
                self.remove(*key)

    def settle(self, namespace: str, *, ready: bool = True) -> None:
        """Play the controllers: every Deployment and StatefulSet does what its spec asks for."""
        for (kind, ns, name), live in list(self.objects.items()):
            if kind not in ("Deployment", "StatefulSet") or ns != namespace:
                continue
            count = int(live["spec"].get("replicas", 0))
            up = count if ready else 0
            status = {
                "observedGeneration": live["metadata"]["generation"],
                "replicas": count,
                "updatedReplicas": count,
                "readyReplicas": up,
                "availableReplicas": up,
            }
            if live.get("status") != status:
                self.change(kind, ns, name, lambda o, s=status: o.update(status=s))  # type: ignore[misc]

    def names(self, kind: str, namespace: str) -> set[str]:
        """Return the names of the objects of a kind."""
        return {n for (k, ns, n) in self.objects if k == kind and ns == namespace}

    def writes(self) -> tuple[tuple[str, str, str], ...]:
        """Return all writes but the Lease's and the Events'."""
        return tuple(c for c in self.calls if c[1] not in ("Lease", "Event"))

    def _write(self, verb: str, kind: str, name: str) -> None:
        self.fault(verb, kind, name)
        self.calls.append((verb, kind, name))

    def _stamped(self, fresh: Live, known: Live | None) -> Live:
        """Give an object what the server gives: uid, generation, version."""
        metadata = fresh["metadata"]
        old = known["metadata"] if known is not None else {}
        metadata["uid"] = old.get("uid") or f"uid-{next(self._numbers)}"
        same = known is not None and known.get("spec") == fresh.get("spec")
        metadata["generation"] = int(old.get("generation", 0)) + (0 if same else 1)
        if known is not None and "status" in known and "status" not in fresh:
            fresh["status"] = known["status"]
        return fresh

    def _store(self, key: Key, fresh: Live, known: Live | None) -> None:
        """Keep and announce an object; a write that changes nothing moves no version."""
        if known is not None:
            old = copy.deepcopy(known)
            fresh["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            if old == fresh:
                return
        self.version += 1
        fresh["metadata"]["resourceVersion"] = str(self.version)
        self.objects[key] = fresh
        self._tell(key[0], known, fresh, fresh)

    def _tell(self, kind: str, old: Live | None, new: Live | None, shown: Live) -> None:
        """Show a change to those who ask for such labels; for them what loses one is gone."""
        for watched, wanted, queue in self._watchers:
            was, is_ = (live is not None and _labelled(live, wanted) for live in (old, new))
            event = "MODIFIED" if was and is_ else "ADDED" if is_ else "DELETED"
            if watched == kind and (was or is_):
                queue.put_nowait({"type": event, "object": copy.deepcopy(shown)})


def strangers(value: Any, schema: Live, at: str = "") -> list[str]:
    """Return the paths of fields of an applied value that a schema does not declare."""
    if isinstance(value, list):
        return [path for item in value for path in strangers(item, schema.get("items") or {}, f"{at}[]")]
    if not isinstance(value, dict):
        return []
    known, other = schema.get("properties") or {}, schema.get("additionalProperties")
    found = []
    for name, inner in value.items():
        below = known.get(name, other)
        path = f"{at}.{name}"
        found += [path] if below is None else strangers(inner, below, path)
    return found


def merged(known: Live, change: Live) -> Live:
    """Return a JSON merge patch (RFC 7396) applied to a copy."""
    fresh = copy.deepcopy(known)
    for name, value in change.items():
        if value is None:
            fresh.pop(name, None)
        elif isinstance(value, dict):
            fresh[name] = merged(fresh.get(name) or {}, value)
        else:
            fresh[name] = copy.deepcopy(value)
    return fresh


def _version(live: Live) -> int:
    return int(live["metadata"]["resourceVersion"])


def _entries(known: Live | None) -> list[Live]:
    return copy.deepcopy((known or {"metadata": {}})["metadata"].get("managedFields") or [])


def _yield(fields: Live, known: Live, fresh: Live) -> None:
    """Take out of another manager's fields those that got another value by force."""
    for key in [k for k in fields if k.startswith("f:") and k[2:] in fresh]:
        before, after = known.get(key[2:]), fresh[key[2:]]
        if isinstance(after, dict) and fields[key]:
            _yield(fields[key], before or {}, after)
        elif before != after:
            del fields[key]


def _key(manifest: Live) -> Key:
    metadata = manifest["metadata"]
    kind = SYSTEMS.name if manifest["kind"] == names.KIND else BY_KIND[manifest["kind"]].name
    return kind, metadata.get("namespace", ""), metadata["name"]


def _wanted(params: dict[str, str]) -> dict[str, str]:
    return dict(p.split("=", 1) for p in params.get("labelSelector", "").split(",") if p)


def _labelled(live: Live, wanted: dict[str, str]) -> bool:
    labels = live["metadata"].get("labels") or {}
    return all(labels.get(k) == v for k, v in wanted.items())


def fields_of(manifest: Live) -> Live:
    """Return FieldsV1 of an applied manifest; lists are single values here."""

    def walk(value: Any) -> Live:
        if not isinstance(value, dict) or not value:
            return {}
        return {f"f:{key}": walk(inner) for key, inner in value.items()}

    body = {k: v for k, v in manifest.items() if k not in ("apiVersion", "kind")}
    identity = ("name", "namespace", "uid")
    body["metadata"] = {k: v for k, v in manifest["metadata"].items() if k not in identity}
    return walk({key: value for key, value in body.items() if value != {} or key != "metadata"})
