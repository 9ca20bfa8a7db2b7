"""The pure machines of the bus: correlation, outbox, sequence, heartbeat, reconnect, trace, trimming."""

from __future__ import annotations

import pytest

from qts_core.spec import SYSTEM
from qts_messaging import examples, tracing
from qts_messaging.beacon import BEACON_BYTES, BEACON_S, OVERTAKEN, SILENT, Beacon, is_beacon
from qts_messaging.correlation import Correlation
from qts_messaging.heartbeat import Peers
from qts_messaging.messages import HIGH, KIND, LOW, NORMAL, DecisionResponse, lifetime_ms
from qts_messaging.outbox import Item, Outbox
from qts_messaging.reconnect import Backoff, Failover
from qts_messaging.sequence import RANGES, Lane
from qts_messaging.trimming import entry_id, limit

S = 1_000_000_000


def item(number: int, priority: int = NORMAL, **fields: object) -> Item:
    """Return a queued message whose body is its number."""
    return Item(id=bytes(16), kind="k", lane="to.x", body=b"%d" % number, priority=priority, **fields)  # type: ignore[arg-type]


# -- correlation ----------------------------------------------------------------------------------------
def test_an_answer_finds_its_request_once() -> None:
    """The first answer is the answer; a second one with the same id is unknown."""
    table: Correlation[str] = Correlation()
    table.register(b"a", "quasar", "token", S, S)
    assert table.resolve(b"a", "quasar") == ("answer", "token")
    assert table.resolve(b"a", "quasar") == ("unknown", None)


def test_nobody_answers_for_another() -> None:
    """An answer of a peer that was not asked leaves the request open."""
    table: Correlation[str] = Correlation()
    table.register(b"a", "quasar", "token", S, S)
    assert table.resolve(b"a", "qbmia") == ("unknown", None)
    assert len(table) == 1


def test_an_answer_after_the_deadline_is_late_then_forgotten() -> None:
    """The tombstone lives for twice the time-out."""
    table: Correlation[str] = Correlation()
    table.register(b"a", "quasar", "token", S, S)
    assert table.expire(S - 1) == []
    assert table.expire(S) == ["token"]
    assert table.resolve(b"a", "quasar") == ("late", None)
    table.expire(3 * S)
    assert table.resolve(b"a", "quasar") == ("unknown", None)


def test_the_table_tells_when_to_look_again() -> None:
    """At the next deadline, else when the next tombstone is forgotten; never when it is empty."""
    table: Correlation[str] = Correlation()
    assert table.earliest() is None
    table.register(b"late", "quasar", "token", 9 * S, 9 * S)
    table.register(b"soon", "quasar", "token", S, S)
    assert table.earliest() == S
    table.expire(S)
    assert table.earliest() == 3 * S
    table.expire(3 * S)
    assert table.earliest() == 9 * S


def test_the_table_is_bounded_and_a_dead_peer_fails_at_once() -> None:
    """One more than the bound is refused; requests to a dead peer are given up together."""
    table: Correlation[int] = Correlation(bound=3)
    assert [table.register(b"%d" % i, "a" if i < 2 else "b", i, S, S) for i in range(4)] == [True] * 3 + [
        False
    ]
    assert table.fail_peer("a") == [0, 1]
    assert len(table) == 1


def test_so_many_requests_are_out_and_so_many_late_ones_known() -> None:
    """4,096 at once, as the design says; of requests given up the oldest beyond the bound is forgotten."""
    table: Correlation[int] = Correlation()
    taken = [table.register(b"%d" % i, "a", i, S, S) for i in range(4097)]
    assert (sum(taken), taken[-1]) == (4096, False)
    small: Correlation[int] = Correlation(bound=2)
    for i in range(3):
        small.register(b"%d" % i, "a", i, S, S)
        assert small.fail(b"%d" % i) == i
    assert [small.resolve(b"%d" % i, "a")[0] for i in range(3)] == ["unknown", "late", "late"]


def test_a_request_that_is_not_out_cannot_be_given_up() -> None:
    """Nobody is told, and an answer to it stays unknown."""
    table: Correlation[str] = Correlation()
    assert table.fail(b"a") is None
    assert table.resolve(b"a", "quasar") == ("unknown", None)


# -- outbox ---------------------------------------------------------------------------------------------
def test_urgent_leaves_first_and_low_does_not_starve() -> None:
    """Order is high, normal, low, with one low message within every 32."""
    box = Outbox()
    for n in range(40):
        box.put(item(n, HIGH))
    box.put(item(100, LOW))
    order = [taken.body for _ in range(41) if (taken := box.take(0)[0]) is not None]
    assert order.index(b"100") == 31
    assert [b for b in order if b != b"100"] == [b"%d" % n for n in range(40)]


def test_high_refuses_when_full_and_low_drops_the_oldest() -> None:
    """A full queue of urgent messages tells the caller; bars make room for newer ones."""
    box = Outbox({HIGH: 2, NORMAL: 2, LOW: 2})
    assert [box.put(item(n, HIGH))[0] for n in range(3)] == [True, True, False]
    dropped = [box.put(item(n, LOW, drop="newest_wins"))[1] for n in range(3)]
    assert [d.body for d in dropped if d] == [b"0"]


def test_normal_drops_heartbeats_before_others() -> None:
    """A full normal queue gives up its oldest AGENT_STATUS first."""
    box = Outbox({HIGH: 2, NORMAL: 2, LOW: 2})
    box.put(item(1))
    box.put(item(2, drop="newest_wins"))
    _, victim = box.put(item(3))
    assert victim is not None
    assert victim.body == b"2"


@pytest.mark.parametrize(("fields", "alive_until"), [({"ttl_ms": 5}, 5_000_000), ({"deadline_ns": 7}, 7)])
def test_what_is_too_old_does_not_leave(fields: dict[str, int], alive_until: int) -> None:
    """TTL and deadline are checked at the moment of leaving."""
    box = Outbox()
    box.put(item(1, **fields))
    taken, late = box.take(alive_until)
    assert (taken, len(late)) == (None, 1)
    box.put(item(1, **fields))
    assert box.take(alive_until - 1)[0] is not None


def test_a_lifetime_begins_when_the_message_was_accepted() -> None:
    """5 ms from 8 s on, to the nanosecond."""
    box = Outbox()
    for until, leaves in ((8 * S + 4_999_999, True), (8 * S + 5_000_000, False)):
        box.put(item(1, ttl_ms=5, accepted_ns=8 * S))
        assert (box.take(until)[0] is not None) is leaves


@pytest.mark.parametrize(("priority", "bound"), [(HIGH, 1024), (NORMAL, 1024), (LOW, 256)])
def test_an_outbox_holds_what_the_design_says(priority: int, bound: int) -> None:
    """1,024 urgent, 1,024 ordinary and 256 slow messages; it counts what it holds."""
    box = Outbox()
    found = [box.put(item(n, priority)) for n in range(bound + 1)]
    assert [n for n, (taken, victim) in enumerate(found) if not taken or victim] == [bound]
    assert (len(box), box.depth(priority)) == (bound, bound)
    box.put_back(box.take(0)[0] or item(0))
    assert (len(box), box.depth(priority)) == (bound, bound)


# -- sequence -------------------------------------------------------------------------------------------
def test_a_hole_is_a_loss_after_its_grace_and_may_still_be_found() -> None:
    """A number that comes late takes its loss back."""
    lane = Lane(0)
    assert [lane.observe(n, 0) for n in (1, 2, 5, 5, 2)] == [True, True, True, False, False]
    assert lane.sweep(9, 10) == 0
    assert lane.sweep(10, 10) == 2
    assert lane.gap == 2
    assert lane.observe(3, 11) is True
    assert (lane.gap, lane.observe(3, 12)) == (1, False)


def test_a_heartbeat_shows_a_loss_at_the_tail() -> None:
    """The high-water mark opens holes for what never came."""
    lane = Lane(0)
    lane.observe(1, 0)
    lane.note_high(4, 0)
    assert len(lane.holes) == 3


def test_an_older_number_extends_the_lane_downwards() -> None:
    """A replay of earlier messages after a live copy is news, not duplicates."""
    lane = Lane(9)
    lane.observe(10, 0)
    assert [lane.observe(n, 0) for n in (7, 8, 9)] == [True, True, True]
    assert (lane.base, lane.high, len(lane.holes)) == (6, 10, 0)


def test_a_long_absence_is_bounded() -> None:
    """A hole costs the same however long it is, and each of its numbers is known when it comes."""
    lane = Lane(0)
    lane.observe(1, 0)
    lane.observe(2**62, 0)
    assert (len(lane.holes), lane.gap) == (2**62 - 2, 0)
    assert [lane.observe(n, 1) for n in (2, 7, 2**62 - 1, 7)] == [True, True, True, False]
    assert lane.sweep(100, 10) == 2**62 - 5
    assert lane.observe(8, 101) is True
    assert lane.gap == 2**62 - 6


def test_many_holes_are_bounded() -> None:
    """Beyond the bound the oldest holes are losses at once; their numbers may still be found."""
    lane = Lane(0)
    for sequence in range(2, 20 * RANGES, 2):
        lane.observe(sequence, sequence)
    assert (len(lane.holes), lane.gap) == (RANGES, 10 * RANGES - 1 - RANGES)
    assert lane.observe(20 * RANGES - 3, 0) is True
    assert lane.high - lane.base == 10 * RANGES + len(lane.holes) + lane.gap


def test_a_reader_far_behind_a_heartbeat_takes_everything() -> None:
    """Thousands that wait in a stream are known to be sent; none of them counts as a copy when it comes."""
    lane = Lane(0)
    lane.note_high(5_000, 0)
    assert all(lane.observe(n, 1) for n in range(1, 5_001))
    assert (len(lane.holes), lane.gap) == (0, 0)


# -- heartbeat ------------------------------------------------------------------------------------------
def test_three_missed_heartbeats_are_suspect_six_are_dead() -> None:
    """The states change at 15 s and 30 s; any sign of life brings a peer back."""
    peers = Peers(("quasar",), 0)
    assert peers.health("quasar", 0).state == "suspect"
    peers.heard["quasar"] = 0
    states = [peers.health("quasar", t * S).state for t in (14, 15, 29, 30)]
    assert states == ["alive", "suspect", "suspect", "dead"]
    peers.heard["quasar"] = 40 * S
    assert peers.health("quasar", 41 * S).state == "alive"


def test_a_clock_that_is_off_is_corrected() -> None:
    """Ages are taken by the smallest offset; one from the future counts as skew."""
    peers = Peers(("b",), 0)
    for delay in (3, 1, 2):
        peers.sample("b", 0, 10 * S + delay)
    assert peers.offset_ns("b") == 10 * S + 1
    second = 1000  # ms
    assert peers.too_old("b", 0, second, 0, 11 * S + 1)
    assert not peers.too_old("b", 0, second, 0, 11 * S)
    assert not peers.too_old("b", 20 * S, 1, 0, 0)
    assert peers.skewed == {"b": 1}


def test_a_clock_that_is_set_is_followed_and_a_delay_is_none() -> None:
    """The least of sixty samples would count for five minutes more, and all with a TTL be too old for as long."""
    peers = Peers(("b",), 0)
    for _ in range(20):
        peers.sample("b", 30 * S, 0)  # the peer's clock is 30 s ahead
    for _ in range(2):
        peers.sample("b", 0, 10 * S)  # a delay, as far as anybody knows
    assert peers.offset_ns("b") == -30 * S
    peers.sample("b", 0, 0)
    assert peers.offset_ns("b") == 0, "it was set right"
    peers.sample("b", 30 * S, 0)
    assert peers.offset_ns("b") == -30 * S, "a clock that is set forward shows at once"


def test_another_process_of_a_name_has_another_clock() -> None:
    """A pod that comes back on another node begins anew with its first heartbeat."""
    peers = Peers(("b",), 0)
    peers.sample("b", 30 * S, 0, 1)
    peers.sample("b", 0, 0, 2)
    assert peers.offset_ns("b") == 0


def test_a_message_is_too_old_when_its_ttl_or_its_deadline_is_over() -> None:
    """Either is enough, at the moment itself; one that is not set never ends."""
    peers = Peers(("b",), 0)
    assert [peers.too_old("b", 0, 1, 0, now) for now in (999_999, 1_000_000)] == [False, True]
    assert [peers.too_old("b", 0, 0, 7, now) for now in (6, 7)] == [False, True]
    assert [peers.too_old("b", 0, 1, 7, now) for now in (6, 7)] == [False, True]
    assert not peers.too_old("b", 0, 0, 0, 2**62)


def test_a_subscription_that_hears_nothing_is_deaf() -> None:
    """So many beacons after which nothing came are enough, and no fewer; a third of 3 s is left for late loops."""
    mine = Beacon(1, ("m", "s"))
    for _ in range(SILENT):
        assert not mine.deaf
        mine.next()
    assert mine.deaf
    assert (SILENT + 1) * BEACON_S <= 2.0
    mine.restart()
    assert not mine.deaf


def test_a_pattern_that_others_overtake_is_deaf() -> None:
    """Later beacons by another pattern prove what is missing; beacons of others prove nothing."""
    mine, other = Beacon(1, ("m", "s")), Beacon(2, ("m", "s"))
    for _ in range(OVERTAKEN):
        assert not mine.deaf
        sent = mine.next()
        mine.heard("m", sent)
        mine.heard("s", other.next())
    assert mine.deaf
    mine.heard("s", sent)
    assert not mine.deaf
    assert (len(sent), is_beacon(sent), is_beacon(b"x" * BEACON_BYTES)) == (24, True, False)


def test_a_subscription_with_much_to_read_is_not_deaf() -> None:
    """While messages come the beacons may be behind them."""
    mine = Beacon(1, ("m", "s"))
    for _ in range(5 * SILENT):
        mine.next()
        mine.sign()
        assert not mine.deaf


# -- reconnect ------------------------------------------------------------------------------------------
def test_backoff_doubles_to_its_cap() -> None:
    """The ceiling grows 0.05, 0.1, 0.2 … 1 s and the draw scales it."""
    backoff = Backoff()
    assert [round(backoff.next(1.0), 3) for _ in range(7)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert backoff.next(0.0) == 0.0


def test_failover_goes_at_once_and_returns_after_five_seconds_of_health() -> None:
    """A flapping first choice does not draw traffic back."""
    route = Failover()
    assert route.choose((True, True), 0) == 0
    assert route.choose((False, True), 1) == 1
    assert route.choose((True, True), S) == 1
    assert route.choose((False, True), 2 * S) == 1
    assert route.choose((True, True), 3 * S) == 1
    assert route.choose((True, True), 8 * S) == 0
    assert route.choose((False, False), 9 * S) is None
    assert route.switches == 2


# -- trace, ttl, trimming -------------------------------------------------------------------------------
def test_trace_context_is_25_bytes_and_its_bit_is_tested_alone() -> None:
    """Other bits in the flags do not hide the sampled one."""
    context = tracing.pack(2**127, 2**63, 0x03)
    assert (len(context), tracing.unpack(context)) == (25, (2**127, 2**63, 3))
    assert tracing.sampled(context)
    assert not tracing.sampled(tracing.pack(1, 1, 0x02))
    assert not tracing.sampled(None)
    with pytest.raises(ValueError, match="25 bytes"):
        tracing.unpack(b"short")


def test_span_ids_are_the_same_everywhere() -> None:
    """Every process computes the same id for a stage, another one for another stage."""
    context = tracing.child(tracing.pack(5, 1, 1), "pads", "round")
    assert tracing.unpack(context) == (5, tracing.span_id(5, "pads", "round"), 1)
    assert tracing.span_id(5, "pads", "round") != tracing.span_id(5, "pads", "vote")


def test_ttl_follows_the_type_and_the_settings() -> None:
    """Each type's time to live comes from its route."""
    system = SYSTEM(decision_timeout=2.0, market_update_interval=0.5)
    found = {KIND[type(m)]: lifetime_ms(type(m), system, addressed=True) for m in examples.messages()}
    assert found == {
        "decision_request": 2000,
        "decision_response": 2000,
        "phase_transition": 60_000,
        "risk_alert": 0,
        "performance_feedback": 0,
        "market_update": 2500,
        "agent_status": 15_000,
        "system_command": 60_000,
    }
    assert lifetime_ms(DecisionResponse, system, addressed=False) == 0


def test_a_stream_is_not_cut_past_a_group_until_it_is_old() -> None:
    """The younger of age and excess is cut; what a group still needs stays, but no longer than the age allows."""
    assert entry_id(b"12-3") == (12, 3)
    assert limit((10, 0), None, []) == (10, 0)
    assert limit((10, 0), (20, 5), [(30, 0)]) == (20, 5)
    assert limit((10, 0), (20, 5), [(30, 0), (15, 2)]) == (15, 2)
    assert limit((10, 0), (20, 5), [(30, 0), (9, 9)]) == (10, 0)
    assert limit((10, 0), None, [(3, 0)]) == (10, 0)
