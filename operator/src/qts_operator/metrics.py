"""Names and buckets of the operator's metrics, in one place."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from qts_core.errors import LocalError

_BUCKETS = (*(base * 10.0**power for power in range(-6, 1) for base in (1, 2, 5)), 10.0)
CONDITION_VALUE = {"True": 1, "False": 0, "Unknown": -1}


class Metrics:
    """Everything the operator counts; one registry an engine, so that tests do not share it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        ProcessCollector(registry=r)
        self.reconcile = Counter("qts_reconcile_total", "Passes", ["result", "reason"], registry=r)
        self.reconcile_seconds = Histogram(
            "qts_reconcile_duration_seconds", "Length of a pass", ["result"], registry=r, buckets=_BUCKETS
        )
        self.queue_depth = Gauge("qts_queue_depth", "Keys waiting", registry=r)
        self.queue_age = Gauge("qts_queue_oldest_age_seconds", "Age of the oldest key", registry=r)
        self.queue_retries = Counter("qts_queue_retries_total", "Passes that failed", registry=r)
        self.writes = Counter("qts_writes_total", "Writes", ["kind", "op"], registry=r)
        self.requests = Counter(
            "qts_api_requests_total", "Requests to the API server", ["verb", "kind", "code"], registry=r
        )
        self.request_seconds = Histogram(
            "qts_api_request_duration_seconds",
            "Length of a request",
            ["verb", "kind"],
            registry=r,
            buckets=_BUCKETS,
        )
        self.relists = Counter("qts_reflector_relists_total", "Full lists", ["kind", "reason"], registry=r)
        self.event_age = Gauge("qts_reflector_last_event_age_seconds", "Silence", ["kind"], registry=r)
        self.objects = Gauge("qts_reflector_objects", "Objects known", ["kind"], registry=r)
        self.missed = Counter(
            "qts_reflector_missed_events_total", "Differences found by a full list", ["kind"], registry=r
        )
        self.denied = Counter("qts_reflector_denied_total", "Lists refused", ["kind"], registry=r)
        self.not_kept = Counter(
            "qts_fields_not_kept_total", "Objects that the server altered", ["kind"], registry=r
        )
        self.leader = Gauge("qts_leader", "1 on the replica that writes", registry=r)
        self.transitions = Counter("qts_lease_transitions_total", "Lease won", registry=r)
        self.crd_outdated = Gauge("qts_crd_outdated", "1: the served schema is not ours", registry=r)
        self.build_info = Gauge("qts_build_info", "1", ["version", "revision"], registry=r)
        self.restarts = Counter(
            "qts_agent_restarts_total", "Restarts by the operator", ["agent", "reason"], registry=r
        )
        self.condition = Gauge(
            "qts_system_condition",
            "1 True, 0 False, -1 Unknown",
            ["namespace", "system", "type"],
            registry=r,
        )
        self.loop_lag = Gauge("qts_event_loop_lag_seconds", "Lag of the event loop", registry=r)

    def text(self) -> bytes:
        """Return the exposition in Prometheus' text format."""
        return generate_latest(self.registry)

    def conditions(self, namespace: str, system: str, told: dict[str, str]) -> None:
        """Show the conditions of one system."""
        for kind, status in told.items():
            if status not in CONDITION_VALUE:
                raise LocalError(f"{status} is no condition status")
            self.condition.labels(namespace, system, kind).set(CONDITION_VALUE[status])

    def forget(self, namespace: str, system: str) -> None:
        """Drop the series of a system that is gone."""
        self.condition.remove_by_labels({"namespace": namespace, "system": system})
