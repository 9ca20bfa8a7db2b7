"""The metric names and buckets of agents and feed (observability.md §1), in Prometheus text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from qts_agents.bus_metrics import BusCollector
from qts_core.probes import REDIS_KINDS, Status
from qts_core.telemetry import lines_suppressed
from qts_messaging.bus import Numbers
from qts_messaging.durations import BOUNDS_NS
from qts_messaging.messages import ACTIONS

if TYPE_CHECKING:  # processes without a board load none of it
    from qts_agents.pads.scorecard import Scores

BUCKETS = tuple(bound / 1e9 for bound in BOUNDS_NS)
OUTCOMES = ("complete", "expired", "error", "no_quorum")
STATES = ("starting", "standby", "ready", "degraded", "draining", "ended")
PARTS = ("reliability", "resolution", "uncertainty", "within")
QUALITY = {
    "log_score": "Mean log probability of what happened, 0 best",
    "brier_score": "Mean squared error of the three probabilities, 0 best and 2 worst",
    **{f"brier_{part}": "A part of the Brier score (Murphy 1973)" for part in PARTS},
}
SHARES = ("consensus_level", "conviction_level", "risk_appetite", "opportunity_score", "dissent_level")
#: what a round lacks → the outcomes that say so
LACKS = {"votes": ("expired", "error", "no_quorum"), "quorum": ("no_quorum",)}
MODES = ("connected", "degraded", "disconnected", "simulated")


class Metrics:
    """One process's metrics; reading happens at the scrape, writing is a few integer additions."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._style = ""
        ProcessCollector(registry=self.registry)
        text = "Lines of the log held back as repetitions, or without space"
        self.registry.register(_CountedElsewhere("qts_log_lines_suppressed", text, lines_suppressed))
        self.rounds = self._counter("qts_rounds_total", "Rounds by how they ended", ["outcome"])
        self.rounds_lacking = self._gauge(
            "qts_rounds_lacking_in_a_row",
            "Rounds up to the newest that lacked it, without a gap",
            ["what"],
        )
        self.round_duration = self._histogram(
            "qts_round_duration_seconds", "Update received until decision sent", ["outcome"]
        )
        self.kept_rounds = self._counter("qts_kept_rounds_total", "Rounds whose traces are kept", ["reason"])
        self.kept_rounds_over_cap = self._counter(
            "qts_kept_rounds_over_cap_total", "Rounds worth keeping right after another", ["reason"]
        )
        self.vote_latency = self._histogram("qts_vote_latency_seconds", "Request until vote", ["agent"])
        self.votes = self._counter("qts_votes_total", "Votes by what became of them", ["agent", "result"])
        self.decisions = self._counter("qts_decisions_total", "Decided symbols by action", ["decision"])
        self.decision_at = self._gauge(
            "qts_decision_last_timestamp_seconds", "Arrival of the newest decision"
        )
        self.bar_at = self._gauge("qts_bar_last_timestamp_seconds", "Arrival of the newest bar")
        self.from_outside = self._gauge("qts_bars_from_outside", "1: no feed of the system sends the bars")
        self._fed = True
        self.ended = False  # the newest bar is the last
        self.board = {
            name: self._gauge(f"qts_board_{name}", text)
            for name, text in (
                *((part, "Board state, 0 to 1") for part in SHARES),
                ("voting_quorum", "Agents whose votes counted, the mean over symbols"),
            )
        }
        self.strategy = self._gauge("qts_board_strategy", "1 for the current style", ["style"])
        self.forecast_rows = self._gauge(
            "qts_forecast_rows", "Resolved rows with a forecast, of the last 5,000", ["seat"]
        )
        self.forecast = {
            name: self._gauge(f"qts_forecast_{name}", text, ["seat", "of"]) for name, text in QUALITY.items()
        }
        self.loop_lag = self._histogram("qts_event_loop_lag_seconds", "How late the event loop woke up", [])
        # a counter that is not there until it counts hides its first steps from whoever asks for an increase
        for action in ACTIONS:
            self.decisions.labels(action)
        for outcome in OUTCOMES:
            self.rounds.labels(outcome)
        for what in LACKS:
            self.rounds_lacking.labels(what)

    def _counter(self, name: str, text: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(name, text, tuple(labels), registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Iterable[str] = ()) -> Gauge:
        return Gauge(name, text, tuple(labels), registry=self.registry)

    def _histogram(self, name: str, text: str, labels: Iterable[str] = ()) -> Histogram:
        return Histogram(name, text, tuple(labels), registry=self.registry, buckets=BUCKETS)

    def begin(self, now_s: float, *, fed: bool) -> None:
        """Go to work at `now_s` (epoch): since then nothing came; `fed`: a feed of the system sends bars.

        Behind the last bar, as history tells it, none is awaited.
        """
        self.decision_at.set(now_s)
        self._fed = fed
        self.heard(now_s, ended=self.ended)

    def heard(self, now_s: float, *, ended: bool) -> None:
        """Take the arrival of a bar; after one that is the last none is awaited."""
        self.bar_at.set(now_s)
        self.ended = ended
        self.from_outside.set(not (self._fed or ended))

    def round_ended(self, outcome: str) -> None:
        """Count a round; where rounds are minutes apart only the row tells that they fail."""
        self.rounds.labels(outcome).inc()
        for what, outcomes in LACKS.items():
            row = self.rounds_lacking.labels(what)
            if outcome in outcomes:
                row.inc()
            else:
                row.set(0)

    def style(self, current: str) -> None:
        """Set the gauge of the current style to 1 and the last one's to 0."""
        if self._style:
            self.strategy.labels(self._style).set(0.0)
        self._style = current
        self.strategy.labels(current).set(1.0)

    def forecasts(self, scores: Scores) -> None:
        """Set how good each seat's forecasts were, and the climatology's on the same rows."""
        for gauge in (self.forecast_rows, *self.forecast.values()):
            gauge.clear()
        for seat, score in scores.forecasters.items():
            self.forecast_rows.labels(seat).set(score.rows)
            for whose, quality in (("own", score.own), ("climatology", score.base)):
                self.forecast["log_score"].labels(seat, whose).set(quality.log_score)
                self.forecast["brier_score"].labels(seat, whose).set(quality.brier.brier)
                for part in PARTS:
                    self.forecast[f"brier_{part}"].labels(seat, whose).set(getattr(quality.brier, part))

    def watch(self, status: Callable[[], Status]) -> None:
        """Add the gauges that are read from a workload's status at each scrape."""
        self.registry.register(_StatusCollector(status))

    def watch_spans(self, dropped: Callable[[], int]) -> None:
        """Add how many spans no collector took."""
        text = "Spans that no collector took"
        self.registry.register(_CountedElsewhere("qts_spans_dropped", text, dropped))

    def watch_bus(self, numbers: Callable[[], Numbers]) -> None:
        """Add what is read from a bus at each scrape."""
        self.registry.register(BusCollector(numbers))

    def text(self) -> bytes:
        """Return everything in Prometheus text format."""
        return bytes(generate_latest(self.registry))


class _CountedElsewhere(Collector):
    """Reads a number that somebody else counts."""

    def __init__(self, name: str, text: str, count: Callable[[], int]) -> None:
        self._name, self._text, self._count = name, text, count

    def describe(self) -> Iterable[Metric]:
        """Declare nothing: two workloads of one process may share the name."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Render it."""
        yield _counted(self._name, self._text, self._count())


class _StatusCollector(Collector):
    """Renders state, bus mode, message accounts and peers from one `Status`."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def describe(self) -> Iterable[Metric]:
        """Declare nothing: two workloads of one process may share the names."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Read the status once and render it."""
        status = self._status()
        yield _one_of("qts_agent_state", "state", STATES, status.state)
        yield _one_of("qts_bus_mode", "mode", MODES, status.bus_mode)
        text = "1 while Redis answers and refuses, or did within 30 s"
        refuses = GaugeMetricFamily("qts_redis_refuses", text, labels=("kind",))
        for kind in REDIS_KINDS:
            refuses.add_metric((kind,), float(kind in status.redis_refuses))
        yield refuses
        generation = GaugeMetricFamily("qts_config_generation", "First 48 bits of the settings' digest")
        generation.add_metric((), float(int(status.config_digest or "0", 16)))
        yield generation
        yield from _accounts(status.messages)
        ages = GaugeMetricFamily("qts_peer_heartbeat_age_seconds", "Since the last word", labels=("peer",))
        for peer, facts in status.peers.items():
            ages.add_metric((peer,), float(facts["age_s"]))
        yield ages
        yield from _computing(status)


def _computing(status: Status) -> Iterable[Metric]:
    yield _counted("qts_kernel_compiles", "Kernels compiled since the start", status.compiles)
    yield _counted("qts_gpu_launches", "Batches that a device was asked for", status.launches)
    yield _counted(
        "qts_gpu_wait_seconds", "Waiting for a device's answers, copies included", status.device_wait_s
    )
    least = GaugeMetricFamily(
        "qts_kernel_least_rows", "Rows from which a backend computes a batch", labels=("kernel", "backend")
    )
    for kernel, ways in status.backends.items():
        for way, rows in ways.items():
            least.add_metric((kernel, way), float(rows))
    yield least


def _counted(name: str, text: str, value: float) -> Metric:
    counter = CounterMetricFamily(name, text)
    counter.add_metric((), float(value))
    return counter


def _one_of(name: str, label: str, values: Iterable[str], current: str) -> Metric:
    gauge = GaugeMetricFamily(name, f"1 for the current {label}", labels=(label,))
    for value in values:
        gauge.add_metric((value,), float(value == current))
    return gauge


def _accounts(messages: Mapping[str, object]) -> Iterable[Metric]:
    for key in ("sent", "delivered", "expired", "dead_letter", "unaccounted"):
        value = messages.get(key, 0)
        number = value if isinstance(value, int | float) else 0.0
        yield _counted(f"qts_messages_{key}", f"Messages {key.replace('_', ' ')}", number)
    dropped = CounterMetricFamily("qts_messages_dropped", "Messages dropped by reason", labels=("reason",))
    reasons = messages.get("dropped", {})
    if isinstance(reasons, dict):
        for reason, count in reasons.items():
            dropped.add_metric((str(reason),), float(count))
    yield dropped
