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


def _reader(form: Any) -> Callable[[bytes], Live]:
    """Return what decodes a line as `form`; one of another form, such as an error, is decoded whole."""
    decode = msgspec.json.Decoder(form).decode

    def read(line: bytes) -> Live:
        try:
            return cast(Live, decode(line))
        except msgspec.DecodeError:
            return cast(Live, orjson.loads(line))

    return read


head = _reader(_Head)
_pod = _reader(_PodEvent)


def pod(line: bytes) -> Live:
    """Return an event of a pod with the fields that its digest reads."""
    event = _pod(line)
    # an error has other fields, a bookmark has the annotations that tell of the end of a list
    told = isinstance(event, dict) and event.get("type") in ("ADDED", "MODIFIED", "DELETED")
    return event if told else cast(Live, orjson.loads(line))
