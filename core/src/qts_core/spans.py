"""Spans as OpenTelemetry's SDK exports them; loaded where a collector is named and nowhere else.

With what it loads in turn the SDK is a tenth of a process's imports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

QUEUE = 16_384
KINDS = {
    "internal": SpanKind.INTERNAL,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
}
_FLAGS = TraceFlags(1)  # sampled: no other comes here
_SCOPE = InstrumentationScope("qts")
_UNSET = Status()


class _Counted(SpanExporter):
    """Counts what a collector did not take, and what never came to it because the queue was full."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.written = self._handed = self.lost = 0

    def wrote(self) -> None:
        """Count a span on its way into the queue; a full one drops another for it, in silence."""
        if self.written - self._handed >= QUEUE:
            self.lost += 1
        else:
            self.written += 1

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand a batch on."""
        self._handed += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self.lost += len(spans) if result is not SpanExportResult.SUCCESS else 0
        return result

    def shutdown(self) -> None:
        """Close the exporter."""
        self._exporter.shutdown()


class Spans:
    """Spans on their way to one exporter."""

    def __init__(self, exporter: SpanExporter, resource: Resource | None) -> None:
        self._resource = resource
        self._exporter = _Counted(exporter)
        self._queue = BatchSpanProcessor(self._exporter, max_queue_size=QUEUE, schedule_delay_millis=500)

    @property
    def lost(self) -> int:
        """Return how many spans no collector took."""
        return self._exporter.lost

    def write(
        self,
        name: str,
        own: bytes,
        parent: bytes | None,
        start_ns: int,
        end_ns: int,
        kind: str,
        links: Sequence[bytes],
        attributes: Mapping[str, Any],
        error: str,
    ) -> None:
        """Put a span that is over into the queue; one made so needs none of the SDK's life cycle."""
        span = ReadableSpan(
            name,
            _context(own, is_remote=False),
            parent=None if parent is None else _context(parent),
            resource=self._resource,
            attributes=attributes,
            links=[Link(_context(link)) for link in links],
            kind=KINDS[kind],
            status=Status(StatusCode.ERROR, error) if error else _UNSET,
            start_time=start_ns,
            end_time=end_ns,
            instrumentation_scope=_SCOPE,
        )
        self._exporter.wrote()
        self._queue.on_end(span)

    def close(self) -> None:
        """Export what is left, at most two seconds long."""
        self._queue.force_flush(2_000)
        self._queue.shutdown()  # type: ignore[no-untyped-call]


def collector(url: str, facts: Mapping[str, Any]) -> tuple[SpanExporter, Resource]:
    """Return what exports to `url`, and what is said of the process beside what OTEL_* say."""
    # with protobuf and the models of every signal 8 MB, that a process without a collector never pays
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=url, timeout=5), Resource.create(dict(facts))


def _context(trace: bytes, *, is_remote: bool = True) -> SpanContext:
    """Return the SDK's form of a sampled trace context."""
    trace_id, span = int.from_bytes(trace[:16]), int.from_bytes(trace[16:24])
    return SpanContext(trace_id, span, is_remote=is_remote, trace_flags=_FLAGS)
