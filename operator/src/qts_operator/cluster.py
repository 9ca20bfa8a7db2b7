"""The only file that talks to the API server: what is asked of it, in the operator's words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

import aiohttp
import msgspec
import orjson

from qts_core import names
from qts_operator import lines
from qts_operator.middleware import ApiError
from qts_operator.objects import BY_KIND, Kind
from qts_operator.session import Session

Manifest = dict[str, Any]
Read = Callable[[bytes], Manifest]
T = TypeVar("T")
PAGE = "25"  # a decoded page is a megabyte or more, and every kind is listed at once
READ_S = 70.0
# No object is at this version (etcd gives its first write 2), so what is sent at it is refused wherever an
# object is; where none is the server does not look at it.
ABSENT = "1"
#: asks a watch for what is there first; the bookmark that ends it bears the annotation
BEGINNING = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
ALL_TOLD = "k8s.io/initial-events-end"
#: of the second in which Ready must follow the last pod, and of a drift's two; specs and nodes do not wait
GATHER_S, UNHURRIED = 0.4, frozenset(("Pod", *BY_KIND))
UNKNOWN = (400, 422)  # what a server says that has no such watch
_APPLY = {"Content-Type": "application/apply-patch+yaml"}
_MERGE = {"Content-Type": "application/merge-patch+json"}
SYSTEMS = Kind(names.KIND, names.GROUP, names.VERSION, names.PLURAL)
PODS = Kind("Pod", "", "v1", "pods")
MINE = {"labelSelector": f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"}
NODES = Kind("Node", "", "v1", "nodes")
LEASES = Kind("Lease", "coordination.k8s.io", "v1", "leases")
EVENTS = Kind("Event", "events.k8s.io", "v1", "events")
DEFINITIONS = Kind("CustomResourceDefinition", "apiextensions.k8s.io", "v1", "customresourcedefinitions")


class Listing(msgspec.Struct, Generic[T], frozen=True):
    """What was kept of all objects of a kind, at one version."""

    items: list[T]
    version: str


def metadata_alone(*, listed: bool = False) -> dict[str, str]:
    """Return the headers that ask for the metadata of an object, of the objects of a watch, or of a list."""
    return {"Accept": f"application/json;as=PartialObjectMetadata{'List' * listed};g=meta.k8s.io;v=v1"}


def whole(live: Manifest) -> Manifest:
    """Keep all of an object."""
    return live


class Api(Protocol):
    """What the operator asks; `testing.FakeCluster` answers it too. Refusals are ApiError."""

    async def list(
        self,
        kind: Kind,
        namespace: str | None,
        params: dict[str, str],
        keep: Callable[[Manifest], T],
        read: Read = lines.whole,
    ) -> Listing[T]:
        """Return what `keep` makes of every object of a kind; `read` decodes what `keep` looks at."""
        ...

    def watch(
        self, kind: Kind, namespace: str | None, params: dict[str, str], read: Read = lines.whole
    ) -> AbstractAsyncContextManager[AsyncIterator[Manifest]]:
        """Open a stream of watch events; `read` decodes as much of a line as anybody asks for."""
        ...

    async def get(self, kind: Kind, namespace: str, name: str, *, metadata: bool = False) -> Manifest | None:
        """Return one object, or only its metadata; None when it is not there."""
        ...

    async def apply(
        self, manifest: Manifest, *, uid: str | None, manager: str = names.FIELD_MANAGER
    ) -> Manifest:
        """Apply on the server: with `uid` only to that object, without it only where none is, else 409."""
        ...

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Create an object."""
        ...

    async def rehearse(self, kind: Kind, manifest: Manifest) -> None:
        """Do all that creating an object does, but keep it."""
        ...

    async def update(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Replace an object at the version it was read with."""
        ...

    async def amend(self, kind: Kind, namespace: str, name: str, version: str, change: Manifest) -> Manifest:
        """Merge `change` into an object, only at the version it was read with."""
        ...

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete exactly this object."""
        ...

    async def put_status(self, namespace: str, name: str, uid: str, status: Manifest) -> Manifest:
        """Apply the status of a system."""
        ...

    async def glance(self, namespace: str, name: str) -> Manifest | None:
        """Return a system to who may write its status alone: it is the answer to a change of nothing."""
        ...

    async def serves(self, kind: Kind) -> bool:
        """Tell whether the server has a kind, which is no secret to who may not see its objects."""
        ...

    async def schema(self, kind: Kind) -> Manifest | None:
        """Return the schema that the server publishes of a kind; None when it publishes none."""
        ...


class Cluster:
    """The real API server behind `Api`.

    `streaming`: lists come as the beginning of a watch where the server has that (Kubernetes 1.32), object by
    object from its cache: no page is held decoded, and none is read from etcd.
    `gather_s`: for so long a watch of what may wait (`UNHURRIED`) is not read after what it brought.
    """

    def __init__(self, session: Session, *, streaming: bool = False, gather_s: float = 0.0) -> None:
        self.session, self._streaming, self._gather_s = session, streaming, gather_s

    async def list(
        self,
        kind: Kind,
        namespace: str | None,
        params: dict[str, str],
        keep: Callable[[Manifest], T],
        read: Read = lines.whole,
    ) -> Listing[T]:
        """Return what `keep` makes of every object of a kind; no more than a page is held decoded."""
        if self._streaming:
            try:
                return await self._streamed(kind, namespace, params, keep, read)
            except ApiError as error:
                if error.code not in UNKNOWN:
                    raise
                self._streaming = False
        return await self._paged(kind, namespace, params, keep)

    async def _streamed(
        self,
        kind: Kind,
        namespace: str | None,
        params: dict[str, str],
        keep: Callable[[Manifest], T],
        read: Read,
    ) -> Listing[T]:
        """Watch until the server says that all is told; what changes meanwhile may come before that."""
        found: dict[tuple[str, str], T] = {}
        try:
            async with self.watch(kind, namespace, params | BEGINNING, read) as events:
                async for event in events:
                    told, live = event["type"], event["object"]
                    if told == "ERROR":
                        raise refused(live)
                    metadata = live.get("metadata", {})
                    key = str(metadata.get("namespace", "")), str(metadata.get("name", ""))
                    if told == "BOOKMARK":
                        if ALL_TOLD in (metadata.get("annotations") or {}):
                            return Listing([*found.values()], str(metadata.get("resourceVersion", "")))
                    elif told == "DELETED":
                        found.pop(key, None)
                    else:
                        found[key] = keep(live)
        except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError) as error:
            raise ApiError(0, "NoAnswer", f"LIST {kind.plural}: {type(error).__name__} {error}") from error
        raise ApiError(0, "NoAnswer", f"LIST {kind.plural}: the answer ended before all was told")

    async def _paged(
        self, kind: Kind, namespace: str | None, params: dict[str, str], keep: Callable[[Manifest], T]
    ) -> Listing[T]:
        items: list[T] = []
        asked = params | {"limit": PAGE}
        while True:
            page = await self.session.call("GET", path_of(kind, namespace), kind=kind.name, params=asked)
            items += [keep(live) for live in page.get("items") or ()]
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return Listing(items, str(metadata.get("resourceVersion", "")))
            asked = asked | {"continue": metadata["continue"]}

    @asynccontextmanager
    async def watch(
        self, kind: Kind, namespace: str | None, params: dict[str, str], read: Read = lines.whole
    ) -> AsyncIterator[AsyncIterator[Manifest]]:
        """Open a stream of watch events; `read` decodes as much of a line as anybody asks for."""
        asked = params | {"watch": "true", "allowWatchBookmarks": "true"}
        listed = params.keys() >= BEGINNING.keys()
        labels = {"verb": "list" if listed else "watch", "kind": kind.name}
        gather_s = 0.0 if listed or kind.name not in UNHURRIED else self._gather_s
        path = path_of(kind, namespace)
        async with self.session.stream(path, asked, READ_S, **labels, gather_s=gather_s) as told:
            yield _events(told, read)

    async def get(self, kind: Kind, namespace: str, name: str, *, metadata: bool = False) -> Manifest | None:
        """Return one object, or only its metadata; None when it is not there."""
        headers = metadata_alone() if metadata else None
        try:
            found = await self.session.call(
                "GET", path_of(kind, namespace, name), kind=kind.name, headers=headers
            )
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        return dict(found)

    async def apply(
        self, manifest: Manifest, *, uid: str | None, manager: str = names.FIELD_MANAGER
    ) -> Manifest:
        """Apply on the server: with `uid` only to that object, without it only where none is, else 409."""
        kind, metadata = BY_KIND[manifest["kind"]], manifest["metadata"]
        params = {"fieldManager": manager}
        condition = {"resourceVersion": ABSENT}
        if uid is not None:
            params["force"] = "true"
            condition = {"uid": uid}
        body = manifest | {"metadata": metadata | condition}
        path = path_of(kind, metadata["namespace"], metadata["name"])
        told = await self.session.call(
            "PATCH", path, kind=kind.name, params=params, body=body, headers=_APPLY
        )
        return dict(told)

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Create an object."""
        path = path_of(kind, manifest["metadata"]["namespace"])
        params = {"fieldManager": names.FIELD_MANAGER}
        return dict(await self.session.call("POST", path, kind=kind.name, params=params, body=manifest))

    async def rehearse(self, kind: Kind, manifest: Manifest) -> None:
        """Do all that creating an object does, but keep it."""
        path = path_of(kind, manifest["metadata"]["namespace"])
        params = {"fieldManager": names.FIELD_MANAGER, "dryRun": "All"}
        await self.session.call("POST", path, kind=kind.name, params=params, body=manifest)

    async def update(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Replace an object at the version it was read with."""
        metadata = manifest["metadata"]
        path = path_of(kind, metadata["namespace"], metadata["name"])
        return dict(await self.session.call("PUT", path, kind=kind.name, body=manifest))

    async def amend(self, kind: Kind, namespace: str, name: str, version: str, change: Manifest) -> Manifest:
        """Merge `change` into an object, only at the version it was read with."""
        body = change | {"metadata": change["metadata"] | {"resourceVersion": version}}
        path, params = path_of(kind, namespace, name), {"fieldManager": names.FIELD_MANAGER}
        told = await self.session.call(
            "PATCH", path, kind=kind.name, params=params, body=body, headers=_MERGE
        )
        return dict(told)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete exactly this object; what hangs on it goes in the background."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        await self.session.call("DELETE", path_of(kind, namespace, name), kind=kind.name, body=body)

    async def put_status(self, namespace: str, name: str, uid: str, status: Manifest) -> Manifest:
        """Apply the status of a system."""
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
            "status": status,
        }
        params = {"fieldManager": names.STATUS_MANAGER, "force": "true"}
        path = path_of(SYSTEMS, namespace, name) + "/status"
        told = await self.session.call(
            "PATCH", path, kind=names.KIND, params=params, body=body, headers=_APPLY
        )
        return dict(told)

    async def glance(self, namespace: str, name: str) -> Manifest | None:
        """Return a system to who may write its status alone: it is the answer to a change of nothing."""
        path, params = path_of(SYSTEMS, namespace, name) + "/status", {"dryRun": "All"}
        try:
            told = await self.session.call(
                "PATCH", path, kind=names.KIND, params=params, body={}, headers=_MERGE
            )
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        return dict(told)

    async def serves(self, kind: Kind) -> bool:
        """Tell whether the server has a kind, which is no secret to who may not see its objects."""
        try:
            told = await self.session.call("GET", f"/apis/{kind.group}/{kind.version}", kind="Discovery")
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        return any(each.get("name") == kind.plural for each in told.get("resources") or ())

    async def schema(self, kind: Kind) -> Manifest | None:
        """Return the schema that the server publishes of a kind; None when it publishes none."""
        path = f"/openapi/v3/apis/{kind.group}/{kind.version}"
        try:
            told = await self.session.call("GET", path, kind="OpenAPI")
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        mark = {"group": kind.group, "version": kind.version, "kind": kind.name}
        for schema in ((told.get("components") or {}).get("schemas") or {}).values():
            if mark in schema.get("x-kubernetes-group-version-kind", ()):
                return dict(schema)
        return None


def path_of(kind: Kind, namespace: str | None, name: str | None = None) -> str:
    """Return the URL path of a collection or an object."""
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{scope}/{kind.plural}" + (f"/{name}" if name else "")


def refused(live: Manifest) -> ApiError:
    """Return the error that a watch tells of."""
    code = live.get("code")
    told = str(live.get("reason", "")), str(live.get("message", ""))
    return ApiError(code if isinstance(code, int) else 0, *told)


async def _events(told: AsyncIterator[bytes], read: Read) -> AsyncIterator[Manifest]:
    async for line in told:
        try:
            event = lines.event(read(line))
        except lines.NoEventError as error:
            raise ApiError(0, "NoAnswer", str(error)) from None
        yield event
