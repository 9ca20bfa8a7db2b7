"""The metrics of agents and feed have the names, kinds and labels of docs/metrics.md."""

from __future__ import annotations

from typing import Any

from tests.metric_names import documented, exposed

from qts_agents.bus_metrics import BY_TYPE, BY_TYPE_LABELS, TABLE, TOOK, TOOK_LABELS
from qts_agents.metrics import Metrics
from qts_core.probes import REDIS_KINDS, Status
from qts_messaging.redis_refusals import _OTHER, _WORDS


def _status() -> Status:
    return Status(agent="pads", peers={"amos": {"age_s": 1.0}}, messages={"dropped": {"full": 1}})


def test_the_document_names_every_metric_and_no_other() -> None:
    """In both directions: what is measured is written down, what is written down is measured."""
    metrics = Metrics()
    metrics.watch(_status)
    metrics.watch_spans(lambda: 0)
    collectors: list[Any] = list(metrics.registry._collector_to_names)
    bus = {
        f"{name}_total" if kind == "counter" else name: (kind, (label,) if label else ())
        for name, (kind, _, label, _) in TABLE.items()
    }
    bus[f"{BY_TYPE}_total"] = ("counter", BY_TYPE_LABELS)
    bus[TOOK] = ("histogram", TOOK_LABELS)
    assert exposed(collectors) | bus == documented("Agents and feed")


def test_bars_from_outside_are_awaited_until_the_last_one() -> None:
    """No feed is there whose state an alert could ask for; bars that begin again are awaited again."""
    metrics = Metrics()
    told = metrics.registry.get_sample_value

    def both() -> tuple[float | None, float | None]:
        return told("qts_bar_last_timestamp_seconds"), told("qts_bars_from_outside")

    metrics.begin(100.0, fed=False)
    assert both() == (100.0, 1.0)
    metrics.heard(101.0, ended=True)
    assert both() == (101.0, 0.0)
    metrics.heard(102.0, ended=False)
    assert both() == (102.0, 1.0)
    metrics.begin(103.0, fed=True)
    metrics.heard(104.0, ended=False)
    assert both() == (104.0, 0.0)


def test_what_redis_refuses_has_its_kind() -> None:
    """Every kind is there from the start; an alert that asks for one that never was finds nothing."""
    metrics = Metrics()
    metrics.watch(lambda: Status(agent="amos", redis_refuses={"memory": "full", "rights": "none"}))
    told = {k: metrics.registry.get_sample_value("qts_redis_refuses", {"kind": k}) for k in REDIS_KINDS}
    assert told == dict.fromkeys(REDIS_KINDS, 0.0) | {"memory": 1.0, "rights": 1.0}
    assert {kind for kind, _ in (*_WORDS.values(), _OTHER)} == set(REDIS_KINDS)


def test_what_a_device_was_asked_is_counted() -> None:
    """The alert on idle GPUs asks for launches that happen, so they must be told as they are."""
    metrics = Metrics()
    metrics.watch(lambda: Status(agent="amos", launches=3, device_wait_s=0.25))
    told = metrics.registry.get_sample_value
    assert (told("qts_gpu_launches_total"), told("qts_gpu_wait_seconds_total")) == (3.0, 0.25)
