"""What tracing costs a message: off, sampled at 1 %, and on a sampled one: `python -m bench.tracing --json`.

A message pays twice for its sender (context of the send, note of its span) and twice for its receiver. Spans
go through the batch processor to an exporter that throws them away; the peer is the SDK alone, for two spans.
A note alone stands beside the least that could hold its facts: a tuple appended to a deque.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence

from bench.harness import Row, run
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind

from qts_agents.round_notes import MOST, RoundNotes
from qts_agents.round_spans import answered, heard
from qts_core.telemetry import SAMPLED, Tracing, pack

FACTS = {"messaging.system": "zeromq", "messaging.destination.name": "votes", "qts.round": "r-1"}
SENT, HEARD = answered("qbmia")[-1], heard("qbmia")
#: one round has some ten messages
QUIET = [pack((n // 10).to_bytes(16), bytes(8), 0) for n in range(10_000)]
LOUD = pack(bytes(range(16)), bytes(range(8)), SAMPLED)
SLICE = 500
OFF_US, MEAN_US, SAMPLED_US, NOTE_US = 1.0, 2.0, 60.0, 0.3


class Count(SpanExporter):
    """Counts spans and forgets them."""

    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take a batch."""
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


def cost_us(call: Callable[[bytes], object], contexts: Sequence[bytes], rounds: int) -> float:
    """Return µs of a call beyond one that does nothing; the median of slices too short to be disturbed."""
    slices = [contexts[at : at + SLICE] for at in range(0, len(contexts), SLICE)]

    def once(call: Callable[[bytes], object], some: Sequence[bytes]) -> float:
        began = time.perf_counter_ns()
        for context in some:
            call(context)
        return (time.perf_counter_ns() - began) / len(some) / 1000

    def nothing(context: bytes) -> None:
        pass

    return statistics.median(once(call, some) - once(nothing, some) for _ in range(rounds) for some in slices)


def message_us(tracing: Tracing, contexts: Sequence[bytes], rounds: int) -> float:
    """Return µs that tracing adds to a message, for its sender and its receiver together."""
    notes = RoundNotes(tracing)

    def traced(context: bytes) -> None:
        sent = tracing.child(context, SENT.stage) or context
        notes.note(context, SENT, 1, 2, "r-1")
        tracing.child(sent, HEARD.stage)
        notes.note(sent, HEARD, 1, 2, "r-1")

    return cost_us(traced, contexts, rounds)


def off(smoke: bool) -> Row:
    """Tracing without an exporter: the state of every run that asks for none."""
    tracing = Tracing("pads", 1.0, None, Resource({}))
    value = message_us(tracing, QUIET, 3 if smoke else 31)
    return Row("tracing off, a message", round(value, 3), "us", goal=OFF_US)


def note(smoke: bool) -> Row:
    """One stage of a round that is not sampled."""
    rounds, floor = 3 if smoke else 31, deque[object](maxlen=MOST)
    notes = RoundNotes(Tracing("pads", 1.0, None, Resource({})))
    value = cost_us(lambda context: notes.note(context, SENT, 1, 2, "r-1"), QUIET, rounds)
    least = cost_us(lambda context: floor.append((context, SENT, 1, 2, "r-1")), QUIET, rounds)
    return Row("a note of a stage", round(value, 3), "us", "tuple into a deque", round(least, 3), NOTE_US)


def one_in_a_hundred(smoke: bool) -> Row:
    """An exporter is there, one message of a hundred is sampled."""
    rounds, exporter = 3 if smoke else 31, Count()
    tracing = Tracing("pads", 0.01, exporter, Resource({}))
    contexts = [LOUD if n % 100 == 0 else quiet for n, quiet in enumerate(QUIET)]
    value = message_us(tracing, contexts, rounds)
    tracing.close()
    agrees = exporter.spans == 200 * rounds
    return Row("tracing at 1 %, a message", round(value, 3), "us", goal=MEAN_US, agrees=agrees)


def sampled(smoke: bool) -> Row:
    """Every message is sampled: two spans each."""
    rounds, exporter, count = 3 if smoke else 31, Count(), 200
    tracing = Tracing("pads", 1.0, exporter, Resource({}))
    value = message_us(tracing, [LOUD] * count, rounds)
    tracing.close()
    provider = TracerProvider(ALWAYS_ON, Resource({}))
    provider.add_span_processor(BatchSpanProcessor(Count()))
    tracer, bare = provider.get_tracer("bare"), []
    for _ in range(rounds):
        began = time.perf_counter_ns()
        for _ in range(count):
            for name, kind in (("send votes", SpanKind.PRODUCER), ("process votes", SpanKind.CONSUMER)):
                tracer.start_span(name, kind=kind, start_time=1, attributes=FACTS).end(2)
        bare.append((time.perf_counter_ns() - began) / count / 1000)
    provider.shutdown()
    agrees = exporter.spans == 2 * count * rounds
    peer = round(statistics.median(bare), 1)
    return Row("tracing, a sampled message", round(value, 1), "us", "opentelemetry", peer, SAMPLED_US, agrees)


if __name__ == "__main__":
    sys.exit(run((off, note, one_in_a_hundred, sampled), __doc__ or ""))
