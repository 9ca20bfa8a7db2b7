"""The 25 bytes of trace context: 16 trace id, 8 span id, 1 flags. Passing them on needs no span."""

from __future__ import annotations

from hashlib import blake2b

SAMPLED = 0x01
SIZE = 25


def pack(trace_id: int, span_id: int, flags: int) -> bytes:
    """Return the wire form of a trace context."""
    return trace_id.to_bytes(16, "big") + span_id.to_bytes(8, "big") + bytes((flags & 0xFF,))


def unpack(trace: bytes) -> tuple[int, int, int]:
    """Return trace id, span id and flags; ValueError when it is not 25 bytes."""
    if len(trace) != SIZE:
        raise ValueError(f"a trace context has {SIZE} bytes, not {len(trace)}")
    return int.from_bytes(trace[:16], "big"), int.from_bytes(trace[16:24], "big"), trace[24]


def sampled(trace: bytes | None) -> bool:
    """Tell whether spans are recorded: the bit, as newer libraries set others beside it."""
    return trace is not None and bool(trace[24] & SAMPLED)


def span_id(trace_id: int, process: str, stage: str) -> int:
    """Return the span id that any process can compute for a stage of a trace, never 0."""
    text = trace_id.to_bytes(16, "big") + process.encode() + b"\0" + stage.encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") or 1


def child(trace: bytes, process: str, stage: str) -> bytes:
    """Return the context to send on from `stage`: same trace and flags, the stage's span as parent."""
    trace_id, _, flags = unpack(trace)
    return pack(trace_id, span_id(trace_id, process, stage), flags)
