"""The operator's metrics: the names of the document, and values that are true at every scrape."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families
from tests.loops import until
from tests.metric_names import documented, exposed
from tests.unit.control_plane.engines import condition, running

from qts_core import names
from qts_core.errors import LocalError
from qts_operator.exposition import PIECE
from qts_operator.main import Engine, Options
from qts_operator.metrics import Metrics
from qts_operator.session import Access
from qts_operator.testing import FakeCluster
from qts_operator.workqueue import WorkQueue

OPTIONS = Options(access=Access(server="http://nowhere"), identity="one", http_port=0, metrics_port=0)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PROGRESSING = {"Ready": "False", "Progressing": "True"}

NOBODY = {"namespace": "", "system": ""}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_the_document_names_every_metric_and_no_other() -> None:
    """Names, kinds and labels of docs/metrics.md are those of the registry, in both directions."""
    told = documented("Operator")
    assert len(told) > 25
    collectors = {id(c): c for c in Metrics().registry._names_to_collectors.values()}.values()
    assert exposed(collectors) == told


def test_a_roll_out_ages_between_reports_and_is_settled_at_once() -> None:
    """The age grows with the clock alone; a roll-out called stuck keeps its beginning."""
    metrics, now = Metrics(), [100.0]
    metrics.systems.now = lambda: now[0]
    labels = {"namespace": "trading", "system": "desk"}
    metrics.systems.tell("trading", "desk", PROGRESSING, moving=90.0, gpus={})
    now[0] = 700.0
    assert value(metrics, "qts_system_progressing_seconds", **labels) == 610.0
    metrics.systems.tell("trading", "desk", PROGRESSING | {"Progressing": "False"}, moving=690.0, gpus={})
    assert value(metrics, "qts_system_progressing_seconds", **labels) == 610.0
    metrics.systems.tell("trading", "desk", {"Ready": "True"}, moving=None, gpus={})
    assert value(metrics, "qts_system_progressing_seconds", **labels) == 0.0
    assert value(metrics, "qts_system_condition", **labels, type="Ready") == 1.0


def test_gpu_seconds_count_what_is_held_when_it_is_held() -> None:
    """Two devices for 10 s, then one for 5 s: 25; unreadable specs change nothing, a GPU given back stops."""
    metrics, now = Metrics(), [0.0]
    metrics.systems.now = lambda: now[0]
    labels = {"namespace": "trading", "system": "desk"}

    def held(agent: str) -> float | None:
        return value(metrics, "qts_system_gpu_seconds_total", **labels, agent=agent)

    metrics.systems.tell("trading", "desk", {"Ready": "True"}, moving=None, gpus={"quasar": 2, "amos": 0})
    now[0] = 10.0
    metrics.systems.tell("trading", "desk", {"Ready": "Unknown"}, moving=None, gpus={"quasar": 1, "amos": 1})
    now[0] = 15.0
    assert (held("quasar"), held("amos"), held("qbmia")) == (25.0, 5.0, None)
    assert value(metrics, "qts_system_condition", **labels, type="Ready") == -1.0
    metrics.systems.tell("trading", "desk", {"Ready": "Unknown"}, moving=None, gpus=None)
    now[0] = 20.0
    assert (held("quasar"), held("amos")) == (30.0, 10.0)
    metrics.systems.tell("trading", "desk", {"Ready": "True"}, moving=None, gpus={"quasar": 1})
    now[0] = 30.0
    assert (held("quasar"), held("amos")) == (40.0, 10.0)
    metrics.systems.forget("trading", "desk")
    assert held("quasar") is None
    metrics.systems.tell("trading", "desk", {"Ready": "True"}, moving=None, gpus=None)
    assert held("quasar") is None
    with pytest.raises(LocalError, match="Maybe"):
        metrics.systems.tell("trading", "desk", {"Ready": "Maybe"}, moving=None, gpus={})


def test_series_with_a_systems_name_can_be_left_out() -> None:
    """Above 2,000 systems nobody wants nine series each."""
    metrics = Metrics(per_object=False)
    metrics.systems.tell("trading", "desk", {"Ready": "True"}, moving=None, gpus={"amos": 1})
    metrics.restarted("trading", "desk", "amos", "PodFailed")
    metrics.restarted("trading", "other", "amos", "PodFailed")
    assert b"qts_system_" not in metrics.text()
    assert value(metrics, "qts_agent_restarts_total", **NOBODY, agent="amos", reason="PodFailed") == 2.0


def test_restarts_are_told_by_system_until_it_is_gone() -> None:
    """Four restarts in a thousand systems are not four of one."""
    metrics = Metrics()
    for system in ("desk", "desk", "other"):
        metrics.restarted("trading", system, "amos", "PodFailed")

    def restarts(system: str) -> float | None:
        labels = {"namespace": "trading", "system": system, "agent": "amos", "reason": "PodFailed"}
        return value(metrics, "qts_agent_restarts_total", **labels)

    assert (restarts("desk"), restarts("other")) == (2.0, 1.0)
    metrics.forget("trading", "desk")
    assert (restarts("desk"), restarts("other")) == (None, 1.0)


def test_the_queue_counts_those_that_wait_for_a_worker() -> None:
    """A look at a resting system that is planned for later is no backlog."""
    queue = WorkQueue()
    queue.add("trading/desk", 0.0)
    queue.add_after("trading/other", 30.0, 0.0)
    assert queue.waiting() == 1


def test_a_scraper_that_asks_for_openmetrics_gets_exemplars() -> None:
    """Prometheus' own text has no room for them."""
    metrics = Metrics()
    metrics.reconcile_seconds.labels("ok").observe(0.01, {"trace_id": "6f" * 16})
    pieces, kind = metrics.exposition(OPENMETRICS)
    assert "openmetrics-text" in kind
    assert f'trace_id="{"6f" * 16}"'.encode() in b"".join(pieces)
    pieces, kind = metrics.exposition("text/plain")
    plain = b"".join(pieces)
    assert kind.startswith("text/plain")
    assert b"6f6f" not in plain
    assert any(f.name == "qts_leader" for f in text_string_to_metric_families(plain.decode()))


def thousands() -> Metrics:
    """Return metrics of so many systems that their text takes several pieces, at a time that stands still."""
    metrics = Metrics()
    metrics.registry.unregister(metrics.process)
    metrics.systems.now = lambda: 7.25
    conditions = {"Ready": "True", "Progressing": "Unknown"}
    for number in range(2000):
        gpus = {"amos": number % 3, 'a "b"\\': 1}
        metrics.systems.tell("trading", f"desk-{number}", conditions, moving=number % 2 or None, gpus=gpus)
    return metrics


@pytest.mark.parametrize("accept", ["", "text/plain; version=1.0.0", OPENMETRICS])
def test_the_pieces_of_a_scrape_are_the_text_that_the_client_library_makes(accept: str) -> None:
    """To the byte, in each format: heads of families once, and one end."""
    metrics = thousands()
    metrics.restarted("trading", "desk-1", "amos", "PodFailed")
    metrics.reconcile_seconds.labels("ok").observe(0.01, {"trace_id": "6f" * 16})
    encode, kind = choose_encoder(accept)
    found, told = metrics.exposition(accept)
    pieces = list(found)
    assert told == kind
    assert b"".join(pieces) == encode(metrics.registry)
    assert len(pieces) > 5
    assert max(map(len, pieces)) < 3 * PIECE


def test_a_scrape_of_thousands_takes_less_memory_than_its_text() -> None:
    """At once it took five times the text, and left a part of that behind."""
    metrics = thousands()
    tracemalloc.start()
    try:
        length = sum(map(len, metrics.exposition("")[0]))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < length


async def test_the_loop_goes_on_while_thousands_of_systems_are_scraped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Leases are renewed and events read meanwhile; the answer is whole."""
    engine, threads = Engine(OPTIONS), list[int]()
    engine.metrics = thousands()
    make = engine.metrics.exposition

    def noted(pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            threads.append(threading.get_ident())
            yield piece

    monkeypatch.setattr(engine.metrics, "exposition", lambda accept: (noted(make(accept)[0]), "text/plain"))
    ((path, handler),) = [
        (route.path, route.handler)
        for _, routes in engine._routes()
        for route in routes
        if route.path == names.PATH_METRICS
    ]
    application = web.Application()
    application.router.add_get(path, handler)
    async with TestClient(TestServer(application)) as client:
        async with client.get(path) as response:
            body = await response.read()
        async with client.head(path) as response:
            assert (response.status, await response.read()) == (200, b"")
    assert body == engine.metrics.text()
    assert len(threads) > 5
    assert threading.get_ident() not in threads


def test_the_age_of_what_asked_for_a_pass_survives_the_pass_before() -> None:
    """An event that comes while a pass runs is as old as it is, not as old as that pass's end."""
    queue = WorkQueue()
    queue.add("a", 1.0)
    assert queue.take(2.0) == "a"
    assert queue.since_s("a", 2.5) == 1.5
    queue.add("a", 3.0)
    queue.done("a", 9.0)
    assert queue.oldest_s(9.0) == 6.0
    assert queue.take(9.0) == "a"
    assert queue.since_s("a", 10.0) == 7.0


async def test_values_are_those_of_the_cluster() -> None:
    """Leader, objects, spec changes, event to write: as the cluster in memory has them."""
    api = FakeCluster()
    api.system("trading", "before", {})
    async with running(api, OPTIONS) as engine:
        metrics = engine.metrics
        await until(lambda: value(metrics, "qts_reflector_objects", kind="QuantumTradingSystem") == 1.0)
        await until(lambda: value(metrics, "qts_leader") == 1.0)
        assert value(metrics, "qts_spec_changes_total") == 0.0
        api.system("trading", "desk", {})
        await until(lambda: value(metrics, "qts_spec_changes_total") == 1.0)
        await until(lambda: (value(metrics, "qts_event_to_write_seconds_count") or 0.0) >= 2.0)
        await until(
            lambda: (
                value(metrics, "qts_reflector_objects", kind="Deployment")
                == len([k for k in api.objects if k[0] == "Deployment"])
            )
        )
        assert 0.0 <= (value(metrics, "qts_reflector_last_event_age_seconds", kind="Pod") or -1.0) < 60.0
        assert value(metrics, "qts_system_condition", namespace="trading", system="desk", type="Ready") == 0.0
    async with running(api, msgspec.structs.replace(OPTIONS, identity="two", per_object=False)) as engine:
        await until(lambda: value(engine.metrics, "qts_reflector_objects", kind="Deployment") == 10.0)
        assert value(engine.metrics, "qts_spec_changes_total") == 0.0


async def test_a_pause_is_told_apart_from_what_is_lost_in_it() -> None:
    """Changes wait and all runs on: nobody need be woken; without a pod, or Redis, it is another matter."""
    api = FakeCluster()
    api.system("trading", "desk", {})
    paused = {"name": "qts_system_paused", "namespace": "trading", "system": "desk"}
    async with running(api, OPTIONS) as engine:
        await until(lambda: len(api.names("Deployment", "trading")) == 5)
        api.settle("trading")
        await until(lambda: condition(api, "Ready", "desk")[0] == "True")
        assert value(engine.metrics, **paused) is None
        api.system("trading", "desk", {"paused": True, "agents": {"amos": {"replicas": 2}}})
        await until(lambda: value(engine.metrics, **paused) == 1.0)
        assert condition(api, "Ready", "desk") == ("False", "SpecNotApplied")
        for kind, name in (("Deployment", "desk-pads"), ("StatefulSet", "desk-redis")):
            api.change(kind, "trading", name, lambda live: live["status"].update(readyReplicas=0))
            await until(lambda: value(engine.metrics, **paused) is None)
            api.settle("trading")
            await until(lambda: value(engine.metrics, **paused) == 1.0)
        api.system("trading", "desk", {"paused": False})
        await until(lambda: value(engine.metrics, **paused) is None)


async def test_only_who_leads_tells_of_systems() -> None:
    """A former leader is silent at once; when it leads again nothing of before the other's time is told."""
    api = FakeCluster()
    async with running(api, OPTIONS) as engine:
        metrics = engine.metrics
        await until(engine.leads)
        metrics.systems.tell("trading", "desk", {"Ready": "False"}, moving=None, gpus={"amos": 1})
        assert value(metrics, "qts_system_condition", namespace="trading", system="desk", type="Ready") == 0
        lease = api.objects[("Lease", OPTIONS.namespace, "qts-operator")]
        lease["spec"]["holderIdentity"] = "another"
        engine._leader._election.lost()
        assert b'system="desk"' not in metrics.text()
        lease["spec"]["holderIdentity"] = ""
        await until(engine.leads)
        await until(lambda: value(metrics, "qts_lease_transitions_total") == 2)
        assert b'system="desk"' not in metrics.text()


def test_lines_and_spans_that_were_lost_are_counted_once() -> None:
    """Each beat brings what the process has counted so far."""
    metrics = Metrics()
    for spans, lines in ((0, 0), (2, 5), (2, 7)):
        metrics.dropped(spans, lines)
    assert value(metrics, "qts_spans_dropped_total") == 2.0
    assert value(metrics, "qts_log_lines_suppressed_total") == 7.0
