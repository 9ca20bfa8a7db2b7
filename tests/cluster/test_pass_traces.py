"""Traces of passes from a real operator, against a real API server, into a collector that decodes them."""

from __future__ import annotations

import threading

import pytest
from tests.processes.receiver import Receiver

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def test_every_writing_pass_arrives_whole(kube, namespace, operator, until, monkeypatch) -> None:
    """Each applied object is a CLIENT span below a qts.reconcile that counts it; no span is an orphan."""
    receiver = Receiver()
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{receiver.server_address[1]}")
    try:
        started = operator()
        kube.system(namespace, "desk")
        until(lambda: kube.status(namespace, "desk").get("observedGeneration") == 1, "applied")
        until(lambda: any(s.name == "PATCH quantumtradingsystems" for _, s in receiver.spans), "spans")
        assert "qts_spans_dropped_total 0.0" in started.told()
        assert started.stop() == 0
    finally:
        receiver.shutdown()
        receiver.server_close()
    assert {service for service, _ in receiver.spans} == {"operator"}
    roots = {s.span_id: s for _, s in receiver.spans if s.name == "qts.reconcile"}
    place = ("k8s.namespace.name", "qts.system")  # other tests' namespaces may still be on their way out
    mine = [s for s in roots.values() if tuple(_told(s)[key] for key in place) == (namespace, "desk")]
    children = [s for _, s in receiver.spans if s.name != "qts.reconcile"]
    assert [s.name for s in children if s.parent_span_id not in roots] == []
    first = max(mine, key=lambda s: _told(s)["qts.writes"])
    below = [s for s in children if s.parent_span_id == first.span_id]
    writes = [s for s in below if s.name.split()[0] in ("PATCH", "POST", "DELETE", "PUT")]
    assert _told(first)["qts.writes"] == len(writes) > 15
    names = {s.name for s in below}
    assert {"snapshot", "plan", "PATCH deployments", "PATCH statefulsets", "POST secrets"} <= names
    assert all(s.kind == 3 for s in writes)  # CLIENT
    assert {_told(s)["http.response.status_code"] for s in writes} <= {200, 404, 409}
    assert all(first.start_time_unix_nano <= s.start_time_unix_nano for s in below if s.name != "snapshot")


def _told(span):
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}
