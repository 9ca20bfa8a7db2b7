"""What a journal record holds, and its bytes (agents.md §2.11; pure).

A frame is length and CRC-32 of the payload as two little-endian u32, then the payload: a MessagePack
array [kind, now_ns, body].
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import Any, TypeVar

import msgspec

from qts_agents.pads.actions import Answer
from qts_messaging.messages import Message, PerformanceFeedback, PhaseTransition, RiskAlert
from qts_messaging.records import Column

VERSION = 1
REMARK = "timings"  # the kind that the shell adds: neither an input nor what PADS made of one
FRAME = struct.Struct("<II")
HEAD = re.compile(rb"\x93[\xa1-\xbf][a-z]")  # how each payload begins: an array of three, a kind
_encoder = msgspec.msgpack.Encoder()
T = TypeVar("T")


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One record: header, bars, peers, message, tick, answers (what came in) or
    round, transition, alert, outcome (what PADS made of it) or timings (what the shell measured)."""

    kind: str
    now_ns: int
    body: msgspec.Raw


class Header(msgspec.Struct, frozen=True):
    """What a run began with."""

    version: int
    system: str
    config: dict[str, Any]
    seed: int
    versions: dict[str, str]
    state: bytes = b""


class Heard(msgspec.Struct, frozen=True):
    """A message that changed something."""

    sender: str
    message: Message


class Answers(msgspec.Struct, frozen=True):
    """What the asked peers said, late ones included."""

    round_id: str
    answers: tuple[Answer, ...]


class AlertBody(msgspec.Struct, frozen=True):
    """An alert and what became of it."""

    alert: RiskAlert
    accepted: bool
    why: str
    psi: float
    advice: str = ""


class TransitionBody(msgspec.Struct, frozen=True):
    """A judged proposal: the announcement or rejection, and the failing rule's number (0 = accepted)."""

    transition: PhaseTransition
    rule: int


class OutcomeBody(msgspec.Struct, frozen=True):
    """A resolved decision: what was sent to all, the scores, reputations and Shapley values after it."""

    feedback: PerformanceFeedback
    columns: dict[str, Column]
    reputation: dict[str, float]
    equity: float
    shapley: dict[str, float] = {}


class RoundBody(msgspec.Struct, frozen=True):
    """One round: the decision's bytes and everything that led to it."""

    round_id: str
    decision_id: str
    number: int
    asof_ns: int
    opened_ns: int
    decided_ns: int
    window_seq: int
    window_sha256: str
    seed: int
    outcome: str  # complete | expired: answers were missing | error: one was of no use | no_quorum: in no row
    reputation: dict[str, float]
    weights: dict[str, float]
    psi: float
    threshold: float
    safe: float
    regime: str
    panarchy: dict[str, Any]
    columns: dict[str, Column]
    factor_names: tuple[str, ...]
    overrides: tuple[str, ...]
    decision: bytes


class Timings(msgspec.Struct, frozen=True):
    """How long each stage of a round took, in order, by the clock of PADS (ns).

    open: from the bar or timer to PADS' wish for a round; ask: until the questions went out; votes: until
    all had answered or the deadline; decide; publish: until the decision was journalled and sent. A round
    that asks nobody has open, which contains its decision, and publish.
    """

    round_id: str
    stages: dict[str, int]


def encode(kind: str, now_ns: int, body: Any) -> bytes:
    """Return the payload of one record."""
    return _encoder.encode((kind, now_ns, body))


def decode(payload: bytes) -> Entry:
    """Return the record of a payload, its body still undecoded."""
    return msgspec.msgpack.decode(payload, type=Entry)


def body(entry: Entry, kind: type[T]) -> T:
    """Return the body of a record as `kind`."""
    return msgspec.msgpack.decode(entry.body, type=kind)


def frame(payload: bytes) -> bytes:
    """Return the payload with its length and checksum in front."""
    return FRAME.pack(len(payload), zlib.crc32(payload)) + payload
