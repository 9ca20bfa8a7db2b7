"""What a bus knows about itself, as Prometheus metrics; one table says which number has which name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from qts_messaging.bus import Numbers
from qts_messaging.durations import BOUNDS_NS, Durations
from qts_messaging.messages import HIGH, LOW, NORMAL

PRIORITIES = {HIGH: "high", NORMAL: "normal", LOW: "low"}
Values = Mapping[str, float]
BY_TYPE = "qts_messages_by_type"
BY_TYPE_LABELS = ("peer", "destination", "type", "outcome")
TOOK, TOOK_LABELS = "messaging_process_duration_seconds", ("messaging_destination_name",)
_BOUNDS = (*(str(bound / 1e9) for bound in BOUNDS_NS), "+Inf")

#: metric → (gauge or counter, help, label or "", how to read it)
TABLE: dict[str, tuple[str, str, str, Callable[[Numbers], Values]]] = {
    "qts_outbox_depth": (
        "gauge",
        "Messages that have not left",
        "priority",
        lambda n: {PRIORITIES[p]: count for p, count in n.waiting.items()},
    ),
    "qts_inbox_depth": ("gauge", "Messages that wait for a handler", "", lambda n: {"": n.inbox}),
    "qts_spool_bytes": (
        "gauge",
        "Durable messages that wait in the spool file, in bytes",
        "",
        lambda n: {"": n.spool_bytes},
    ),
    "qts_messages_stored_nowhere": (
        "counter",
        "Durable messages that found no room in the spool either",
        "",
        lambda n: {"": n.nowhere},
    ),
    "qts_failovers": ("counter", "Changes of a lane's wire", "route", lambda n: n.failovers),
    "qts_clock_offset_seconds": ("gauge", "How much later our clock shows", "peer", lambda n: n.offsets_s),
    "qts_clock_skew": ("counter", "Messages from our future", "peer", lambda n: n.skewed),
    "qts_slow_handlers": ("counter", "Handler calls over 50 ms", "type", lambda n: n.slow),
    "qts_connections_refused": ("counter", "Refused for their key", "", lambda n: {"": n.refused}),
    "qts_resubscriptions": ("counter", "Deaf subscriptions replaced", "", lambda n: {"": n.resubscribed}),
    "qts_stream_claimed": ("counter", "Taken over from a dead consumer", "", lambda n: {"": n.claimed}),
    "qts_dead_letters": ("counter", "Messages no handler could take", "", lambda n: {"": n.dead_letters}),
    "qts_alerts_unconfirmed": ("counter", "Alerts without a receipt", "", lambda n: {"": n.unconfirmed}),
    "qts_durable_missing": ("gauge", "Durable messages that never came", "", lambda n: {"": n.missing}),
    "qts_stream_lag_seconds": (
        "gauge",
        "Age of the oldest durable message that a reader has not handled; told by who trims",
        "reader",
        lambda n: {reader: behind.age_s for reader, behind in n.backlog.items()},
    ),
    "qts_stream_pending": (
        "gauge",
        "Durable messages that a reader has not handled; told by who trims",
        "reader",
        lambda n: {reader: behind.waiting for reader, behind in n.backlog.items()},
    ),
    "qts_stream_trimmed": (
        "counter",
        "Durable messages cut after 7 days though a reader had not handled them",
        "reader",
        lambda n: n.trimmed,
    ),
    "qts_credentials_generation": (
        "gauge",
        "Keys and passwords in use; curve_accepted: authorised of every peer",
        "kind",
        lambda n: n.credentials,
    ),
}


class BusCollector(Collector):
    """Reads a bus at each scrape."""

    def __init__(self, numbers: Callable[[], Numbers]) -> None:
        self._numbers = numbers

    def describe(self) -> Iterable[Metric]:
        """Declare nothing: two workloads of one process may share the names."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Render the table."""
        numbers = self._numbers()
        for name, (kind, text, label, read) in TABLE.items():
            family = (GaugeMetricFamily if kind == "gauge" else CounterMetricFamily)(
                name, text, labels=(label,) if label else ()
            )
            for value, number in read(numbers).items():
                family.add_metric((value,) if label else (), float(number))
            yield family
        yield _by_type(numbers.counts)
        yield _took(numbers.took)


def _by_type(counts: Mapping[str, int]) -> Metric:
    """Render the book's counters: accepted and sent as sender, how messages ended on either side."""
    family = CounterMetricFamily(BY_TYPE, "Messages by what became of them", labels=BY_TYPE_LABELS)
    for key, count in counts.items():
        family.add_metric(key.split("/"), float(count))
    return family


def _took(durations: Mapping[str, Durations]) -> Metric:
    """Render how long handlers took, by destination."""
    family = HistogramMetricFamily(TOOK, "Handling of one message", labels=TOOK_LABELS)
    for destination, took in durations.items():
        buckets = list(zip(_BOUNDS, accumulate(took.counts), strict=True))
        family.add_metric([destination], [(le, float(n)) for le, n in buckets], took.total_ns / 1e9)
    return family
