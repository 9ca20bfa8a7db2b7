"""Traces: decided once, ids derived, nothing paid without an endpoint."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from qts_core.telemetry import Tracing, open_tracing, pack, sampled, span_id


class Kept(SpanExporter):
    """Keeps what is exported."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep."""
        self.spans.extend(spans)
        return SpanExportResult.SUCCESS


def test_a_child_written_late_has_the_parent_that_was_sent() -> None:
    """Span ids follow from trace, process and stage, so both sides agree without words."""
    kept = Kept()
    feed = Tracing("market", 1.0, kept, Resource.create({}))
    pads = Tracing("pads", 0.0, kept, Resource.create({}))
    trace = feed.root("publish market")
    child = pads.child(trace, "process market")
    pads.emit("round", child, 30, 40)
    pads.emit("process market", trace, 20, 25, kind="consumer")
    feed.emit("publish market", trace, 10, 12, kind="producer", root=True)
    pads.close()
    feed.close()
    spans = {span.name: span for span in kept.spans}
    assert spans["publish market"].parent is None
    assert spans["process market"].parent.span_id == spans["publish market"].context.span_id
    assert spans["round"].parent.span_id == spans["process market"].context.span_id
    assert len({span.context.trace_id for span in kept.spans}) == 1


def test_the_ratio_decides_once_for_all() -> None:
    """A share of roots near the ratio is sampled; children obey the bit."""
    tracing = Tracing("market", 0.25, Kept(), Resource.create({}))
    roots = [tracing.root("x") for _ in range(4000)]
    assert 800 < sum(sampled(root) for root in roots) < 1200
    assert all(sampled(tracing.child(root, "y")) == sampled(root) for root in roots[:200])
    tracing.close()


def test_another_flag_bit_does_not_hide_the_sampled_one() -> None:
    """Newer SDKs set a second bit."""
    assert sampled(pack(bytes(16), bytes(8), 3)) is True
    assert sampled(pack(bytes(16), bytes(8), 2)) is False
    assert sampled(None) is False


def test_without_an_endpoint_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """No endpoint, no provider, no sampled trace."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    tracing = open_tracing("pads", "local", None, 1.0)
    assert tracing.enabled is False
    assert sampled(tracing.root("round")) is False


def test_stages_and_processes_have_different_ids() -> None:
    """Two spans of one trace never share an id."""
    trace = bytes(range(16))
    ids = {span_id(trace, process, stage) for process in ("pads", "amos") for stage in ("a", "b")}
    assert len(ids) == 4
