"""Traces of passes: every one that writes or fails, and one in a hundred of the others.

Nothing is built while a pass runs: its calls are noted as plain values and become spans at its end, when it
is known whether it is worth keeping. Ids are derived (qts_core.telemetry), so a write can carry its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import msgspec

from qts_core.telemetry import SAMPLED, Tracing, pack, sampled, trace_id_hex
from qts_operator.middleware import ApiError, Call, Handler, Middleware

SPAN = "qts.reconcile"
RATIO = 0.01  # of the passes that write nothing
_current: ContextVar[PassTrace | None] = ContextVar("pass", default=None)


class Noted(msgspec.Struct, frozen=True):
    """One child of a pass before it is a span; times in nanoseconds since the epoch."""

    name: str
    stage: str
    start_ns: int
    end_ns: int
    kind: str = "internal"
    attributes: dict[str, Any] = {}
    error: str = ""


class PassTrace:
    """What one pass did, until it is known whether anybody wants to know."""

    def __init__(self, context: bytes, *, told: bool) -> None:
        self.context, self._told = context, told
        self.started_ns = time.time_ns()
        self.noted: list[Noted] = []
        self.attributes: dict[str, Any] = {}
        self.calls = self.writes = 0
        self.result, self.error = "", ""

    def keep(self) -> None:
        """Decide that this pass is told, where anybody listens."""
        if self._told:
            self.context = pack(self.context[:16], self.context[16:24], SAMPLED)

    def child(self, name: str, start_ns: int) -> None:
        """Note a part of the pass that ends now."""
        if not any(n.stage == name for n in self.noted):
            self.noted.append(Noted(name, name, start_ns, time.time_ns()))

    @property
    def exemplar(self) -> dict[str, str] | None:
        """Return what leads from a bucket of a histogram to this trace, None when it is not kept."""
        return {"trace_id": trace_id_hex(self.context)} if sampled(self.context) else None


class PassTraces:
    """Begins a trace for each pass, and writes those that are worth it."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._failed: dict[str, bytes] = {}  # key → its last failed pass

    @property
    def dropped(self) -> int:
        """Return how many spans no collector took."""
        return self._tracing.dropped

    @contextmanager
    def of(self, key: str) -> Iterator[PassTrace]:
        """Trace one pass; `result` and `error` are to be set before the end."""
        trace = PassTrace(self._tracing.root(SPAN), told=self._tracing.enabled)
        if not self._tracing.enabled:
            yield trace
            return
        token = _current.set(trace)
        try:
            yield trace
        finally:
            _current.reset(token)
            self._end(key, trace)

    def forget(self, key: str) -> None:
        """Drop a system that is gone."""
        self._failed.pop(key, None)

    def _end(self, key: str, trace: PassTrace) -> None:
        if trace.writes or trace.error:
            trace.keep()
        former = self._failed.pop(key, None)
        if trace.error:
            self._failed[key] = trace.context
        if not sampled(trace.context):
            if former is not None and trace.result == "wait":
                self._failed[key] = former
            return
        namespace, _, name = key.partition("/")
        facts = {"k8s.namespace.name": namespace, "qts.system": name, "qts.result": trace.result}
        self._tracing.emit(
            SPAN, trace.context, trace.started_ns, time.time_ns(), root=True, error=trace.error,
            links=(former,) if former is not None else (),
            attributes=facts | {"qts.writes": trace.writes} | trace.attributes,
        )  # fmt: skip
        for noted in trace.noted:
            self._tracing.emit(
                noted.name, trace.context, noted.start_ns, noted.end_ns, stage=noted.stage,
                kind=noted.kind, attributes=noted.attributes, error=noted.error,
            )  # fmt: skip


def traced(tracing: Tracing) -> Middleware:
    """Note each call of a traced pass; one that is kept for sure tells the API server its trace."""

    async def middleware(call: Call, rest: Handler) -> Any:
        trace = _current.get()
        if trace is None:
            return await rest(call)
        if call.writes:
            trace.writes += 1
            trace.keep()
        trace.calls += 1
        stage, started, code = f"call {trace.calls}", time.time_ns(), 200
        if sampled(trace.context):
            call = _telling(call, tracing.child(trace.context, stage) or trace.context)
        try:
            return await rest(call)
        except ApiError as error:
            code = error.code
            raise
        finally:
            trace.noted.append(_span(call, stage, started, code))

    return middleware


def _telling(call: Call, context: bytes) -> Call:
    """Return the call with W3C's header of a trace context."""
    header = f"00-{context[:16].hex()}-{context[16:24].hex()}-{context[24]:02x}"
    return msgspec.structs.replace(call, headers=(call.headers or {}) | {"traceparent": header})


def _span(call: Call, stage: str, started_ns: int, code: int) -> Noted:
    plural = call.path.partition("?")[0].split("/namespaces/")[-1].split("/")
    resource = plural[1] if "/namespaces/" in call.path and len(plural) > 1 else call.path.rsplit("/", 1)[-1]
    facts: dict[str, Any] = {"http.request.method": call.verb, "k8s.resource.kind": call.kind}
    if code:
        facts["http.response.status_code"] = code
    wrong = str(code) if code >= 400 else "" if code else "NoAnswer"
    return Noted(f"{call.verb} {resource}", stage, started_ns, time.time_ns(), "client", facts, wrong)
