"""Traces and logs of a process: exported where `OTEL_*` or the settings say, silent and free otherwise.

A trace travels as 25 bytes (16 trace id, 8 span id, 1 flags). Sampling is decided once, when the
trace is born; every span id is derived from (trace id, process, stage), so a span can be written after
the work is done and still be the parent of what was sent meanwhile.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import sys
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TextIO

import structlog

if TYPE_CHECKING:  # the SDK is loaded where a collector is named
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExporter

    from qts_core.spans import Spans

SAMPLED = 1


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


class Tracing:
    """Spans of one process. Without an exporter nothing is built and nothing is paid."""

    def __init__(
        self,
        process: str,
        ratio: float,
        exporter: SpanExporter | None = None,
        resource: Resource | None = None,
    ) -> None:
        self.process = process
        self.ratio = ratio
        self._spans: Spans | None = None
        if exporter is not None:
            from qts_core.spans import Spans

            self._spans = Spans(exporter, resource)

    @property
    def enabled(self) -> bool:
        """Tell whether spans go anywhere."""
        return self._spans is not None

    @property
    def dropped(self) -> int:
        """Return how many spans no collector took."""
        return self._spans.lost if self._spans is not None else 0

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
        attributes = dict(attributes or {}) | ({"error.type": error} if error else {})
        above = None if root else parent
        told = [link for link in links if sampled(link)]
        self._spans.write(name, own, above, start_ns, max(start_ns, end_ns), kind, told, attributes, error)

    def close(self) -> None:
        """Export what is left, at most two seconds long."""
        if self._spans is not None:
            self._spans.close()


def open_tracing(process: str, system: str, endpoint: str | None, ratio: float) -> Tracing:
    """Open the tracing of `process`: the standard OTEL_* variables win over the settings."""
    env = os.environ
    traces = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    general = env.get("OTEL_EXPORTER_OTLP_ENDPOINT") or endpoint
    argument = env.get("OTEL_TRACES_SAMPLER_ARG")
    if argument:
        ratio = min(1.0, max(0.0, float(argument)))
    if not (traces or general) or env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Tracing(process, ratio)
    from qts_core.spans import collector

    facts: dict[str, Any] = {"service.name": f"qts-{process}"}
    if system:
        facts |= {"qts.agent": process, "qts.system": system}
    url = traces or f"{str(general).rstrip('/')}/v1/traces"
    return Tracing(process, ratio, *collector(url, facts))


_SECRET_WORDS = ("password", "secret", "token", "private")
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def _redact(_: Any, __: str, event: Any) -> Any:
    for key in event:
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = "***"
    return event


class _Unwritten:
    """How many lines of this process's log were not written."""

    lines = 0


def lines_suppressed() -> int:
    """Return how many lines of this process's log were held back, or found no space."""
    return _Unwritten.lines


class _Limit:
    """At most ten lines of one event a minute; the next minute's first line says how many were held."""

    def __init__(self, most: int = 10) -> None:
        self.most = most
        self.minute: dict[str, tuple[str, int]] = {}

    def __call__(self, _: Any, __: str, event: Any) -> Any:
        minute = str(event.get("ts", ""))[:16]
        name = str(event.get("event"))
        seen_minute, count = self.minute.get(name, ("", 0))
        if seen_minute != minute:
            if count > self.most:
                event["suppressed"] = count - self.most
            count = 0
        self.minute[name] = (minute, count + 1)
        if count >= self.most:
            _Unwritten.lines += 1
            raise structlog.DropEvent
        return event


class _Lines:
    """Writes lines; without space they are lost: a full disk must not end who says that it is full."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def msg(self, line: str) -> None:
        """Write one line."""
        try:
            self._out.write(f"{line}\n")
            self._out.flush()
        except OSError:
            _Unwritten.lines += 1

    debug = info = warning = error = msg


#: places of facts in the text of a library's line
_FACT = re.compile(r"%[-0-9.]*[a-z]")
_OURS = "qts_messaging"


def event_of(text: str) -> str:
    """Return the name of a library's line: its text without the facts in it."""
    return "_".join(re.findall("[a-z]+", _FACT.sub(" ", text).lower())[:8])


class _Heard(logging.Handler):
    """Writes what libraries say as lines of our log: limited, with time and level, as all others."""

    def __init__(self, log: structlog.stdlib.BoundLogger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line: `event` is the name of the text, `said` the whole of it."""
        try:
            name = event_of(str(record.msg)) or record.name.rpartition(".")[2]
            told = {"said": record.getMessage()} | ({"exc_info": record.exc_info} if record.exc_info else {})
            self._log.log(min(record.levelno, logging.ERROR), name, logger=record.name, **told)
        except Exception:  # as every handler of logging: whoever says something goes on
            self.handleError(record)


def _hear_libraries(log: structlog.stdlib.BoundLogger, level: str) -> None:
    """Let what libraries say stand in our log; of those that are not ours, from warnings on."""
    root = logging.getLogger()
    for before in [each for each in root.handlers if isinstance(each, _Heard)]:
        root.removeHandler(before)
    root.addHandler(_Heard(log))
    logging.getLogger(_OURS).setLevel(_LEVELS[level])


def open_logs(process: str, system: str, level: str = "info") -> structlog.stdlib.BoundLogger:
    """Return a logger that writes one JSON object a line to stdout: `event` is a name, facts are fields.

    What libraries log stands there, too.
    """
    out = sys.stdout
    whose: dict[str, Any] = {"service": f"qts-{process}", "system": system, "agent": process}
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            lambda _, __, event: {**whose, **event},
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            _redact,
            _Limit(),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: _Lines(out),
        cache_logger_on_first_use=False,
    )
    logger: structlog.stdlib.BoundLogger = structlog.get_logger().bind(**whose)
    _hear_libraries(logger, level)
    return logger
