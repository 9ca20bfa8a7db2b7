"""A bare client in the operator's place: it sends what the operator would send, and decides nothing.

It hears of each system by a watch, as the operator does, applies the same objects, rendered beforehand, over
as many connections as the operator has workers, and writes one status once all workloads of the system are
available. A change of a stream it answers with the one object and the status that the operator writes. What
it takes is the control plane's own.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import msgspec
import orjson
from bench.operator_statuses import WORKLOADS, ready
from bench.operator_stream import LABEL, MANAGED, heard, made
from tests.control_plane_campaign.judge import Judge
from tests.control_plane_campaign.workloads import spec

from qts_core import names
from qts_operator import credentials, status
from qts_operator.cluster import SYSTEMS, path_of
from qts_operator.digests import child
from qts_operator.main import Options
from qts_operator.objects import BY_KIND, desired
from qts_operator.objects.frame import Defaults, Frame
from qts_operator.resolve import resolve
from qts_operator.session import Access
from qts_operator.snapshot import Snapshot
from qts_operator.writes import State

TOKEN = "stream-of-the-floor"
APPLY = "application/apply-patch+yaml"
WORKERS = Options(access=Access(server=""), identity="").workers
Live = dict[str, Any]
Key = tuple[str, str]


def asked(namespace: str, name: str) -> Snapshot:
    """Return what the operator knows of a system that was just created; its uid is not known yet."""
    return Snapshot(namespace=namespace, name=name, uid="", generation=1, now=0.0, spec=spec())


def objects(seen: Snapshot, home: str) -> list[Live]:
    """Return the objects of a system as they are sent, Secrets with content."""
    manifests = desired(_frame(seen, home))
    entropy = os.urandom(credentials.NEEDED)
    return [credentials.filled(m, entropy) if m["kind"] == "Secret" else m for m in manifests]


def said(seen: Snapshot, home: str) -> Live:
    """Return the status that the operator writes of a system all of whose workloads are available."""
    there = {}
    for manifest in desired(_frame(seen, home)):
        kind, metadata = manifest["kind"], manifest["metadata"] | {"uid": "known", "generation": 1}
        live = manifest | {"metadata": metadata}
        told = ready(live, kind) if kind in WORKLOADS else None
        there[kind, metadata["name"]] = child(live | ({"status": told} if told else {}), kind)
    full = msgspec.structs.replace(seen, children=there)
    frame, verdicts = resolve(full, Defaults(namespace=home))
    facts = status.Facts(snapshot=full, frame=frame, verdicts=verdicts, state=State(todo=()))
    return status.build(facts)


def policy(seen: Snapshot, home: str) -> str:
    """Return the text of the object that a change of a stream alters, with TOKEN where the token belongs."""
    changed = msgspec.structs.replace(seen, spec=spec(networkPolicy={"metricsFrom": {LABEL: TOKEN}}))
    return orjson.dumps(next(m for m in desired(_frame(changed, home)) if made(m) == TOKEN)).decode()


def _frame(seen: Snapshot, home: str) -> Frame:
    return resolve(seen, Defaults(namespace=home))[0]


class Wire:
    """Requests over a few connections; nothing is counted, limited or tried again."""

    def __init__(self, http: aiohttp.ClientSession, server: str) -> None:
        self._http, self._server = http, server

    async def create(self, manifest: Live) -> None:
        """Create an object."""
        metadata = manifest["metadata"]
        path = path_of(BY_KIND[manifest["kind"]], metadata["namespace"])
        await self._send("POST", path, "application/json", manifest, {})

    async def apply(self, path: str, body: Live, manager: str) -> None:
        """Apply an object or a status."""
        await self._send("PATCH", path, APPLY, body, {"fieldManager": manager, "force": "true"})

    async def _send(self, verb: str, path: str, kind: str, body: Live, params: dict[str, str]) -> None:
        headers = {"Content-Type": kind, "Accept": "application/json"}
        url, data = self._server + path, orjson.dumps(body)
        async with self._http.request(verb, url, params=params, data=data, headers=headers) as answer:
            await answer.read()
            answer.raise_for_status()


@asynccontextmanager
async def wired(access: Access, connections: int) -> AsyncIterator[Wire]:
    """Open so many connections to the API server, as an administrator's kubeconfig says."""
    context = ssl.create_default_context(cafile=access.ca_file)
    if access.cert_file:
        context.load_cert_chain(access.cert_file, access.key_file)
    headers = {"Authorization": f"Bearer {access.token}"} if access.token else {}
    pool = aiohttp.TCPConnector(limit=connections, ssl=context)
    async with aiohttp.ClientSession(connector=pool, headers=headers) as http:
        yield Wire(http, access.server)


class Floor:
    """What is to be sent, and for whom."""

    def __init__(self, systems: list[Key], home: str) -> None:
        self._objects = {key: objects(asked(*key), home) for key in systems}
        self._status = {key: said(asked(*key), home) for key in systems}
        self._policy = {key: policy(asked(*key), home) for key in systems}
        self._uids: dict[Key, str] = {}
        self._tokens: dict[Key, str] = {}
        self.own: list[int] = []  # ns from word of a change to the answer of its write
        self._open = {
            key: {m["metadata"]["name"] for m in self._objects[key] if m["kind"] in WORKLOADS}
            for key in systems
        }
        self.todo: asyncio.Queue[Any] = asyncio.Queue()

    def system(self, live: Live) -> None:
        """Take word of a system: its objects are due once, and a write for each change of a stream."""
        key = live["metadata"]["namespace"], live["metadata"]["name"]
        if key not in self._objects:
            return
        if key not in self._uids:
            self._uids[key] = live["metadata"]["uid"]
            self.todo.put_nowait(partial(self._make, key))
        token = ((live["spec"].get("networkPolicy") or {}).get("metricsFrom") or {}).get(LABEL, "")
        if token != self._tokens.setdefault(key, ""):
            self._tokens[key] = token
            at, generation = time.monotonic_ns(), live["metadata"]["generation"]
            self.todo.put_nowait(partial(self._change, key, token, generation, at))

    def workload(self, kind: str, live: Live) -> None:
        """Take word of a workload: with the last one that is available the status is due."""
        metadata = live["metadata"]
        key = metadata["namespace"], metadata["labels"].get(names.LABEL_SYSTEM, "")
        left = self._open.get(key)
        if left and metadata["name"] in left and ready(live, kind) is None:
            left.discard(metadata["name"])
            if not left:
                self.todo.put_nowait(partial(self._tell, key))

    async def work(self, wire: Wire) -> None:
        """Do what is due, one after the other."""
        while True:
            await (await self.todo.get())(wire)

    async def _make(self, key: Key, wire: Wire) -> None:
        for manifest in self._objects[key]:
            metadata, kind = manifest["metadata"], BY_KIND[manifest["kind"]]
            metadata["ownerReferences"][0]["uid"] = self._uids[key]
            if kind.watched:
                path = path_of(kind, key[0], metadata["name"])
                await wire.apply(path, manifest, names.FIELD_MANAGER)
            else:
                await wire.create(manifest)

    async def _change(self, key: Key, token: str, generation: int, at: int, wire: Wire) -> None:
        manifest = orjson.loads(self._policy[key].replace(TOKEN, token))
        metadata = manifest["metadata"]
        metadata["ownerReferences"][0]["uid"] = self._uids[key]
        path = path_of(BY_KIND[manifest["kind"]], key[0], metadata["name"])
        await wire.apply(path, manifest, names.FIELD_MANAGER)
        self.own.append(time.monotonic_ns() - at)
        await self._tell(key, wire, generation)

    async def _tell(self, key: Key, wire: Wire, generation: int = 1) -> None:
        metadata = {"name": key[1], "namespace": key[0], "uid": self._uids[key]}
        body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata}
        said = self._status[key]
        current = {"observedGeneration": generation}
        conditions = [condition | current for condition in said["conditions"]]
        path = path_of(SYSTEMS, *key) + "/status"
        whole = body | {"status": said | current | {"conditions": conditions}}
        await wire.apply(path, whole, names.STATUS_MANAGER)


@asynccontextmanager
async def instead(access: Access, judge: Judge, systems: list[Key], home: str) -> AsyncIterator[Floor]:
    """Play the operator; what goes wrong ends the block."""
    floor = Floor(systems, home)
    async with AsyncExitStack() as stack:
        wire = await stack.enter_async_context(wired(access, WORKERS))
        await stack.enter_async_context(heard(judge, SYSTEMS, {}, floor.system))
        for kind in WORKLOADS:
            await stack.enter_async_context(
                heard(judge, BY_KIND[kind], MANAGED, partial(floor.workload, kind))
            )
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(floor.work(wire)) for _ in range(WORKERS)]
            try:
                yield floor
            finally:
                for task in tasks:
                    task.cancel()
