"""Names, labels and buckets of the operator's metrics, in one place (observability.md §1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from qts_core.errors import LocalError
from qts_operator.exposition import Samples, pieces
from qts_operator.memo import alike

_BUCKETS = (*(base * 10.0**power for power in range(-6, 1) for base in (1, 2, 5)), 10.0)
Name = tuple[str, str]  # namespace, system
Labelled = list[tuple[tuple[str, ...], float]]  # further labels, and the value that they have
CONDITION_VALUE = {"True": 1, "False": 0, "Unknown": -1}


class Metrics:
    """Everything the operator counts; one registry an engine, so that tests do not share it.

    `per_object` off leaves out the series that carry a system's name: ten a system.
    """

    def __init__(self, *, per_object: bool = True) -> None:
        self.registry = CollectorRegistry()
        self.process = ProcessCollector(registry=self.registry)
        counter, gauge, seconds = self._counter, self._gauge, self._seconds
        self.reconcile = counter("qts_reconcile_total", "Passes", "result", "reason")
        self.reconcile_seconds = seconds("qts_reconcile_duration_seconds", "Length of a pass", "result")
        self.queue_depth = gauge("qts_queue_depth", "Keys that wait for a worker")
        self.queue_age = gauge("qts_queue_oldest_age_seconds", "Age of the oldest key")
        self.queue_retries = counter("qts_queue_retries_total", "Passes that failed")
        self.event_to_write = seconds("qts_event_to_write_seconds", "From an event to the write it caused")
        self.writes = counter("qts_writes_total", "Writes", "kind", "op")
        self.spec_changes = counter("qts_spec_changes_total", "Systems whose spec a person changed")
        request = ("verb", "kind", "code")
        self.requests = counter("qts_api_requests_total", "Requests to the API server", *request)
        text = "Length of a request; of a watch or list that is streamed, to the head of the answer"
        self.request_seconds = seconds("qts_api_request_duration_seconds", text, *request)
        self.bytes = counter("qts_api_bytes_total", "Bytes of bodies", "direction")
        self.relists = counter("qts_reflector_relists_total", "Full lists", "kind", "reason")
        self.event_age = gauge("qts_reflector_last_event_age_seconds", "Silence", "kind")
        self.objects = gauge("qts_reflector_objects", "Objects known", "kind")
        self.missed = counter("qts_reflector_missed_events_total", "Found by a full list only", "kind")
        self.denied = counter("qts_reflector_denied_total", "Requests refused for want of a right", "kind")
        self.unread = counter("qts_objects_unread_total", "Objects that could not be read", "kind")
        self.stumbles = counter("qts_reflector_errors_total", "Errors that nobody foresaw", "kind")
        self.not_kept = counter("qts_fields_not_kept_total", "Objects that the server altered", "kind")
        self.leader = gauge("qts_leader", "1 on the replica that writes")
        self.transitions = counter("qts_lease_transitions_total", "Lease won")
        self.crd_outdated = gauge("qts_crd_outdated", "1: the served schema is not ours")
        self.build_info = gauge("qts_build_info", "1", "version", "revision")
        named = ("namespace", "system", "agent", "reason")
        self._restarts = counter("qts_agent_restarts_total", "Restarts by the operator", *named)
        self.loop_lag = gauge("qts_event_loop_lag_seconds", "Lag of the event loop")
        self.spans_dropped = counter("qts_spans_dropped_total", "Spans that no collector took")
        text = "Lines of the log held back as repetitions, or without space"
        self.lines_suppressed = counter("qts_log_lines_suppressed_total", text)
        self._dropped, self._suppressed, self._per_object = 0, 0, per_object
        self.systems = Systems()
        if per_object:
            self.registry.register(self.systems)

    def restarted(self, namespace: str, system: str, agent: str, reason: str) -> None:
        """Count a restart, of its system where series may carry a system's name."""
        where = (namespace, system) if self._per_object else ("", "")
        self._restarts.labels(*where, agent, reason).inc()

    def forget(self, namespace: str, system: str) -> None:
        """Drop the series of a system that is gone."""
        self.systems.forget(namespace, system)
        self._restarts.remove_by_labels({"namespace": namespace, "system": system})

    def dropped(self, spans: int, lines: int) -> None:
        """Bring the counters of spans and of lines of the log that were lost to what was counted."""
        self.spans_dropped.inc(max(0, spans - self._dropped))
        self.lines_suppressed.inc(max(0, lines - self._suppressed))
        self._dropped, self._suppressed = max(self._dropped, spans), max(self._suppressed, lines)

    def text(self) -> bytes:
        """Return the exposition in Prometheus' text format."""
        return generate_latest(self.registry)

    def exposition(self, accept: str) -> tuple[Iterator[bytes], str]:
        """Return pieces and content type as the scraper asked for it; OpenMetrics carries exemplars."""
        return pieces(self.registry, accept)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _seconds(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=_BUCKETS)


class Told(msgspec.Struct, frozen=True):
    """What one system's status said last; times in seconds since the epoch."""

    conditions: Mapping[str, str]
    moving_since: float | None  # None: settled
    gpus: Mapping[str, int]  # by agent
    gpu_seconds: Mapping[str, float]  # by agent, up to `at`
    at: float
    rests: bool  # a pause is all that it waits for

    def held(self, now: float) -> dict[str, float]:
        """Return the GPU-seconds that each agent held up to `now`."""
        since = max(0.0, now - self.at)
        agents = sorted(self.gpu_seconds.keys() | self.gpus.keys())
        return {a: self.gpu_seconds.get(a, 0.0) + since * self.gpus.get(a, 0) for a in agents}


Values = Callable[[float, Told], Labelled]


class Systems(Collector):
    """The series of each system, rendered at the scrape: what grows with time is true at every scrape.

    Only the process that leads shows them.
    """

    def __init__(self) -> None:
        self.now: Callable[[], float] = lambda: 0.0
        self.leads: Callable[[], bool] = lambda: True  # others know what was, at best
        self._told: dict[Name, Told] = {}

    def tell(
        self,
        namespace: str,
        system: str,
        conditions: dict[str, str],
        *,
        moving: float | None,
        gpus: Mapping[str, int] | None,
        rests: bool = False,
    ) -> None:
        """Take the conditions of one system, since when it moves, and the GPUs that its agents hold.

        `gpus` None: nobody can tell, what was told last holds. `rests`: a pause is all that it waits for.
        """
        for status in conditions.values():
            if status not in CONDITION_VALUE:
                raise LocalError(f"{status} is no condition status")
        now, former = self.now(), self._told.get((namespace, system))
        held = former.held(now) if former is not None else {}
        if gpus is None:
            gpus = former.gpus if former is not None else {}
        if former is not None and former.moving_since is not None and moving is not None:
            # a stuck roll-out is dated anew when it is called stuck; it began when it began
            moving = min(moving, former.moving_since)
        told, holders = alike(*conditions.items()), alike(*gpus.items())
        self._told[(namespace, system)] = Told(told, moving, holders, held, now, rests)

    def forget(self, namespace: str, system: str) -> None:
        """Drop the series of a system that is gone."""
        self._told.pop((namespace, system), None)

    def clear(self) -> None:
        """Drop the series of all systems: what was told before another led is no longer true."""
        self._told.clear()

    def describe(self) -> Iterable[Metric]:
        """Name the families without reading them."""
        return [family.metric() for family in _OF_SYSTEMS]

    def collect(self) -> Iterable[Metric]:
        """Render every system, as its samples are read."""
        now, told = self.now(), list(self._told.items()) if self.leads() else []
        for family in _OF_SYSTEMS:
            metric = family.metric()
            metric.samples = Samples(partial(_samples, family, told, now))  # type: ignore[assignment]
            yield metric


def _samples(family: _Family, systems: list[tuple[Name, Told]], now: float) -> Iterator[Sample]:
    """Yield what all systems tell in one family."""
    name = f"{family.name}_total" if family.kind is CounterMetricFamily else family.name
    for system, told in systems:
        for more, value in family.values(now, told):
            yield Sample(name, dict(zip(family.labels, (*system, *more), strict=True)), value)


def _conditions(_: float, told: Told) -> Labelled:
    return [((kind,), float(CONDITION_VALUE[status])) for kind, status in told.conditions.items()]


def _age(now: float, told: Told) -> Labelled:
    return [((), 0.0 if told.moving_since is None else max(0.0, now - told.moving_since))]


def _rests(_: float, told: Told) -> Labelled:
    return [((), 1.0)] if told.rests else []


def _held(now: float, told: Told) -> Labelled:
    return [((agent,), seconds) for agent, seconds in told.held(now).items()]


class _Family(NamedTuple):
    kind: type[GaugeMetricFamily | CounterMetricFamily]
    name: str
    text: str
    labels: tuple[str, ...]
    values: Values

    def metric(self) -> Metric:
        """Return the family without samples."""
        return self.kind(self.name, self.text, labels=self.labels)


_VALUE = "1 True, 0 False, -1 Unknown"
_ONE = ("namespace", "system")
_AGE = "Length of the roll-out, 0: settled"
_RESTS = "1: changes wait for the end of a pause, and what runs is whole"
_GPU = "GPUs held by pods, times seconds"
_OF_SYSTEMS = (
    _Family(GaugeMetricFamily, "qts_system_condition", _VALUE, (*_ONE, "type"), _conditions),
    _Family(GaugeMetricFamily, "qts_system_progressing_seconds", _AGE, _ONE, _age),
    _Family(GaugeMetricFamily, "qts_system_paused", _RESTS, _ONE, _rests),
    _Family(CounterMetricFamily, "qts_system_gpu_seconds", _GPU, (*_ONE, "agent"), _held),
)
