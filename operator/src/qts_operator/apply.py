"""Carry out one action on the API server, and put the answer where the next look will see it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import structlog

from qts_core import names
from qts_operator import credentials
from qts_operator.cache import Store
from qts_operator.cluster import Api
from qts_operator.digests import child
from qts_operator.events import NOT_KEPT
from qts_operator.fields import applied, differences, owned, rivals
from qts_operator.metrics import Metrics
from qts_operator.middleware import ApiError
from qts_operator.objects import BY_KIND
from qts_operator.plan import Action, Apply, Create, Delete, HandOver, Rotate, want
from qts_operator.snapshot import Child
from qts_operator.stages import REMEDY, read
from qts_operator.writes import NAMED, Done, Failed, Response, Taken

_log = structlog.get_logger("qts_operator.apply")
Kept = dict[str, tuple[str, str]]


class Hand:
    """Performs actions; `children` are the stores that a pass reads."""

    def __init__(
        self,
        api: Api,
        children: dict[str, Store[Child]],
        metrics: Metrics,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._api, self._children, self._metrics, self._entropy = api, children, metrics, entropy
        self.kept: Kept = {}

    async def perform(self, action: Action) -> Response:
        """Do it; every refusal comes back as a value."""
        try:
            match action:
                case Apply(manifest=manifest, uid=uid):
                    return await self._apply(manifest, uid)
                case Create(manifest=manifest):
                    return await self._create(manifest)
                case Rotate():
                    return await self._rotate(action)
                case HandOver():
                    return await self._hand_over(action)
                case Delete():
                    return await self._delete(action)
                case _:
                    raise TypeError(f"{type(action).__name__} is no write")
        except ApiError as error:
            return error_of(error)

    def known(self, kind: str, namespace: str, name: str) -> Child | None:
        """Return what the store has of an object."""
        return self._children[kind].get(namespace, name)

    async def learn(self, kind: str, namespace: str, name: str) -> Child | None:
        """Read an object that the watch does not show, and remember it."""
        live = await self._api.get(BY_KIND[kind], namespace, name, metadata=kind == "Secret")
        if live is None:
            known = self._children[kind].get(namespace, name)
            if known is not None:
                self._children[kind].remove(known)
            return None
        found = child(live, kind)
        self._children[kind].put(found, read=True)
        return found

    async def _apply(self, manifest: dict[str, Any], uid: str | None) -> Response:
        kind = manifest["kind"]
        try:
            live = await self._api.apply(manifest, uid=uid)
        except ApiError as error:
            if uid is None:
                return await self._claimed(manifest, error)
            if error.code != 422 or not await self._cleared(manifest, uid, error.field):
                raise
            live = await self._api.apply(manifest, uid=uid)
        answer = child(live, kind)
        self._metrics.writes.labels(kind, "apply" if uid else "create").inc()
        self._children[kind].put(answer)
        return Done(version=answer.version, altered=self._altered(manifest, live, answer))

    def _altered(self, manifest: dict[str, Any], live: dict[str, Any], answer: Child) -> tuple[str, ...]:
        """Remember what the server altered, as sending it again would not help; return what is news."""
        wanted = want(manifest).digest  # the plan has just asked for it, so it is remembered
        if answer.digest == wanted:
            return ()
        self._metrics.not_kept.labels(answer.kind).inc()
        _, told = self.kept.get(answer.uid, ("", ""))
        self.kept[answer.uid] = (answer.version, wanted)
        paths = tuple(differences(owned(live), applied(manifest)))
        _log.warning(
            "fields not kept", kind=answer.kind, name=answer.name, fields=paths[:NAMED], reason=NOT_KEPT
        )
        return paths if told != wanted else ()

    async def _cleared(self, manifest: dict[str, Any], uid: str, field: str) -> bool:
        """Take away what the manifest cannot stand beside; False when nothing of the kind is there."""
        kind, metadata = BY_KIND[manifest["kind"]], manifest["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        live = await self._api.get(kind, namespace, name)
        if live is None or live["metadata"]["uid"] != uid:
            return False
        change = rivals(manifest, live, field)
        if not change:
            return False
        _log.warning("fields in the way", kind=kind.name, name=name, field=field)
        version = live["metadata"]["resourceVersion"]
        try:
            await self._api.amend(kind, namespace, name, version, {"metadata": {}} | change)
        except ApiError as error:
            if error.code != 422:
                raise
            return False  # it is ours that is wrong
        self._metrics.writes.labels(kind.name, "clear").inc()
        return True

    async def _claimed(self, manifest: dict[str, Any], error: ApiError) -> Response:
        """Answer for an object that was not made, mostly as one is there that the watch did not show."""
        kind, metadata = BY_KIND[manifest["kind"]], manifest["metadata"]
        live = None
        if error.code == 409:
            live = await self._api.get(kind, metadata["namespace"], metadata["name"])
        if live is None:
            raise error
        found, owners = child(live, kind.name), metadata["ownerReferences"]
        if found.owner_uid == owners[0]["uid"]:
            self._children[found.kind].put(found, read=True)
            return Failed(code=409, reason="AlreadyExists")
        if found.owner_kind == names.KIND or found.deleting:
            return Failed(code=409, reason="AlreadyExists", message="an earlier owner's object is going")
        return Taken()

    async def _create(self, manifest: dict[str, Any]) -> Response:
        kind, metadata = BY_KIND[manifest["kind"]], manifest["metadata"]
        full = credentials.filled(manifest, self._entropy(credentials.NEEDED))
        try:
            live = await self._api.create(kind, full)
        except ApiError as error:
            if error.code != 409 or error.reason != "AlreadyExists":
                raise
            found = await self.learn(kind.name, metadata["namespace"], metadata["name"])
            if found is None:
                raise
            ours = found.owner_uid == metadata["ownerReferences"][0]["uid"]
            former = found.owner_kind == names.KIND
            return Done() if ours else error_of(error) if former else Taken()
        self._metrics.writes.labels(kind.name, "create").inc()
        self._children[kind.name].put(child(live, kind.name))
        return Done()

    async def _rotate(self, action: Rotate) -> Response:
        """Read a Secret and write what its next stage needs; who wrote in between makes this one void."""
        kind, metadata = BY_KIND["Secret"], action.manifest["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        live = await self._api.get(kind, namespace, name)
        if live is None or live["metadata"]["uid"] != action.uid:
            await self.learn("Secret", namespace, name)
            return Failed(code=409, reason="Conflict", message="another Secret has this name now")
        found = child(live, "Secret")
        if read(found.credentials) != read(action.before):
            self._children["Secret"].put(found)
            return Failed(code=409, reason="Conflict", message="the Secret has moved on")
        try:
            data, entropy = live.get("data") or {}, self._entropy(credentials.NEEDED)
            change = credentials.advanced(action.manifest, data, entropy)
        except (LookupError, ValueError) as error:
            # the content is somebody's work: it is never guessed, and never printed
            what = f"lacks {error.args[0]}" if isinstance(error, LookupError) else "cannot be read"
            text = f"Secret {name} {what}; {REMEDY}"
            return Failed(code=422, reason="CredentialsMissing", message=text)
        answer = await self._api.amend(kind, namespace, name, live["metadata"]["resourceVersion"], change)
        self._metrics.writes.labels("Secret", "rotate").inc()
        self._children["Secret"].put(child(answer, "Secret"))
        return Done()

    async def _hand_over(self, action: HandOver) -> Response:
        """Own the number under another name for the moment, so that it stays when we leave it out."""
        metadata: dict[str, Any] = {"name": action.name, "namespace": action.namespace}
        if action.parked:
            metadata["annotations"] = {names.ANNOTATION_REPLICAS_BEFORE_SUSPEND: action.parked}
        manifest = {
            "apiVersion": BY_KIND[action.kind].api_version,
            "kind": action.kind,
            "metadata": metadata,
            "spec": {"replicas": action.replicas},
        }
        live = await self._api.apply(manifest, uid=action.uid, manager=names.HANDOVER_MANAGER)
        self._metrics.writes.labels(action.kind, "handover").inc()
        answer = child(live, action.kind)
        self._children[action.kind].put(answer)
        return Done(version=answer.version)

    async def _delete(self, action: Delete) -> Response:
        await self._api.delete(BY_KIND[action.kind], action.namespace, action.name, action.uid)
        self._metrics.writes.labels(action.kind, "delete").inc()
        known = self.known(action.kind, action.namespace, action.name)
        if known is not None and known.uid == action.uid:
            # what lingers for a finalizer comes back with its next event
            self._children[action.kind].remove(known)
        return Done()


def error_of(error: ApiError) -> Failed:
    """Return a refusal as a value."""
    return Failed(
        code=error.code,
        reason=error.reason,
        message=error.message,
        field=error.field,
        retry_after=error.retry_after,
    )
