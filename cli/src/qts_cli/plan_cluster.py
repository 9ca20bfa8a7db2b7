"""What a cluster holds of a system, as a pass of the operator sees it, and the operator's plan for it.

Reading only, by the caller's rights; of Secrets the metadata alone. What a file asks for goes to the API
server as a dry run first, so that its rules decide, not ours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from qts_cli import unseen
from qts_core import names
from qts_core.errors import ConfigError
from qts_operator import digests
from qts_operator.cluster import MINE, NODES, PODS, SYSTEMS, Cluster, path_of, whole
from qts_operator.look import SECRETS, Usage, belongs
from qts_operator.metrics import Metrics
from qts_operator.middleware import ApiError
from qts_operator.objects import BY_KIND, KINDS
from qts_operator.objects.frame import Defaults, Frame
from qts_operator.objects.pod_monitors import labels_of
from qts_operator.plan import Action, Apply, Create, due
from qts_operator.resolve import resolve, touched
from qts_operator.session import Session, from_kubeconfig
from qts_operator.snapshot import Child, Pod, Snapshot
from qts_operator.unread import Unread

Tree = dict[str, Any]
Live = dict[tuple[str, str], Tree]
DEPLOYMENTS = BY_KIND["Deployment"]
OPERATOR = {"labelSelector": f"{names.LABEL_NAME}=quantum-trading-operator"}
TRIES = 5  # of the dry run of a resource that others write
_IMAGES = {"agent": "QTS_AGENT_IMAGE", "agent_gpu": "QTS_AGENT_GPU_IMAGE", "redis": "QTS_REDIS_IMAGE"}


class _OvertakenError(ConfigError):
    """The resource was written between our look at it and the dry run: its operator tells its status."""


class Planned(msgspec.Struct, frozen=True):
    """The operator's plan, the objects that it would change, and what a reader must know of it."""

    frame: Frame
    actions: list[Action]
    live: Live
    notes: tuple[str, ...] = ()


@asynccontextmanager
async def opened(kubeconfig: str | None) -> AsyncIterator[Cluster]:
    """Yield the cluster of a kubeconfig (None: of the usual one); connections are closed in the end."""
    session = Session(from_kubeconfig(kubeconfig), Metrics(), "qts-plan")
    await session.open()
    try:
        yield Cluster(session)
    finally:
        await session.close()


async def admitted(api: Cluster, cr: Tree, namespace: str) -> Tree:
    """Return the resource as the API server would keep it; ConfigError with its words when it would not."""
    for _ in range(TRIES - 1):
        with suppress(_OvertakenError):
            return await _tried(api, cr, namespace)
    return await _tried(api, cr, namespace)


async def _tried(api: Cluster, cr: Tree, namespace: str) -> Tree:
    """Try the resource as a dry run over what is there now."""
    name = cr["metadata"]["name"]
    live = await api.get(SYSTEMS, namespace, name)
    params = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "qts-plan"}
    verb, path = "PUT", path_of(SYSTEMS, namespace, name)
    if live is None:
        verb, path = "POST", path_of(SYSTEMS, namespace)
        live = {**cr, "metadata": cr["metadata"] | {"namespace": namespace}}
    body = {key: value for key, value in live.items() if key != "spec"} | {"spec": cr.get("spec") or {}}
    try:
        answer = await api.session.call(verb, path, kind=SYSTEMS.name, params=params, body=body)
    except ApiError as error:
        if error.code == 409:
            raise _OvertakenError(f"{namespace}/{name} changes all the time: {error.message}") from None
        if 400 <= error.code < 500 and error.code != 429:
            remedy = "; is the operator's definition installed?" if error.message.endswith("resource") else ""
            raise ConfigError(f"the API server refuses {namespace}/{name}: {error.message}{remedy}") from None
        raise
    return dict(answer)


async def planned(api: Cluster, cr: Tree, operator_namespace: str) -> Planned:
    """Return what the operator would do now for a resource as the API server keeps it."""
    snapshot, live, unread = await _look(api, cr)
    defaults, unsure = await _defaults(api, snapshot, operator_namespace)
    frame, _ = resolve(snapshot, defaults)
    actions = due(frame, touched(snapshot, frame), {})
    taken = await _taken(api, actions)
    if taken:
        actions = due(frame, touched(snapshot, frame) | taken, {})
    return Planned(frame, actions, live, (*unread, *unsure, *_notes(frame)))


def _notes(frame: Frame) -> list[str]:
    """Return what the operator would say of the resource, and what holds it back."""
    told = [f"{fault.condition}={fault.reason}: {fault.message}" for fault in frame.faults]
    if frame.unsupported:
        told.append(
            f"not planned, as this qts does not render their templates: {', '.join(frame.unsupported)}"
        )
    if frame.spec.paused:
        told.append("spec.paused is true: the operator lists this in status.plan and does nothing of it")
    if frame.spec.startup == "AllOrNothing":
        told.append("startup AllOrNothing: other systems that wait for devices are not looked at")
    return told


async def _look(api: Cluster, cr: Tree) -> tuple[Snapshot, Live, list[str]]:
    """Return what is known of a system, its objects as they are, and what could not be read."""
    digest = digests.resource(cr)
    spec, status = digest.decoded()
    live, offered = await _children(api, digest.namespace, digest.name)
    children = {key: digests.child(tree, key[0]) for key, tree in live.items()}
    secrets, unread = await _secrets(api, digest)
    everyone, now = await _pods(api, digest.namespace), time.time()
    named = [p for p in everyone if p.namespace == digest.namespace and p.system == digest.name]
    nodes = None
    try:
        nodes = tuple((await api.list(NODES, None, {}, digests.node)).items)
    except ApiError as error:
        if error.code != 403:
            raise
        unread.append("nodes may not be listed: nothing is known of devices")
    snapshot = Snapshot(
        namespace=digest.namespace,
        name=digest.name,
        uid=digest.uid,
        generation=digest.generation,
        now=now,
        created=digest.created,
        spec=spec,
        status=status,
        children=children | secrets,
        pods=tuple(p for p in named if belongs(p, digest.created, now)),
        nodes=nodes,
        offered=offered,
    )
    if digest.gpu and nodes is not None:
        used = await Usage(api, Unread(Metrics())).of(snapshot, 0.0, lambda: everyone)
        snapshot = msgspec.structs.replace(snapshot, used=used)
    return snapshot, live, unread


async def _children(api: Cluster, namespace: str, name: str) -> tuple[Live, frozenset[str]]:
    """Return a system's objects by kind and name, and which optional kinds there are."""
    found: Live = {}
    offered = set()
    for kind in (k for k in KINDS if k.watched):
        try:
            listed = (await api.list(kind, namespace, MINE, whole)).items
        except ApiError as error:
            if kind.optional and error.code in (403, 404):
                continue
            raise
        if kind.optional:
            offered.add(kind.name)
        for tree in listed:
            if digests.child(tree, kind.name).system == name:
                found[(kind.name, tree["metadata"]["name"])] = tree
    return found, frozenset(offered)


async def _secrets(api: Cluster, of: digests.Resource) -> tuple[dict[tuple[str, str], Child], list[str]]:
    """Return the metadata of the system's Secrets, and which may not be read: these are taken to be right."""
    found, denied = {}, []
    for secret in (names.part(of.name, part) for part in SECRETS):
        try:
            tree = await api.get(BY_KIND["Secret"], of.namespace, secret, metadata=True)
        except ApiError as error:
            if error.code != 403:
                raise
            denied.append(f"Secret {secret} may not be read: it is taken to be as the resource wants it")
            assumed = unseen.secrets(of.namespace, of.name, of.uid, of.decoded()[0])
            found[("Secret", secret)] = assumed[("Secret", secret)]
            continue
        if tree is not None:
            found[("Secret", secret)] = digests.child(tree, "Secret")
    return found, denied


async def _pods(api: Cluster, namespace: str) -> list[Pod]:
    """Return the pods of all systems, where only that may be seen of one namespace."""
    try:
        return (await api.list(PODS, None, MINE, digests.pod)).items
    except ApiError as error:
        if error.code != 403:
            raise
        return (await api.list(PODS, namespace, MINE, digests.pod)).items


async def _taken(api: Cluster, actions: list[Action]) -> dict[tuple[str, str], Child]:
    """Return objects of somebody else that bear the names of those to be made; no list of ours shows them."""

    async def one(manifest: Tree) -> Child | None:
        kind, metadata = BY_KIND[manifest["kind"]], manifest["metadata"]
        tree = await api.get(kind, metadata["namespace"], metadata["name"], metadata=True)
        return None if tree is None else digests.child(tree, kind.name)

    new = [a.manifest for a in actions if isinstance(a, Create) or (isinstance(a, Apply) and a.uid is None)]
    found = await asyncio.gather(*(one(manifest) for manifest in new))
    return {(child.kind, child.name): child for child in found if child is not None}


async def _defaults(api: Cluster, snapshot: Snapshot, namespace: str) -> tuple[Defaults, list[str]]:
    """Return the images and labels that the operator gives by itself, as its Deployment says."""
    given = Defaults(namespace=namespace)
    try:
        found = (await api.list(DEPLOYMENTS, namespace, OPERATOR, whole)).items
    except ApiError as error:
        if error.code != 403:
            raise
        found = []
    for deployment in found:
        env = deployment["spec"]["template"]["spec"]["containers"][0].get("env") or ()
        told = {each["name"]: each.get("value") for each in env}
        images = {field: told[name] for field, name in _IMAGES.items() if told.get(name)}
        labels = labels_of(told.get("QTS_MONITOR_LABELS") or "")
        return msgspec.structs.replace(given, **images, monitor_labels=labels), []
    images = snapshot.status.get("images") or {}
    told = {"agent": images.get("agent"), "agent_gpu": images.get("agentGPU"), "redis": images.get("redis")}
    known = {field: image for field, image in told.items() if image}
    unsure = "images that are left out, and labels of monitors, may differ"
    note = f"no Deployment of the operator is seen in {namespace}: {unsure}"
    return msgspec.structs.replace(given, **known), [note]
