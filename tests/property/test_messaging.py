"""The fabric under any bytes and any sequence of events."""

from __future__ import annotations

import hypothesis.strategies as st
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from redis.crc import key_slot

from qts_messaging import codec, examples
from qts_messaging.accounts import Book, InCount, Inflow, OutCount, summary
from qts_messaging.messages import HIGH, LOW, NORMAL, Envelope
from qts_messaging.outbox import BOUNDS, Item, Outbox
from qts_messaging.reconcile import reconcile
from qts_messaging.redis_names import RedisNames
from qts_messaging.redis_streams import RedisStreams
from qts_messaging.sequence import Lane
from qts_messaging.tracing import pack, unpack

MESSAGES = examples.messages()
quick = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=60))
def test_all_keys_of_a_system_lie_in_one_slot(system: str) -> None:
    """Every key and channel the wires make has the hash slot of its system: a Cluster keeps them together."""
    names = RedisNames(system, "pads")
    streams = RedisStreams(lambda _: None, names, ("pads", "qbmia"), trims=True)
    keys = [*names.heard, *streams._keys, names.market, names.dead, names.channel("to.qbmia")]
    assert len(set(keys)) == 8
    assert {key_slot(key.encode()) for key in keys} == {key_slot(system.encode())}


@quick
@given(st.binary(max_size=2000))
def test_random_bytes_never_raise(frame: bytes) -> None:
    """Whatever comes in, the codec answers with a value."""
    assert isinstance(codec.decode(frame), codec.Rejected | Envelope)
    assert not isinstance(codec.decode_body(frame), Exception)


@quick
@given(st.sampled_from(MESSAGES), st.data())
def test_damaged_frames_never_raise(message: object, data: st.DataObject) -> None:
    """A cut or flipped frame is refused or read, never an exception."""
    whole = codec.encode(Envelope(id=bytes(16), sender="a", lane="b", body=message))  # type: ignore[arg-type]
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert isinstance(codec.decode(whole[:cut]), codec.Rejected)
    flipped = bytearray(whole)
    flipped[cut] ^= data.draw(st.integers(1, 255))
    assert isinstance(codec.decode(bytes(flipped)), codec.Rejected | Envelope)


@quick
@given(
    st.sampled_from(MESSAGES),
    st.binary(min_size=16, max_size=16),
    st.text(max_size=40),
    st.integers(0, 2**62),
    st.integers(0, 2**40),
    st.sampled_from([HIGH, NORMAL, LOW]),
    st.none() | st.binary(min_size=25, max_size=25),
)
def test_any_envelope_survives(
    message: object, ident: bytes, name: str, when: int, number: int, priority: int, trace: bytes | None
) -> None:
    """Encoding then decoding is the identity on valid envelopes."""
    sent = Envelope(
        id=ident,
        sender=name,
        recipient=name,
        correlation_id=ident,
        sent_ns=when,
        ttl_ms=number,
        deadline_ns=when,
        priority=priority,
        epoch=when,
        lane=name,
        sequence=number,
        trace=trace,
        body=message,  # type: ignore[arg-type]
    )
    assert sent == codec.decode(codec.encode(sent))


@quick
@given(st.integers(0, 2**128 - 1), st.integers(0, 2**64 - 1), st.integers(0, 255))
def test_trace_context_round_trip(trace_id: int, span_id: int, flags: int) -> None:
    """Packing and unpacking any context returns it."""
    assert (trace_id, span_id, flags) == unpack(pack(trace_id, span_id, flags))


@quick
@given(st.lists(st.integers(1, 60), max_size=200), st.data())
def test_a_lane_knows_exactly_what_it_has_seen(numbers: list[int], data: st.DataObject) -> None:
    """In any order, with any sweeps between, each number is news once and (base, high] is explained."""
    lane = Lane(numbers[0] - 1 if numbers else 0)
    seen: set[int] = set()
    for now, number in enumerate(numbers):
        assert (number not in seen) == lane.observe(number, now)
        seen.add(number)
        if data.draw(st.booleans()):
            lane.sweep(now, data.draw(st.integers(0, 5)))
        assert lane.high - lane.base == len(seen) + len(lane.holes) + lane.gap


@quick
@given(st.lists(st.tuples(st.sampled_from([HIGH, NORMAL, LOW]), st.integers(0, 4)), max_size=300))
def test_an_outbox_neither_loses_nor_invents(entries: list[tuple[int, int]]) -> None:
    """Taken + dropped + refused + expired + queued = put; no bound is passed."""
    box = Outbox({HIGH: 20, NORMAL: 20, LOW: 10})
    ended = 0
    for n, (priority, ttl) in enumerate(entries):
        item = Item(id=b"", kind="k", lane="l", body=b"%d" % n, priority=priority, ttl_ms=ttl)
        taken, victim = box.put(item)
        ended += (not taken) + (victim is not None)
        if n % 7 == 6:
            left, late = box.take(2_000_000)
            ended += len(late) + (left is not None)
        assert all(box.depth(p) <= BOUNDS[p] for p in BOUNDS)
    assert ended + len(box) == len(entries)


class Accounts(RuleBasedStateMachine):
    """Two processes, one lane, a wire that may do anything; both books always balance."""

    def __init__(self) -> None:
        super().__init__()
        self.sender, self.receiver = Book("a", 1, 0), Book("b", 1, 0)
        self.key = ("a", 1, "to.b")
        self.waiting = 0
        self.wire: list[int] = []
        self.working: list[Inflow] = []
        self.now = 0

    @rule()
    def accept(self) -> None:
        """A caller hands a message over."""
        self.sender.accepted("to.b", "k", "b")
        self.waiting += 1

    @rule(reason=st.sampled_from(["expired", "full", "no_route", "shutdown"]))
    def end_here(self, reason: str) -> None:
        """One of the waiting never leaves."""
        if self.waiting:
            self.waiting -= 1
            self.sender.unsent("to.b", "k", "b", reason)

    @rule(copies=st.integers(0, 3))
    def leave(self, copies: int) -> None:
        """One leaves; the wire loses it, carries it, or carries it more than once."""
        if self.waiting:
            self.waiting -= 1
            self.wire += [self.sender.out["to.b"].left + 1] * copies
            self.sender.left("to.b", "k", "b", self.now)

    @rule(copies=st.integers(0, 3))
    def pass_through(self, copies: int) -> None:
        """One is accepted and leaves in the same step."""
        out = self.sender.out["to.b"]
        self.wire += [out.left + 1] * copies
        out.passed("k", "b", self.now)

    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        """Any frame of the wire arrives next."""
        if self.wire:
            number = self.wire.pop(data.draw(st.integers(0, len(self.wire) - 1)))
            flow = self.receiver.arrived(self.key, number, self.now)
            if flow is not None:
                self.working.append(flow)

    @rule(outcome=st.sampled_from(["delivered", "expired", "dead_letter", "handler_error", "late"]))
    def finish(self, outcome: str) -> None:
        """A handler ends."""
        if self.working:
            self.working.pop().finished("k", outcome)

    @rule(seconds=st.integers(0, 4))
    def wait(self, seconds: int) -> None:
        """Time passes and old holes are given up."""
        self.now += seconds
        for flow in self.receiver.into.values():
            flow.track.sweep(self.now, 2)

    @rule()
    def heartbeat(self) -> None:
        """The receiver learns the high-water mark."""
        high = self.sender.high_water().get("to.b", 0)
        if high:
            self.receiver.heard_high(self.key, high, self.now)

    @invariant()
    def both_balance(self) -> None:
        """Both equations hold after every event."""
        for book in (self.sender, self.receiver):
            assert summary(book.record()).unaccounted == 0
        total = reconcile([self.sender.record(), self.receiver.record()])
        lost = sum(total.lost.values())
        assert total.sent == total.delivered + lost + total.in_flight + total.unaccounted
        assert total.unaccounted == 0
        msgspec.json.decode(msgspec.json.encode(total))

    @invariant()
    def what_is_told_by_type_is_what_the_lane_says(self) -> None:
        """On both sides; ends that nothing met are not told."""
        out = self.sender.out["to.b"].told()
        sides: list[tuple[Book, dict[str, int], InCount | OutCount]] = [
            (self.sender, {"accepted": out.accepted, "sent": out.left, "expired": out.expired}, out)
        ]
        for flow in self.receiver.into.values():
            into = flow.told()
            ends = {end: getattr(into, end) for end in ("delivered", "expired", "dead_letter")}
            sides.append((self.receiver, ends, into))
        for book, ends, told in sides:
            by_type = {key.split("/")[3]: n for key, n in book.as_counts().items()}
            assert by_type == {end: n for end, n in (ends | told.dropped).items() if n}


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
