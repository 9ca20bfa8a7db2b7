"""Notes of rounds: what is kept is written once and whole, whatever the order of notes and words to keep."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Event
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from qts_agents import round_notes, round_spans
from qts_agents.round_notes import CAP_NS, KEPT, ROUNDS, Cap, RoundNotes, worth
from qts_core.spans import QUEUE
from qts_core.telemetry import SAMPLED, Tracing, pack

STAGES = (round_spans.BAR_PROCESSED, round_spans.DECIDED, round_spans.heard("qbmia"))
traces = st.integers(0, 11)
steps = st.lists(st.tuples(st.sampled_from(("note", "keep")), traces), max_size=120)


def context(number: int) -> bytes:
    """Return the context of a trace; every fourth one is sampled."""
    return pack(number.to_bytes(16), bytes(8), 0 if number % 4 else SAMPLED)


@given(steps, st.integers(1, 12), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_a_kept_round_is_written_once_with_all_that_was_noted(steps: Any, rounds: int, kept: int) -> None:
    """Against a model: sampled notes at once, others with the word to keep and from then on, oldest forgotten."""
    before, exporter = (round_notes.ROUNDS, round_notes.KEPT), InMemorySpanExporter()
    round_notes.ROUNDS, round_notes.KEPT = rounds, kept
    try:
        notes = RoundNotes(Tracing("pads", 1.0, exporter, Resource.create({})))
        held: OrderedDict[int, list[int]] = OrderedDict()
        listed: OrderedDict[int, list[int]] = OrderedDict()
        live: set[int] = set()  # traces of the ring whose notes are spans at once
        wanted: list[tuple[int, int]] = []
        for at, (what, number) in enumerate(steps):
            known = what == "note" or number not in listed
            if known and number not in held:
                held[number] = []
                live.discard(number)
                if len(held) > rounds:
                    held.popitem(last=False)
            if what == "note":
                notes.note(context(number), STAGES[at % 3], at, at + 1)
                held[number].append(at)
                if not number % 4 or number in live:
                    wanted.append((number, at))
            else:
                notes.keep(context(number), f"r{number}", "slow")
                if number not in listed:
                    listed[number] = held[number]
                    if number % 4 and number not in live:
                        wanted += [(number, each) for each in held[number]]
                        live.add(number)
                    if len(listed) > kept:
                        listed.popitem(last=False)
        notes._tracing.close()
        assert [(s.context.trace_id, s.start_time) for s in exporter.get_finished_spans()] == wanted
        told = [(r.round_id, [part.start_ns for part in r.stages]) for r in notes.told().rounds]
        assert told == [(f"r{number}", starts) for number, starts in listed.items()]
    finally:
        round_notes.ROUNDS, round_notes.KEPT = before


def test_the_ring_and_the_list_keep_to_their_size() -> None:
    """As many rounds as the design says, and no more, with and without an exporter."""
    notes = RoundNotes(Tracing("amos", 1.0, None, Resource.create({})))
    for number in range(3 * ROUNDS):
        for _ in range(3):
            notes.note(context(number), STAGES[0], 1, 2)
    assert len(notes._noted) == len(notes._takes) == len(notes._order) == ROUNDS
    notes.keep(context(2 * ROUNDS), "first")  # the oldest that is known
    notes.keep(context(2 * ROUNDS - 1), "gone")
    for number in range(3 * ROUNDS - KEPT, 3 * ROUNDS):
        notes.keep(context(number), str(number))
    told = notes.told().rounds
    assert [len(each.stages) for each in told] == [3] * KEPT
    assert told[-1].round_id == str(3 * ROUNDS - 1)
    for _ in range(10_000):
        notes.note(context(0), STAGES[0], 1, 2)
    assert len(notes._noted[context(0)[:16]]) == round_notes.MOST


class Stuck(SpanExporter):
    """A collector that does not answer until it is let, and then refuses."""

    def __init__(self) -> None:
        self.answers = Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Wait."""
        self.answers.wait(60)
        return SpanExportResult.FAILURE


def test_a_dead_collector_holds_nobody_up_and_what_it_misses_is_counted() -> None:
    """More spans than the queue holds are written while it stands still; none is waited for, all are counted."""
    exporter = Stuck()
    tracing = Tracing("pads", 1.0, exporter, Resource.create({}))
    notes, rounds = RoundNotes(tracing), QUEUE // round_notes.MOST + 40
    for number in range(rounds):
        for _ in range(round_notes.MOST):
            notes.note(context(4 * number + 1), STAGES[0], 1, 2)
        notes.keep(context(4 * number + 1), str(number))
    assert tracing.dropped > 0
    assert len(notes.told().rounds) == KEPT
    exporter.answers.set()
    tracing.close()
    assert tracing.dropped == rounds * round_notes.MOST


@given(st.lists(st.integers(0, 3 * CAP_NS), max_size=60))
def test_at_most_one_round_a_second_is_kept(gaps: list[int]) -> None:
    """Never two within a second, and none is refused without one in the second before it."""
    cap, now, taken = Cap(), 5 * CAP_NS, list[int]()
    for gap in gaps:
        now += gap
        room = not taken or now - taken[-1] >= CAP_NS
        assert cap.take(now) is room
        if room:
            taken.append(now)


@given(st.sampled_from(("complete", "expired", "error", "no_quorum")), st.floats(0, 10), st.floats(0.01, 10))
def test_what_went_wrong_or_took_half_its_time_is_worth_keeping(
    outcome: str, took: float, limit: float
) -> None:
    """By its own name where it went wrong, else as slow, exactly half its time being well."""
    why = worth(outcome, took, limit)
    assert why == (outcome if outcome != "complete" else "slow" if took > limit / 2 else "")
    assert worth("complete", limit / 2, limit) == ""
