"""What one object holds, or one task does, blinds nobody to the rest."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs
from tests.loops import until
from tests.unit.control_plane.engines import running

from qts_core import names
from qts_operator import digests, lines
from qts_operator.cluster import PODS, Read, _events
from qts_operator.look import Usage
from qts_operator.main import Engine, Options
from qts_operator.metrics import Metrics
from qts_operator.middleware import ApiError
from qts_operator.session import Access
from qts_operator.snapshot import Node, Snapshot
from qts_operator.testing import FakeCluster
from qts_operator.unread import NAMED, Unread
from qts_operator.view import View

OPTIONS = Options(access=Access(server="http://nowhere"), identity="one", http_port=0, metrics_port=0)
WRONG = "many"


def pod(name: str, asked: str, namespace: str = "theirs", labels: dict[str, str] | None = None) -> dict:
    """Return a pod that asks for `asked` of a device."""
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "uid": f"uid-{name}"}
    limits = {"example.com/x": asked}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata | {"labels": labels or {names.LABEL_MANAGED_BY: names.MANAGED_BY}},
        "spec": {"containers": [{"name": "c", "resources": {"limits": limits}}]},
    }


async def test_a_pod_that_cannot_be_read_hides_no_other() -> None:
    """Before the start and while it runs, of any tenant: counted, named once, passed over."""
    api = FakeCluster()
    for name, asked in (("bad", WRONG), ("good", "1e3")):
        await api.create(PODS, pod(name, asked))
    with capture_logs() as log:
        async with running(api, OPTIONS) as engine:
            await until(lambda: engine.ready() == "")
            assert [p.name for p in engine.view.pods.all()] == ["good"]
            assert engine.view.pods.all()[0].limits == {"example.com/x": 1000}
            await api.create(PODS, pod("worse", WRONG))
            await api.create(PODS, pod("better", "2"))
            await until(lambda: len(engine.view.pods) == 2)
            counted = engine.metrics.registry.get_sample_value("qts_objects_unread_total", {"kind": "Pod"})
            assert counted == 2
            assert engine.healthy() == ""
    named = [(e["kind"], e["name"], e["error"]) for e in log if e["event"] == "object cannot be read"]
    wrong = f'ValueError: "{WRONG}" is no quantity'
    assert named == [("Pod", "theirs/bad", wrong), ("Pod", "theirs/worse", wrong)]


def test_a_node_that_cannot_be_read_is_named_once_however_often_it_is_seen() -> None:
    """The count goes on; what is remembered has an end."""
    metrics = Metrics()
    unread = Unread(metrics)
    live = {"metadata": {"name": "n"}, "status": {"allocatable": {"example.com/x": WRONG}}}
    with capture_logs() as log:
        assert [unread.attempt("Node", live, digests.node) for _ in range(3)] == [None] * 3
        for each in ([], None, *({"metadata": {"name": f"n{i}"}, "spec": 3} for i in range(NAMED + 5))):
            assert unread.attempt("Node", each, digests.node) is None
    assert log[0]["name"] == "n"
    assert sum(e["name"] == "n" for e in log) == 1
    assert len(unread._named) == NAMED
    assert unread.attempt("Node", {"metadata": {"name": "m"}}, digests.node) == Node(name="m")


def test_what_can_no_longer_be_read_can_still_go() -> None:
    """A deletion needs no more than the name; another object of that name is not taken for it."""
    asked: list[str] = []
    view = View(asked.append)
    sink = view.sink_pods()
    ours = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_SYSTEM: "desk"}
    sink.put(_at(pod("p", "1", labels=ours), 5))
    asked.clear()
    stranger = _at(pod("p", "1", labels=ours), 6)
    stranger["metadata"]["uid"] = "another"
    sink.remove(stranger)
    assert len(view.pods) == 1
    sink.remove(_at(pod("p", WRONG, labels=ours), 9))
    assert len(view.pods) == 0
    assert asked == ["theirs/desk"]
    sink.put(_at(pod("p", "1", labels=ours), 8))
    assert len(view.pods) == 0, "an event of before its end"


def _at(live: dict[str, Any], version: int) -> dict[str, Any]:
    live["metadata"]["resourceVersion"] = str(version)
    return live


async def test_pods_of_others_that_cannot_be_read_take_no_device_and_stop_no_pass() -> None:
    """On a node with devices they are passed over; the others on it count."""
    api, metrics = FakeCluster(), Metrics()
    for name, asked in (("bad", WRONG), ("good", "2")):
        await api.create(PODS, pod(name, asked, labels={"app": "theirs"}))
    usage = Usage(api, Unread(metrics))
    resource = "example.com/x"
    snapshot = Snapshot(
        namespace="n",
        name="desk",
        uid="u",
        generation=1,
        now=0.0,
        spec={"agents": {"quasar": {"gpu": {"mode": "Required", "resourceName": resource}}}},
        status={},
        nodes=(Node(name="gpu-a", allocatable={resource: 8}),),
    )
    assert await usage.of(snapshot, 0.0, list) == {"gpu-a": {resource: 2}}
    assert metrics.registry.get_sample_value("qts_objects_unread_total", {"kind": "Pod"}) == 1


@pytest.mark.parametrize("read", [orjson.loads, lines.head, lines.pod])
@pytest.mark.parametrize(
    "line", [b"[]", b"3", b"null", b'"text"', b'{"type":"ADDED","object":[]}', b'{"object":{"metadata":{}}}']
)
async def test_a_line_that_is_no_event_ends_a_watch_as_silence_does(line: bytes, read: Read) -> None:
    """Valid JSON, but not what a server says."""

    async def told():
        yield line

    with pytest.raises(ApiError, match="no event"):
        [event async for event in _events(told(), read)]


async def test_a_task_that_ends_unasked_is_told_by_the_probe_and_the_log() -> None:
    """Everything else goes on without it, so only a start anew helps; the kubelet reads /healthz."""
    api = FakeCluster()
    with capture_logs() as log:
        async with running(api, OPTIONS) as engine:
            await until(lambda: engine.ready() == "")
            assert engine.healthy() == ""
            beat = next(t for t in asyncio.all_tasks() if t.get_name() == "Engine._beat")
            beat.cancel()
            await until(engine.healthy)
            assert engine.healthy() == "Engine._beat has ended"
            assert [e["task"] for e in log if e["event"] == "task ended"] == ["Engine._beat"]
    assert [e["task"] for e in log if e["event"] == "task ended"] == ["Engine._beat"], "the others were asked"


async def test_the_error_that_ended_a_task_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the probe, and in the log with its traceback."""

    async def failing(self: Engine) -> None:
        raise ValueError("for example")

    monkeypatch.setattr(Engine, "_tidy", failing)
    with capture_logs() as log:
        async with running(FakeCluster(), OPTIONS) as engine:
            await until(engine.healthy)
            assert engine.healthy().endswith("has ended: ValueError('for example')")
    assert isinstance(next(e["exc_info"] for e in log if e["event"] == "task ended"), ValueError)
