"""What tracing costs a message: off, sampled at 1 %, and on a sampled one: `python -m bench.tracing --json`.

A message pays twice for its sender (context of the send, its span) and twice for its receiver. Spans go
through the batch processor to an exporter that throws them away; the peer is the SDK alone, for two spans.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence

from bench.harness import Row, run
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind

from qts_core.telemetry import SAMPLED, Tracing, pack

FACTS = {"messaging.system": "zeromq", "messaging.destination.name": "votes", "qts.round": "r-1"}
QUIET, LOUD = pack(bytes(16), bytes(8), 0), pack(bytes(range(16)), bytes(range(8)), SAMPLED)
OFF_US, MEAN_US, SAMPLED_US = 1.0, 2.0, 60.0


class Count(SpanExporter):
    """Counts spans and forgets them."""

    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take a batch."""
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


def traced(tracing: Tracing, parent: bytes | None) -> None:
    """Do what sender and receiver do for one message."""
    sent = tracing.child(parent, "send votes")
    tracing.emit("send votes", parent, 1, 2, kind="producer", attributes=FACTS)
    tracing.child(sent, "process votes")
    tracing.emit("process votes", sent, 1, 2, kind="consumer", attributes=FACTS)


def untraced(tracing: Tracing, parent: bytes | None) -> None:
    """Do nothing, at the price of a call."""


def cost_us(tracing: Tracing, parents: Sequence[bytes | None], rounds: int) -> float:
    """Return µs a message that tracing adds, the median of `rounds` over all `parents`."""

    def once(call: Callable[[Tracing, bytes | None], None]) -> float:
        began = time.perf_counter_ns()
        for parent in parents:
            call(tracing, parent)
        return (time.perf_counter_ns() - began) / len(parents) / 1000

    return statistics.median(once(traced) - once(untraced) for _ in range(rounds))


def off(smoke: bool) -> Row:
    """Tracing without an exporter: the state of every run that asks for none."""
    tracing = Tracing("pads", 1.0, None, Resource({}))
    value = cost_us(tracing, [None] * 10_000, 3 if smoke else 31)
    return Row("tracing off, a message", round(value, 3), "us", goal=OFF_US)


def one_in_a_hundred(smoke: bool) -> Row:
    """An exporter is there, one message of a hundred is sampled."""
    rounds, exporter = 3 if smoke else 31, Count()
    tracing = Tracing("pads", 0.01, exporter, Resource({}))
    value = cost_us(tracing, [LOUD, *[QUIET] * 99] * 50, rounds)
    tracing.close()
    agrees = exporter.spans == 100 * rounds
    return Row("tracing at 1 %, a message", round(value, 3), "us", goal=MEAN_US, agrees=agrees)


def sampled(smoke: bool) -> Row:
    """Every message is sampled: two spans each."""
    rounds, exporter, count = 3 if smoke else 31, Count(), 200
    tracing = Tracing("pads", 1.0, exporter, Resource({}))
    value = cost_us(tracing, [LOUD] * count, rounds)
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
    sys.exit(run((off, one_in_a_hundred, sampled), __doc__ or ""))
