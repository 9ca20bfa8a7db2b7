"""Envelope ↔ bytes: MessagePack on the wire, and what is refused on arrival (pure)."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import msgspec

from qts_messaging.messages import VERSION, Envelope, Message

LIMIT = 1 << 20  # bytes of any frame
OVERHEAD = 4096  # what an envelope can add to its body, names of 4 KiB left aside

_encoder = msgspec.msgpack.Encoder()
_read = msgspec.msgpack.Decoder(Envelope).decode
_body_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


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


#: the wire bytes of an envelope; the encoder's own method, as every message asks
encode: Callable[[Envelope], bytes] = _encoder.encode


def encoded(body: bytes) -> Message:
    """Return what stands for a message whose bytes are `body`; good for nothing but an Envelope to encode."""
    return cast("Message", msgspec.Raw(body))


def decode(frame: bytes) -> Envelope | Rejected:
    """Read a frame from outside; never raises, whatever the bytes are. All checks are the decoder's."""
    if len(frame) > LIMIT:
        return Rejected("too_large", f"{len(frame)} bytes, at most {LIMIT} are accepted")
    try:
        return _read(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return _rejected(frame, str(error))


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
        return _body_decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Rejected("decode", str(error))
