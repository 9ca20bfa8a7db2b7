"""What the watch shows of our own writes asks for no pass; what it shows of anybody else's does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest
from tests.loops import until
from tests.unit.control_plane.engines import NAME, NS, condition, quiet, running

from qts_core import names
from qts_operator.echoes import Echoes
from qts_operator.progress import comes_up, grows
from qts_operator.snapshot import Child, Pod
from qts_operator.testing import FakeCluster
from qts_operator.view import View
from qts_operator.workqueue import WorkQueue

ITEM = ("Service", NS, "desk-1-pads")


def _asks(echoes: Echoes, key: str = "k") -> tuple[list[str], Callable[..., None]]:
    told: list[str] = []

    def show(version: str, item: tuple[str, str, str] = ITEM) -> None:
        echoes.ask(key, item, version, lambda: told.append(version))

    return told, show


def test_without_a_request_everything_asks_at_once() -> None:
    told, show = _asks(Echoes())
    show("7")
    assert told == ["7"]


def test_an_echo_before_the_answer_asks_for_nothing_and_a_later_version_does() -> None:
    """An older one is in the answer too."""
    echoes = Echoes()
    told, show = _asks(echoes)
    echoes.begin("k")
    for version in ("6", "7", "8"):
        show(version)
    show("5", ("Service", NS, "another"))
    assert told == [], "while the request is on its way nobody knows whose doing it is"
    echoes.end("k", ITEM, "7")
    assert told == ["8", "5"]
    show("9")
    assert told[-1] == "9"


def test_a_request_that_wrote_nothing_has_no_echo() -> None:
    echoes = Echoes()
    told, show = _asks(echoes)
    echoes.begin("k")
    show("7")
    echoes.end("k")
    assert told == ["7"]


def test_a_request_of_another_system_holds_nothing() -> None:
    echoes = Echoes()
    told, show = _asks(echoes, "other")
    echoes.begin("k")
    show("7")
    assert told == ["7"]


class Prompt(FakeCluster):
    """Its watch shows each write before the writer has its answer."""

    async def apply(self, manifest, *, uid, manager=names.FIELD_MANAGER):
        answer = await super().apply(manifest, uid=uid, manager=manager)
        await asyncio.sleep(0.01)
        return answer

    async def put_status(self, namespace, name, uid, status):
        answer = await super().put_status(namespace, name, uid, status)
        await asyncio.sleep(0.01)
        return answer


async def test_a_change_of_one_field_takes_one_pass() -> None:
    """And one write of the object, and one of the status, though the watch is faster than both answers."""
    api = Prompt()
    api.system(NS, NAME, {})
    async with running(api) as engine:
        await until(lambda: len(api.names("Deployment", NS)) == 5)
        await until(lambda: condition(api, "Progressing")[0])
        api.settle(NS)
        await until(lambda: condition(api, "Ready")[0] == "True")
        await quiet(api)
        took: list[str] = []
        take = engine.queue.take

        def taken(now: float) -> str | None:
            key = take(now)
            took.extend([key] if key else [])
            return key

        engine.queue.take = taken
        before = len(api.writes())
        spec = {"networkPolicy": {"metricsFrom": {"team": "desk"}}}
        api.system(NS, NAME, spec)
        await until(lambda: len(api.writes()) == before + 2)
        await quiet(api)
    assert [kind for _, kind, _ in api.writes()[before:]] == ["NetworkPolicy", names.KIND]
    assert took == [f"{NS}/{NAME}"]


def test_what_a_pass_could_not_do_is_as_old_as_it_is() -> None:
    """It waits for the watch, and its time counts; another event meanwhile makes it no younger."""
    queue = WorkQueue()
    queue.add("a", 1.0)
    queue.take(2.0)
    queue.put_off("a", 0.5, 2.0)
    queue.done("a", 2.0)
    assert queue.take(2.4) is None
    queue.add("a", 2.45)
    assert queue.oldest_s(2.5) == pytest.approx(0.05), "it waits for a worker since then"
    assert queue.take(2.5) == "a"
    assert queue.since_s("a", 3.0) == 2.0
    queue.done("a", 3.0)
    queue.add("a", 4.0)
    queue.take(4.0)
    assert queue.since_s("a", 4.5) == 0.5, "what was done is not told again"


WORKLOAD = Child(
    kind="Deployment", namespace=NS, name="desk-1-pads", uid="u", version="1", system=NAME, replicas=1
)
POD = Pod(namespace=NS, name="p", uid="u", version="1", system=NAME, phase="Pending")


@pytest.mark.parametrize(
    ("change", "progress"),
    [
        ({"observed": 1, "current": 1}, True),
        ({"ready": 1, "available": 1}, True),
        ({"generation": 2}, False),
        ({"digest": "another"}, False),
        ({"stuck": True}, False),
        ({"failure": "quota"}, False),
        ({"deleting": True}, False),
    ],
)
def test_a_workload_grows_by_its_numbers_alone(change: dict, progress: bool) -> None:
    now = msgspec.structs.replace(WORKLOAD, version="2", **change)
    assert grows(WORKLOAD, now) is progress
    assert not grows(None, now), "nobody but us makes one"


@pytest.mark.parametrize("lost", ["ready", "available"])
def test_a_workload_that_loses_a_pod_does_not_grow(lost: str) -> None:
    assert not grows(msgspec.structs.replace(WORKLOAD, **{lost: 1}), WORKLOAD)


@pytest.mark.parametrize(
    ("change", "progress"),
    [
        ({"node": "a"}, True),
        ({"phase": "Running", "ready": True}, True),
        ({"waiting": "ContainerCreating"}, True),
        ({"waiting": "ImagePullBackOff"}, False),
        ({"unschedulable": "no node"}, False),
        ({"deleting": True}, False),
        ({"exited": True}, False),
        ({"phase": "Failed"}, False),
        ({"reason": "Evicted"}, False),
    ],
)
def test_a_pod_comes_up_while_nothing_holds_it(change: dict, progress: bool) -> None:
    now = msgspec.structs.replace(POD, version="2", **change)
    assert comes_up(POD, now) is progress
    assert comes_up(None, now) is progress


def test_a_pod_that_is_ready_no_more_does_not_come_up() -> None:
    assert not comes_up(msgspec.structs.replace(POD, ready=True), POD)


def _viewed(gang: bool = False) -> tuple[View, list[str], Callable[[str, int], None]]:
    """Return a view of a system of two workloads, what it asks for, and what shows one of them."""
    asked: list[str] = []
    view = View(
        lambda _: asked.append("poke"),
        gather=lambda _: asked.append("gather"),
        progress=lambda _: asked.append("progress"),
    )
    metadata = {"namespace": NS, "name": NAME, "uid": "s", "generation": 1, "resourceVersion": "1"}
    spec = {"startup": "AllOrNothing"} if gang else {}
    view.sink_systems().put({"metadata": metadata, "spec": spec})
    sink = view.sink_children("Deployment")
    versions = iter(range(2, 100))

    def show(name: str, ready: int) -> None:
        owner = {"kind": names.KIND, "name": NAME, "uid": "s", "controller": True}
        metadata = {"namespace": NS, "name": name, "uid": name, "ownerReferences": [owner], "generation": 1}
        metadata["resourceVersion"] = str(next(versions))
        status = {"observedGeneration": 1, "readyReplicas": ready, "availableReplicas": ready}
        sink.put({"metadata": metadata, "spec": {"replicas": 1}, "status": status})

    for name in ("a", "b"):
        show(name, 0)
    asked.clear()
    return view, asked, show


def test_of_a_start_only_what_may_end_it_is_told_soon() -> None:
    """Ready must follow the last pod within a second; what comes before it is numbers."""
    _, asked, show = _viewed()
    show("a", 1)
    assert asked == ["progress"]
    show("b", 1)
    assert asked == ["progress", "gather"]
    show("b", 0)
    assert asked[2:] == ["gather"], "what is lost is told soon"


def test_who_starts_all_or_nothing_counts_every_pod() -> None:
    _, asked, show = _viewed(gang=True)
    show("a", 1)
    assert asked == ["gather"]
