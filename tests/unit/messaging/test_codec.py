"""What the codec accepts, what it refuses, and that it never raises on bytes from outside."""

from __future__ import annotations

import typing

import msgspec
import pytest

from qts_messaging import codec, examples
from qts_messaging.messages import KIND, DecisionRequest, Envelope, Message, SystemCommand
from qts_messaging.records import Body, Column, Position

ID = bytes(range(16))


def envelope(body: Message | None, **fields: object) -> Envelope:
    """Return an envelope of `body` with usual fields."""
    usual: dict[str, object] = {"id": ID, "sender": "quasar", "lane": "to.pads", "sequence": 7}
    return Envelope(body=body, **(usual | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("message", examples.messages(), ids=lambda m: KIND[type(m)])
def test_every_type_survives_the_wire(message: Message) -> None:
    """Encoding and decoding returns an equal envelope."""
    sent = envelope(message, trace=bytes(25), correlation_id=ID[::-1])
    assert sent == codec.decode(codec.encode(sent))


def test_an_encoded_body_gives_the_same_bytes() -> None:
    """The path that encodes the body once and the plain one agree byte for byte."""
    message = examples.messages()[1]
    whole = codec.encode(envelope(message))
    assert whole == codec.encode(envelope(codec.encoded(codec.encode_body(message))))


def test_a_vote_fits_into_256_bytes_when_its_actions_are_short() -> None:
    """A one-symbol vote with its envelope stays within the wire budget beside its names."""
    names = sum(len(name) + 1 for name in examples.vote().actions)
    frame = codec.encode(
        envelope(examples.messages()[1], recipient="pads", correlation_id=ID, trace=bytes(25))
    )
    assert len(frame) - names <= 256


def reason(frame: bytes) -> str:
    """Return why `frame` is refused."""
    found = codec.decode(frame)
    assert isinstance(found, codec.Rejected)
    return found.reason


@pytest.mark.parametrize(
    "frame", [b"", b"\xc1", b"hello", b"\x90", b"\x91\x01", b"\xff" * 100, b"\x91" * 5000]
)
def test_garbage_is_refused(frame: bytes) -> None:
    """Bytes that are no envelope are refused as undecodable, nested ones included."""
    assert reason(frame) == "decode"


def test_too_large_is_refused_before_it_is_read() -> None:
    """A frame above 1 MiB is refused by its length alone."""
    assert reason(bytes(codec.LIMIT + 1)) == "too_large"


def test_another_version_keeps_its_header() -> None:
    """A frame of a later version is refused as such, and its sender and number are known."""
    found = codec.decode(codec.encode(envelope(SystemCommand("drain"), version=2)))
    assert isinstance(found, codec.Rejected)
    assert found.reason == "version"
    assert found.header is not None
    assert (found.header.sender, found.header.sequence) == ("quasar", 7)


def test_an_unknown_type_keeps_its_header() -> None:
    """A type that is not in the catalogue is refused by decode and closes its lane's account."""
    raw = msgspec.msgpack.decode(codec.encode(envelope(SystemCommand("drain"))))
    raw[-1][0] = "system_takeover"
    found = codec.decode(msgspec.msgpack.encode(raw))
    assert isinstance(found, codec.Rejected)
    assert "system_takeover" in found.text
    assert found.header is not None


@pytest.mark.parametrize(
    "column",
    [
        ["f8", [2], bytes(8)],
        ["f8", [1], b""],
        ["O", [1], bytes(8)],
        ["u1", [0], b"x"],
        ["f8", [-1, -1], bytes(8)],
        ["f8", [1, 1, 1, 1, 1], bytes(8)],
        ["f8", [2**63, 2], b""],
    ],
)
def test_a_column_that_lies_about_its_size_is_refused(column: list[object]) -> None:
    """dtype times shape must be the number of bytes, wherever the column sits."""
    raw = msgspec.msgpack.decode(codec.encode(envelope(examples.messages()[0])))
    body = raw[-1]
    at = 1 + DecisionRequest.__struct_fields__.index("flat_share")
    honest, body[at] = body[at], column
    assert reason(msgspec.msgpack.encode(raw)) == "decode"
    body[at] = honest
    assert isinstance(codec.decode(msgspec.msgpack.encode(raw)), Envelope)
    body[1 + DecisionRequest.__struct_fields__.index("position")][0] = column
    assert reason(msgspec.msgpack.encode(raw)) == "decode"


HOLDERS = {
    each: [name for name, kind in typing.get_type_hints(each).items() if "Column" in str(kind)]
    for each in Body.__subclasses__()
}


@pytest.mark.parametrize("kind", [each for each, names in HOLDERS.items() if names], ids=lambda k: k.__name__)
def test_no_process_can_make_a_record_with_a_column_that_lies(kind: type[Body]) -> None:
    """Every column of every record is compared with its size: the sender learns of its own mistake."""
    honest = dict.fromkeys(kind.__struct_fields__, None) | dict.fromkeys(HOLDERS[kind], examples.floats(1.0))
    kind(**honest)
    for name in HOLDERS[kind]:
        with pytest.raises(ValueError, match="8 bytes for f8 of shape"):
            kind(**honest | {name: Column("f8", (2,), bytes(8))})


LIES = {
    "p": [Column("f4", (1, 3), bytes(24)), Column("f8", (2, 3), bytes(24)), Column("f8", (1, 3), bytes(16))],
    "action": [Column("u2", (1,), bytes(1)), Column("u1", (2,), bytes(1)), Column("u1", (1,), bytes(2))],
    "confidence": [Column("f4", (1,), bytes(8)), Column("f8", (2,), bytes(8)), Column("f8", (1,), bytes(16))],
    "abstain": [Column("u1", (1,), bytes(2)), Column("u2", (2,), bytes(2)), Column("u2", (1,), bytes(4))],
    "contrib": [Column("f8", (2, 3), bytes(24))],
}


@pytest.mark.parametrize(("name", "lie"), [(name, lie) for name, lies in LIES.items() for lie in lies])
def test_a_vote_whose_columns_lie_is_refused(name: str, lie: Column) -> None:
    """In the layout that votes have, which is asked at once: dtype, shape and bytes of each column."""
    with pytest.raises(ValueError, match="bytes for"):
        msgspec.structs.replace(examples.vote(), **{name: lie})


SIZED = [Column("f4", (1,), bytes(8)), Column("f8", (2,), bytes(8)), Column("f8", (1,), bytes(16))]


@pytest.mark.parametrize("name", HOLDERS[Position])
def test_a_position_whose_columns_lie_is_refused(name: str) -> None:
    """The same for the account that every request carries; another honest layout is taken."""
    position = examples.messages()[0].position
    for lie in SIZED:
        with pytest.raises(ValueError, match="bytes for"):
            msgspec.structs.replace(position, **{name: lie})
    other = Column("u1", (2, 2), bytes(4))
    assert getattr(msgspec.structs.replace(position, **{name: other}), name) == other


def test_a_vote_may_have_another_layout() -> None:
    """Each column is asked on its own then."""
    other = {"action": Column("u2", (1,), bytes(2)), "contrib": Column("f8", (1, 2), bytes(16))}
    assert msgspec.structs.replace(examples.vote(), **other).contrib == other["contrib"]


@pytest.mark.parametrize(
    "fields",
    [
        {"id": b"short"},
        {"trace": bytes(24)},
        {"sequence": -1},
        {"priority": 9},
        {"sender": "x" * 5000},
        {"correlation_id": bytes(17)},
    ],
)
def test_fields_out_of_their_limits_are_refused(fields: dict[str, object]) -> None:
    """Lengths and ranges of the envelope hold for what comes from outside."""
    assert reason(codec.encode(envelope(SystemCommand("drain"), **fields))) == "decode"


def test_long_arrays_are_refused() -> None:
    """More than 4,096 symbols are refused by the decoder."""
    message = msgspec.structs.replace(examples.messages()[3], scope=("X",) * 5000)
    assert reason(codec.encode(envelope(message))) == "decode"


def test_a_body_alone_is_checked_too() -> None:
    """The market snapshot's entries pass the same checks."""
    update = examples.update()
    assert update == codec.decode_body(codec.encode_body(update))
    raw = msgspec.msgpack.decode(codec.encode_body(update))
    raw[1 + type(update).__struct_fields__.index("close")] = ["f8", [3, 3], b""]
    assert isinstance(codec.decode_body(msgspec.msgpack.encode(raw)), codec.Rejected)
