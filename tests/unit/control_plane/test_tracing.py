"""Traces of passes: which are kept, what hangs below them, and what the API server is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

from qts_core.telemetry import Tracing
from qts_operator.middleware import ApiError, Call
from qts_operator.tracing import SPAN, PassTraces, traced

KEY = "trading/desk"


class Collector(SpanExporter):
    """Keeps what is exported, unless it is away."""

    def __init__(self, away: bool = False) -> None:
        self.spans: list[ReadableSpan] = []
        self.away = away

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans.extend(spans)
        return SpanExportResult.FAILURE if self.away else SpanExportResult.SUCCESS


class Server:
    """Answers each call, or refuses it with a code; keeps the headers."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self.code = 200

    async def __call__(self, call: Call) -> Any:
        self.headers.append(call.headers or {})
        if self.code != 200:
            raise ApiError(self.code, "Conflict")
        return {}


@pytest.fixture
def collector() -> Collector:
    return Collector()


def _tracing(collector: Collector | None, ratio: float = 0.0) -> Tracing:
    return Tracing("operator", ratio, collector, Resource.create({}))


def _call(verb: str) -> Call:
    return Call(verb=verb, path="/apis/apps/v1/namespaces/trading/deployments/desk-amos", kind="Deployment")


async def test_a_pass_that_writes_is_told_with_its_calls(collector: Collector) -> None:
    """One root with snapshot, plan and a span for each call; the write, but no read before it, tells its trace."""
    tracing, server = _tracing(collector), Server()
    traces, middleware = PassTraces(tracing), traced(tracing)
    with traces.of(KEY) as trace:
        trace.child("snapshot", 1)
        trace.child("plan", 2)
        trace.child("plan", 3)
        await middleware(_call("GET"), server)
        await middleware(_call("PATCH"), server)
        trace.result = "ok"
    tracing.close()
    root = next(s for s in collector.spans if s.name == SPAN)
    rest = [s for s in collector.spans if s is not root]
    assert sorted(s.name for s in rest) == ["GET deployments", "PATCH deployments", "plan", "snapshot"]
    assert all(s.parent.span_id == root.context.span_id for s in rest)
    assert root.parent is None
    told = dict(root.attributes)
    assert told == {
        "k8s.namespace.name": "trading",
        "qts.system": "desk",
        "qts.result": "ok",
        "qts.writes": 1,
    }
    patch = next(s for s in rest if s.name.startswith("PATCH"))
    assert patch.kind is SpanKind.CLIENT
    assert dict(patch.attributes) == {
        "http.request.method": "PATCH",
        "k8s.resource.kind": "Deployment",
        "http.response.status_code": 200,
    }
    quiet, telling = server.headers
    assert "traceparent" not in quiet
    context = patch.context
    assert telling["traceparent"] == f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


async def test_a_failed_pass_is_told_and_the_next_one_points_to_it(collector: Collector) -> None:
    """The link leads from what went well to what had gone wrong before; a pass that waited keeps it."""
    tracing, server = _tracing(collector), Server()
    traces, middleware = PassTraces(tracing), traced(tracing)
    server.code = 409
    with traces.of(KEY) as trace:
        with pytest.raises(ApiError):
            await middleware(_call("GET"), server)
        trace.result, trace.error = "error", "Conflict"
    with traces.of(KEY) as trace:
        trace.result = "wait"
    with traces.of("trading/other") as trace:
        trace.result, trace.error = "error", "Other"
    server.code = 200
    with traces.of(KEY) as trace:
        await middleware(_call("PATCH"), server)
        trace.result = "ok"
    with traces.of(KEY) as trace:
        await middleware(_call("PATCH"), server)
        trace.result = "ok"
    tracing.close()
    failed, other, good, last = [s for s in collector.spans if s.name == SPAN]
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes["error.type"] == "Conflict"
    assert other.links == ()
    assert [link.context.span_id for link in good.links] == [failed.context.span_id]
    assert last.links == ()
    get = next(s for s in collector.spans if s.name == "GET deployments")
    assert (get.status.status_code, get.attributes["http.response.status_code"]) == (StatusCode.ERROR, 409)


async def test_of_idle_passes_one_in_a_hundred_is_told(collector: Collector) -> None:
    """All of them at ratio 1, none at ratio 0; without a collector nothing at all, not even an exemplar."""
    for ratio, expected in ((1.0, 5), (0.0, 0)):
        tracing = _tracing(collector, ratio)
        for _ in range(5):
            with PassTraces(tracing).of(KEY) as trace:
                trace.result = "noop"
        tracing.close()
        assert len(collector.spans) == expected
        collector.spans.clear()
    server, silent = Server(), _tracing(None, 1.0)
    with PassTraces(silent).of(KEY) as trace:
        await traced(silent)(_call("PATCH"), server)
        trace.keep()
        assert trace.exemplar is None
    assert server.headers == [{}]


def test_spans_that_no_collector_takes_are_counted() -> None:
    """A batch that is refused is lost, and somebody is told."""
    tracing = _tracing(Collector(away=True), 1.0)
    with PassTraces(tracing).of(KEY) as trace:
        trace.child("plan", 1)
        trace.result = "noop"
    tracing.close()
    assert tracing.dropped == 2
