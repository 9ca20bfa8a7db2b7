"""Look at one system: what the stores show, what PADS says, and what is read on demand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from qts_core import names
from qts_core.errors import ConfigError
from qts_core.roster import AGENTS, BY_NAME
from qts_operator import events, gpu, node_loss, rotation, starts
from qts_operator.apply import Hand
from qts_operator.cluster import PODS, Api, whole
from qts_operator.context import Context
from qts_operator.digests import Resource, files_of, requested
from qts_operator.gpu import USAGE_S
from qts_operator.middleware import ApiError
from qts_operator.objects import BY_KIND, claim_templates
from qts_operator.objects.frame import Frame
from qts_operator.resolve import spec_of
from qts_operator.snapshot import Child, Finding, Heard, Node, Other, Pod, Snapshot
from qts_operator.unread import Unread
from qts_operator.view import key_of

SECRETS = (names.CURVE_SECRET, names.REDIS_SECRET)
SECRETS_S = 600.0
NODES_ASKED = 20
ENDED = ("Succeeded", "Failed")
#: two API servers may date what they make so far apart
SKEW_S = 10.0
#: by then the pods of a system that had the name before are gone: what is still there was adopted
LEFT_S = 600.0


class Eyes:
    """Snapshots of systems; Secrets and other tenants' pods are never watched, only asked for."""

    def __init__(self, context: Context) -> None:
        self._c = context
        self._secrets = Secrets(context.hand)
        self._logins = Logins(context.api)
        self._usage = Usage(context.api, Unread(context.metrics))
        self._templates = Templates(context.api)
        self._claims: set[str] = set()

    def forget(self, key: str, namespace: str, name: str) -> None:
        """Drop what is remembered of a system that is gone."""
        self._secrets.forget(key)
        self._logins.forget(key)
        self._claims.discard(key)
        store = self._c.view.children["Secret"]
        for child in store.of(namespace, name):
            store.remove(child)

    async def look(self, resource: Resource) -> Snapshot:
        """Return what is known now; ApiError when something cannot be read."""
        view, key, now_s = self._c.view, key_of(resource.namespace, resource.name), self._c.now_s()
        spec, told = resource.decoded()
        seen = view.pods.of(resource.namespace, resource.name)
        now = self._c.clock.wall_ns() / 1e9
        pods = tuple(p for p in seen if belongs(p, resource.created, now))
        new = not (told or pods or spec.get("paused"))
        secrets, unread = await self._secrets.of(key, resource, now_s, new=new)
        children = {
            (kind, child.name): child
            for kind, store in view.children.items()
            for child in store.of(resource.namespace, resource.name)
        }
        nodes = tuple(e.node for e in view.nodes.all()) if self._c.nodes_visible else None
        snapshot = Snapshot(
            namespace=resource.namespace,
            name=resource.name,
            uid=resource.uid,
            generation=resource.generation,
            now=now,
            spec=spec,
            status=told,
            children=children | secrets,
            pods=pods,
            nodes=nodes,
            statusz=await self._c.answers.ask(key, tuple(p for p in pods if p.agent == "pads")),
            heard=await self._heard(key, resource.name, spec, secrets, pods),
            unread=unread,
            login=await self._logins.of(key, resource.namespace, spec, now_s),
            blocked=self._c.blocked(resource.namespace),
            pruned=self._c.pruned(),
            offered=self._c.offered(resource.namespace),
            barred=self._c.barred(resource.namespace),
            kept=self._c.hand.kept,
            created=resource.created,
            restricted=await self._restricted(resource.namespace, told),
        )
        if nodes is not None and (resource.gpu or any(p.limits for p in pods)):
            used = await self._usage.of(snapshot, now_s, view.pods.all)
            snapshot = msgspec.structs.replace(snapshot, used=used)
        if claim_templates.KIND in snapshot.offered:
            absent = await self._templates.absent(snapshot)
            snapshot = msgspec.structs.replace(snapshot, absent=absent)
        # the last thing that is looked at, so that no other pass can decide in between
        return msgspec.structs.replace(snapshot, others=self._others(resource, nodes))

    async def _heard(
        self,
        key: str,
        system: str,
        spec: dict[str, Any],
        secrets: dict[tuple[str, str], Child],
        pods: tuple[Pod, ...],
    ) -> dict[str, Heard]:
        """Ask every pod which credentials it uses, while these change."""
        with contextlib.suppress(ConfigError):  # a spec that cannot be read asks for nothing
            if rotation.asks(spec_of(spec), system, secrets):
                return await self._c.answers.survey(key, pods, self._c.now_s())
        return {}

    def recheck_s(self, key: str, now_s: float) -> float:
        """Return seconds until the Secrets of a system are to be read again, as nothing tells of them."""
        return self._secrets.recheck_s(key, now_s)

    async def _restricted(self, namespace: str, told: dict[str, Any]) -> tuple[str, ...]:
        """Return what is not done for want of a right, though no system is hindered by it."""
        lacking = {
            events.UNWRITTEN: await self._c.recorder.denied(namespace, told),
            "bounds and rules of the definition are not compared": self._c.unseen(),
        }
        return tuple(f"{what}: {why}" for what, why in lacking.items() if why)

    def claim(self, key: str, frame: Frame | None) -> None:
        """Remember who claims devices for an all-or-nothing start before anybody can see its objects."""
        told = frame.gang if frame is not None else None
        if told is not None and told.state == "Claiming":
            self._claims.add(key)
        else:
            self._claims.discard(key)

    def _others(self, resource: Resource, nodes: tuple[Node, ...] | None) -> tuple[Other, ...]:
        """Return the other systems that start all or nothing, for one that does."""
        if not resource.gang or not resource.gpu:
            return ()
        found = []
        for each in self._c.view.systems.all():
            key = key_of(each.namespace, each.name)
            if not (each.gang and each.gpu) or each.uid == resource.uid or each.deleting:
                continue
            spec, told = each.decoded()
            live = self._c.view.children["Deployment"].of(each.namespace, each.name)
            with contextlib.suppress(ConfigError):  # a spec that cannot be read asks for nothing
                seen = starts.other(key, each.created, spec_of(spec), told, live, nodes)
                found.append(msgspec.structs.replace(seen, claiming=seen.claiming or key in self._claims))
        return tuple(found)


class Secrets:
    """The Secrets of each system, asked for by name at first and every ten minutes."""

    def __init__(self, hand: Hand) -> None:
        self._hand = hand
        self._read_s: dict[str, float] = {}

    def forget(self, key: str) -> None:
        """Drop a system that is gone."""
        self._read_s.pop(key, None)

    def recheck_s(self, key: str, now_s: float) -> float:
        """Return seconds until those of a system are due; what could not be read is due as much later."""
        return SECRETS_S - (now_s - self._read_s.get(key, now_s)) % SECRETS_S

    async def of(
        self, key: str, resource: Resource, now_s: float, *, new: bool
    ) -> tuple[dict[tuple[str, str], Child], dict[str, str]]:
        """Return the Secrets that are there, and by name why one may not be read.

        At the first look at a `new` system, without status or pods, nothing is asked: a Secret that is there
        refuses to be made, and is read then. Pods hold what was in it, so it must not be taken for gone.
        """
        asked = [names.part(resource.name, part) for part in SECRETS]
        if new and key not in self._read_s:
            self._read_s[key] = now_s
            return {}, {}
        fresh = now_s - self._read_s.get(key, float("-inf")) < SECRETS_S
        known = {name: self._known(resource, name) if fresh else None for name in asked}
        unread: dict[str, str] = {}

        async def ask(name: str) -> None:
            try:
                known[name] = await self._hand.learn("Secret", resource.namespace, name)
            except ApiError as error:
                if error.code != 403:
                    raise
                unread[name] = error.message or f"Secret/{name}: get is forbidden"

        if missing := [name for name, child in known.items() if child is None]:
            await asyncio.gather(*(ask(name) for name in missing))
        if not fresh and not unread:
            self._read_s[key] = now_s
        return {("Secret", name): child for name, child in known.items() if child is not None}, unread

    def _known(self, resource: Resource, name: str) -> Child | None:
        """Return what was read of a Secret; another's is read again, as nothing tells when it is gone."""
        child = self._hand.known("Secret", resource.namespace, name)
        return child if child is not None and child.owner_uid == resource.uid else None


class Logins:
    """The Secrets of external Redis servers: whether they are there with the key, asked for as metadata.

    Without it no new pod starts. One that is missing, or lacks the key, is asked for in each pass.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        #: system → name and key, and when it was there
        self._seen: dict[str, tuple[tuple[str, str], float]] = {}

    def forget(self, key: str) -> None:
        """Drop a system that is gone."""
        self._seen.pop(key, None)

    async def of(self, key: str, namespace: str, spec: dict[str, Any], now_s: float) -> Finding | None:
        """Return why the Secret that the spec names cannot be used, None when it is there."""
        ref = (spec.get("redis") or {}).get("urlSecretRef") or {}
        name, file = ref.get("name", ""), ref.get("key") or "url"
        seen, at = self._seen.get(key, (("", ""), 0.0))
        if not name or (seen == (name, file) and now_s - at < SECRETS_S):
            return None
        try:
            live = await self._api.get(BY_KIND["Secret"], namespace, name, metadata=True)
        except ApiError as error:
            if error.code != 403:
                raise
            text = error.message or f"Secret/{name}: get is forbidden"
            return Finding(reason="AccessDenied", message=text)
        what = f"Secret {name} of spec.redis.urlSecretRef"
        if live is None:
            lacks, remedy = "does not exist", f"make it in namespace {namespace} with key {file}"
        elif _lacks(live["metadata"], file):
            lacks, remedy = f"has no key {file}", "add it, or correct spec.redis.urlSecretRef.key"
        else:
            self._seen[key] = ((name, file), now_s)
            return None
        self._seen.pop(key, None)
        text = f"{what} {lacks}, and no new pod starts without it; {remedy}"
        return Finding(reason="CredentialsMissing", message=text)


class Templates:
    """Templates of claims that users name themselves: no status tells that one is not there."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def absent(self, snapshot: Snapshot) -> frozenset[str]:
        """Return those that do not exist, of agents with a pod that has no node."""
        try:
            spec = spec_of(snapshot.spec)
        except ConfigError:  # a spec that cannot be read asks for nothing
            return frozenset()
        waits = {p.agent for p in snapshot.pods if not p.node and not p.deleting}
        named = (spec.agent(w.name).gpu.claim_template_name for w in AGENTS if w.gpu and w.name in waits)
        asked = sorted({name for name in named if name})
        return frozenset([name for name in asked if not await self._there(snapshot.namespace, name)])

    async def _there(self, namespace: str, name: str) -> bool:
        try:
            live = await self._api.get(BY_KIND[claim_templates.KIND], namespace, name, metadata=True)
        except ApiError as error:
            if error.code != 403:
                raise
            return True  # nobody knows
        return live is not None


def _lacks(metadata: dict[str, Any], file: str) -> bool:
    """Tell whether a Secret surely has no such file: where somebody cleared its managers nobody knows."""
    known = any(entry.get("fieldsV1") for entry in metadata.get("managedFields") or ())
    return known and file not in files_of(metadata)


class Usage:
    """What all pods on nodes with devices ask for, read while one of ours waits for one or lost its own."""

    def __init__(self, api: Api, unread: Unread) -> None:
        self._api, self._unread = api, unread
        self._known: dict[str, tuple[float, dict[str, int]]] = {}

    async def of(
        self, snapshot: Snapshot, now_s: float, ours: Callable[[], list[Pod]]
    ) -> dict[str, dict[str, int]]:
        """Return node → resource → count; {} when nothing of ours needs one; `ours` are the watched pods."""
        start = snapshot.status.get("gang") or {}
        held = snapshot.spec.get("startup") == "AllOrNothing" and start.get("state") != "Started"
        lost = _stranded(snapshot)
        if snapshot.pods and all(p.node for p in snapshot.pods) and not held and not lost:
            return {}
        used = {}
        for name in asked_of(snapshot)[:NODES_ASKED]:
            known = self._known.get(name)
            if known is None or now_s - known[0] >= USAGE_S:
                listing = await self._api.list(PODS, None, {"fieldSelector": f"spec.nodeName={name}"}, whole)
                known = (now_s, self._total(listing.items))
                self._known[name] = known
            used[name] = dict(known[1])
        for pod in ours():
            if pod.node in used and pod.phase not in ENDED:
                _add(used[pod.node], pod.limits)
        return used

    def _total(self, pods: list[dict[str, Any]]) -> dict[str, int]:
        """Return what pods of others ask for, added up; one that cannot be read holds nobody up."""
        added: dict[str, int] = {}
        for pod in pods:
            _add(added, self._unread.attempt(PODS.name, pod, wanted) or {})
        return added


def belongs(pod: Pod, created: float, now: float) -> bool:
    """Tell whether a pod is of the system that was made then: an older one is of another of that name.

    Nothing else tells: the owner of a pod is a ReplicaSet, which the operator does not see.
    """
    return pod.started > created - SKEW_S or now - created > LEFT_S


def wanted(pod: dict[str, Any]) -> dict[str, int]:
    """Return the extended resources that a pod of others asks for while it lives; ours are watched."""
    labels = (pod.get("metadata") or {}).get("labels") or {}
    ours = labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY
    ended = (pod.get("status") or {}).get("phase") in ENDED
    return {} if ours or ended else requested(pod.get("spec") or {})


def asked_of(snapshot: Snapshot) -> list[str]:
    """Return the nodes whose use matters, the most telling first: of the agent with the fewest that fit."""
    try:
        spec = spec_of(snapshot.spec)
    except ConfigError:  # a spec that cannot be read asks for nothing
        return []
    sections = {w.name: spec.agent(w.name) for w in AGENTS if w.gpu}
    counted = {n: a for n, a in sections.items() if a.enabled and a.gpu.mode != "None" and not a.gpu.dra}
    view, nodes = gpu.View(nodes=snapshot.nodes), node_loss.by_name(snapshot.nodes)
    fitting = [
        frozenset(node_loss.offering(p, spec.pods(p.agent), nodes)) for p in _stranded(snapshot) if p.limits
    ]
    fitting += [
        gpu.eligible(gpu.Demand(agent=name, asked=a, replicas=a.replicas), view)
        for name, a in counted.items()
    ]
    if spec.startup == "AllOrNothing":  # whether an older system fits, which may go elsewhere
        devices = {a.gpu.device for a in counted.values()}
        with_any = [n for n in nodes.values() if any(n.allocatable.get(d) for d in devices)]
        fitting.append(frozenset(n.name for n in with_any))
    return list(dict.fromkeys(name for each in sorted(fitting, key=len) for name in sorted(each)))


def _stranded(snapshot: Snapshot) -> tuple[Pod, ...]:
    """Return the pods whose devices went with their node: somebody has to know whether others are free."""
    pods = [p for p in snapshot.pods if p.agent in BY_NAME]
    return node_loss.stranded(pods, snapshot.nodes, snapshot.now)


def _add(total: dict[str, int], more: dict[str, int]) -> None:
    for name, count in more.items():
        total[name] = total.get(name, 0) + count
