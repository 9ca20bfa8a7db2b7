"""Envelope ↔ bytes: MessagePack on the wire, JSON for people, and what is refused on arrival (pure)."""

from __future__ import annotations

import math
from typing import Any, cast

import msgspec

from qts_messaging.messages import Body, Column, Envelope, Message

VERSION = 1
LIMIT = 1 << 20  # bytes of any frame
OVERHEAD = 4096  # what an envelope can add to its body, names of 4 KiB left aside
SIZES: dict[str, int] = {"f8": 8, "f4": 4, "i8": 8, "u8": 8, "u4": 4, "u2": 2, "u1": 1}

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)
_body_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_json_encoder = msgspec.json.Encoder()
_json_decoder = msgspec.json.Decoder(Envelope)


class Header(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """The envelope of a frame whose body cannot be read: enough to close its account."""

    version: int
    id: bytes
    sender: str
    recipient: str | None
    correlation_id: bytes | None
    sent_ns: int
    ttl_ms: int
    deadline_ns: int
    priority: int
    epoch: int
    lane: str
    sequence: int


class Rejected(msgspec.Struct, frozen=True):
    """Why a frame was not accepted; `header` where that much could be read."""

    reason: str  # too_large | version | decode
    text: str
    header: Header | None = None


_header_decoder = msgspec.msgpack.Decoder(Header)


def encode_body(message: Message) -> bytes:
    """Return the MessagePack bytes of a message alone."""
    return _encoder.encode(message)


def encode(envelope: Envelope) -> bytes:
    """Return the wire bytes."""
    return _encoder.encode(envelope)


def encoded(body: bytes) -> Message:
    """Return what stands for a message whose bytes are `body`; good for nothing but an Envelope to encode."""
    return cast("Message", msgspec.Raw(body))


def decode(frame: bytes) -> Envelope | Rejected:
    """Read a frame from outside; never raises, whatever the bytes are."""
    if len(frame) > LIMIT:
        return Rejected("too_large", f"{len(frame)} bytes, at most {LIMIT} are accepted")
    try:
        envelope = _decoder.decode(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return _rejected(frame, str(error))
    if envelope.version != VERSION:
        return _rejected(frame, "")
    wrong = "" if envelope.body is None else fault(envelope.body)
    return _rejected(frame, wrong) if wrong else envelope


def _rejected(frame: bytes, text: str) -> Rejected:
    """Say why a frame was refused and keep its header if that can be read."""
    try:
        header = _header_decoder.decode(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Rejected("decode", text)
    if header.version != VERSION:
        return Rejected("version", f"version {header.version}, this is {VERSION}", header)
    return Rejected("decode", text, header)


def decode_body(data: bytes) -> Message | Rejected:
    """Read a message without an envelope (market snapshot stream); never raises."""
    try:
        message = _body_decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Rejected("decode", str(error))
    wrong = fault(message)
    return Rejected("decode", wrong) if wrong else message


def to_json(envelope: Envelope) -> bytes:
    """Return an envelope as JSON for people (logs, status, export)."""
    return _json_encoder.encode(envelope)


def from_json(data: bytes) -> Envelope | Rejected:
    """Read what `to_json` wrote."""
    try:
        return _json_decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Rejected("decode", str(error))


def fault(record: Body) -> str:
    """Return why a column of `record` lies about its size, or an empty text."""
    for name in _COLUMNS[type(record)]:
        value = getattr(record, name)
        if type(value) is Column:
            size = SIZES.get(value.dtype)
            if size is None:
                return f"{name}: dtype {value.dtype!r} is not one of {', '.join(SIZES)}"
            if len(value.data) != size * math.prod(value.shape):
                return f"{name}: {len(value.data)} bytes for {value.dtype} of shape {value.shape}"
        elif value is not None:
            wrong = fault(value)
            if wrong:
                return f"{name}.{wrong}"
    return ""


def _column_fields() -> dict[type[Body], tuple[str, ...]]:
    """Find once, for every record, the fields that hold columns or records with columns."""
    found: dict[type[Body], tuple[str, ...]] = {}
    for kind in Body.__subclasses__():
        hints = msgspec.structs.fields(kind)
        found[kind] = tuple(f.name for f in hints if _holds_columns(f.type))
    return found


def _holds_columns(kind: Any) -> bool:
    """Tell whether a field's type is a column, a record with columns, or one of these or None."""
    options = getattr(kind, "__args__", (kind,))
    records = [option for option in options if isinstance(option, type) and issubclass(option, Body)]
    return any(r is Column or any(_holds_columns(f.type) for f in msgspec.structs.fields(r)) for r in records)


_COLUMNS = _column_fields()
