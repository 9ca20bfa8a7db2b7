"""Lines of a watch, decoded as far as anybody looks at them: passing over the rest takes a tenth. Pure.

What it returns has the form of the whole event, so that `digests.py` reads either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict, cast

import msgspec
import orjson

Live = dict[str, Any]
Tree = dict[str, Any] | None


class _Identity(TypedDict, total=False):
    name: str
    namespace: str
    uid: str
    resourceVersion: str


class _Known(TypedDict, total=False):
    metadata: _Identity


class _Head(TypedDict):
    type: str
    object: _Known


class _PodMetadata(_Identity, total=False):
    labels: Tree
    creationTimestamp: str | None
    deletionTimestamp: str


class _Resources(TypedDict, total=False):
    limits: Tree


class _Container(TypedDict, total=False):
    resources: _Resources | None


class _PodSpec(TypedDict, total=False):
    nodeName: str | None
    containers: list[_Container] | None
    resourceClaims: list[Live] | None


class _PodStatus(TypedDict, total=False):
    phase: str
    reason: str
    podIP: str | None
    conditions: list[Live] | None
    containerStatuses: list[Live] | None


class _Pod(TypedDict, total=False):
    metadata: _PodMetadata
    spec: _PodSpec | None
    status: _PodStatus | None


class _PodEvent(TypedDict):
    type: str
    object: _Pod


class NoEventError(ValueError):
    """A line that is JSON, and no event of a watch."""


def event(told: Any) -> Live:
    """Return what a line says if it has the form of an event, as far as anybody relies on it."""
    live = told.get("object") if isinstance(told, dict) else None
    metadata = live.get("metadata", {}) if isinstance(live, dict) else None
    notes = (metadata.get("annotations") or {}) if isinstance(metadata, dict) else None
    if not isinstance(notes, dict) or not isinstance(told.get("type"), str):
        raise NoEventError("the watch told something that is no event")
    return cast(Live, told)


def whole(line: bytes) -> Live:
    """Return all of an event."""
    return event(orjson.loads(line))


def _reader(form: Any) -> Callable[[bytes], Live]:
    """Return what decodes a line as `form`; one of another form, such as an error, is decoded whole."""
    decode = msgspec.json.Decoder(form).decode

    def read(line: bytes) -> Live:
        try:
            return cast(Live, decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return whole(line)

    return read


head = _reader(_Head)
_pod = _reader(_PodEvent)


def pod(line: bytes) -> Live:
    """Return an event of a pod with the fields that its digest reads."""
    told = _pod(line)
    # an error has other fields, a bookmark has the annotations that tell of the end of a list
    return told if told["type"] in ("ADDED", "MODIFIED", "DELETED") else whole(line)
