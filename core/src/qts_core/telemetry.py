"""Traces and logs of a process: exported where `OTEL_*` or the settings say, silent and free otherwise.

A trace travels as 25 bytes (16 trace id, 8 span id, 1 flags). Sampling is decided once, when the
trace is born; every span id is derived from (trace id, process, stage), so a span can be written after
the work is done and still be the parent of what was sent meanwhile.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import structlog
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

SAMPLED = 1
_FLAGS = TraceFlags(SAMPLED)
_SCOPE = InstrumentationScope("qts")
_UNSET = Status()
NO_SPAN = bytes(8)
QUEUE = 16_384
KINDS = {
    "internal": SpanKind.INTERNAL,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
}


def pack(trace_id: bytes, span_id: bytes, flags: int) -> bytes:
    """Return the 25 bytes of a trace context."""
    return trace_id + span_id + bytes((flags,))


def sampled(trace: bytes | None) -> bool:
    """Test the sampled bit; other bits may be set by newer SDKs."""
    return trace is not None and len(trace) == 25 and bool(trace[24] & SAMPLED)


def trace_id_hex(trace: bytes | None) -> str:
    """Return the trace id as 32 hex digits, or an empty string."""
    return trace[:16].hex() if trace else ""


def span_id(trace_id: bytes, process: str, stage: str) -> bytes:
    """Derive the id of the span of `stage` in `process`: known before the span is written."""
    return blake2b(trace_id + f"/{process}/{stage}".encode(), digest_size=8).digest()


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


class Tracing:
    """Spans of one process. Without an exporter nothing is built and nothing is paid."""

    def __init__(self, process: str, ratio: float, exporter: SpanExporter | None, resource: Resource) -> None:
        self.process = process
        self.ratio = ratio
        self._resource = resource
        self._spans: BatchSpanProcessor | None = None
        if exporter is not None:
            self._exporter = _Counted(exporter)
            self._spans = BatchSpanProcessor(self._exporter, max_queue_size=QUEUE, schedule_delay_millis=500)

    @property
    def enabled(self) -> bool:
        """Tell whether spans go anywhere."""
        return self._spans is not None

    @property
    def dropped(self) -> int:
        """Return how many spans no collector took."""
        return self._exporter.lost if self.enabled else 0

    def root(self, stage: str) -> bytes:
        """Begin a trace: draw its id, decide its sampling, return the context of its root span."""
        trace_id = secrets.token_bytes(16)
        chosen = self.enabled and int.from_bytes(trace_id[9:]) < self.ratio * (1 << 56)
        return pack(trace_id, span_id(trace_id, self.process, stage), SAMPLED if chosen else 0)

    def child(self, parent: bytes | None, stage: str) -> bytes | None:
        """Return the context to send for `stage`; unsampled contexts pass through unchanged."""
        if parent is None or not parent[24] & SAMPLED:  # as `sampled`: every message comes here
            return parent
        return pack(parent[:16], span_id(parent[:16], self.process, stage), parent[24])

    def emit(
        self,
        name: str,
        parent: bytes | None,
        start_ns: int,
        end_ns: int,
        *,
        stage: str = "",
        kind: str = "internal",
        links: Sequence[bytes] = (),
        attributes: Mapping[str, Any] | None = None,
        root: bool = False,
        error: str = "",
    ) -> None:
        """Write the span of `stage` below `parent`, or as the first of its trace; times in ns since 1970."""
        if self._spans is None or parent is None or not parent[24] & SAMPLED:
            return
        own = pack(parent[:16], span_id(parent[:16], self.process, stage or name), SAMPLED)
        # a span that is over as it is made needs none of the SDK's life cycle, which costs much more
        span = ReadableSpan(
            name,
            _context(own, is_remote=False),
            parent=None if root else _context(parent),
            resource=self._resource,
            attributes=dict(attributes or {}) | ({"error.type": error} if error else {}),
            links=[Link(_context(link)) for link in links if sampled(link)],
            kind=KINDS[kind],
            status=Status(StatusCode.ERROR, error) if error else _UNSET,
            start_time=start_ns,
            end_time=max(start_ns, end_ns),
            instrumentation_scope=_SCOPE,
        )
        self._exporter.wrote()
        self._spans.on_end(span)

    def close(self) -> None:
        """Export what is left, at most two seconds long."""
        if self._spans is not None:
            self._spans.force_flush(2_000)
            self._spans.shutdown()  # type: ignore[no-untyped-call]


def _context(trace: bytes, *, is_remote: bool = True) -> SpanContext:
    """Return the SDK's form of a sampled trace context."""
    trace_id, span = int.from_bytes(trace[:16]), int.from_bytes(trace[16:24])
    return SpanContext(trace_id, span, is_remote=is_remote, trace_flags=_FLAGS)


def open_tracing(process: str, system: str, endpoint: str | None, ratio: float) -> Tracing:
    """Open the tracing of `process`: the standard OTEL_* variables win over the settings."""
    env = os.environ
    traces = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    general = env.get("OTEL_EXPORTER_OTLP_ENDPOINT") or endpoint
    exporter: SpanExporter | None = None
    if (traces or general) and env.get("OTEL_SDK_DISABLED", "").lower() != "true":
        url = traces or f"{str(general).rstrip('/')}/v1/traces"
        # with protobuf and the models of every signal 8 MB, that a process without a collector never pays
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=url, timeout=5)
    argument = env.get("OTEL_TRACES_SAMPLER_ARG")
    if argument:
        ratio = min(1.0, max(0.0, float(argument)))
    facts: dict[str, Any] = {"service.name": f"qts-{process}"}
    if system:
        facts |= {"qts.agent": process, "qts.system": system}
    return Tracing(process, ratio, exporter, Resource.create(facts))


_SECRET_WORDS = ("password", "secret", "token", "private")
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def _redact(_: Any, __: str, event: Any) -> Any:
    for key in event:
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = "***"
    return event


class _Limit:
    """At most ten lines of one event a minute; the next minute's first line says how many were held."""

    def __init__(self, most: int = 10) -> None:
        self.most = most
        self.minute: dict[str, tuple[str, int]] = {}

    def __call__(self, _: Any, method: str, event: Any) -> Any:
        minute = str(event.get("ts", ""))[:16]
        name = str(event.get("event"))
        seen_minute, count = self.minute.get(name, ("", 0))
        if seen_minute != minute:
            if count > self.most:
                event["suppressed"] = count - self.most
            count = 0
        self.minute[name] = (minute, count + 1)
        if count >= self.most and method != "error":
            raise structlog.DropEvent
        return event


def open_logs(process: str, system: str, level: str = "info") -> structlog.stdlib.BoundLogger:
    """Return a logger that writes one JSON object a line to stdout: `event` is a name, facts are fields."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            _redact,
            _Limit(),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=False,
    )
    logger: structlog.stdlib.BoundLogger = structlog.get_logger().bind(
        service=f"qts-{process}", system=system, agent=process
    )
    return logger
