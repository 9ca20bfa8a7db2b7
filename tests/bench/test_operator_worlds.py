"""A world without pods, and the bare client in the operator's place: what they say is what is true there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bench.operator import read
from bench.operator_floor import TOKEN, Floor, asked, objects, policy, said
from bench.operator_statuses import ready, those_running
from bench.operator_stream import LABEL

from qts_core import names
from qts_operator.conditions import broken
from qts_operator.digests import child
from qts_operator.objects.frame import Defaults
from qts_operator.plan import due, line
from qts_operator.resolve import resolve

KEY = "trading", "desk"
STATUS = """etcd                       running, pid 12
kube-apiserver             running, pid 13
kube-controller-manager    running, pid 14
kube-scheduler             stopped
kwok                       running, pid 15
NAME   STATUS
kube-scheduler   Ready
"""


def _workload(**status: Any) -> dict[str, Any]:
    metadata = {"name": "desk-pads", "generation": 3}
    return {"metadata": metadata, "spec": {"replicas": 2}, "status": status}


def test_a_workload_is_said_to_be_ready_once_for_each_generation() -> None:
    told = ready(_workload(), "Deployment")
    assert told is not None
    assert ready(_workload(**told), "Deployment") is None
    older = _workload(**told | {"observedGeneration": 2})
    assert ready(older, "Deployment") == told
    assert ready(_workload(**told | {"readyReplicas": 1}), "Deployment") == told


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_what_is_said_of_a_workload_is_settled_for_the_operator(kind: str) -> None:
    live = _workload()
    live["metadata"] |= {"uid": "u", "namespace": "trading"}
    assert not child(live, kind).settled
    assert child(live | {"status": ready(live, kind)}, kind).settled


def test_a_workload_of_nobody_is_ready_without_pods() -> None:
    told = ready(_workload() | {"spec": {"replicas": 0}}, "Deployment")
    assert told is not None
    assert told["readyReplicas"] == 0


def test_of_the_others_those_that_run_are_found_in_the_order_in_which_they_are_stopped() -> None:
    assert those_running(STATUS) == ["kube-controller-manager", "kwok"]


def test_the_bare_client_sends_what_the_operator_would_in_its_order() -> None:
    seen = asked(*KEY)
    sent = objects(seen, "qts-system")
    actions = due(resolve(seen, Defaults(namespace="qts-system"))[0], {}, {})
    assert [line(action) for action in actions] == [
        f"Create {m['kind']}/{m['metadata']['name']}" for m in sent
    ]
    assert all(m["data"] for m in sent if m["kind"] == "Secret")


def test_the_status_of_the_bare_client_says_ready_and_breaks_no_law() -> None:
    told = said(asked(*KEY), "qts-system")
    assert {c["type"]: c["status"] for c in told["conditions"]}["Ready"] == "True"
    assert not broken({}, told)


def test_a_change_alters_one_object_which_carries_its_token() -> None:
    text = policy(asked(*KEY), "qts-system")
    assert text.count(TOKEN) == 1
    assert '"NetworkPolicy"' in text


class _Wire:
    """What was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    async def create(self, manifest: dict[str, Any]) -> None:
        self.sent.append(("create", manifest))

    async def apply(self, path: str, body: dict[str, Any], _: str) -> None:
        self.sent.append((path.rpartition("/")[2], body))


def _system(generation: int, token: str = "") -> dict[str, Any]:
    spec = {"networkPolicy": {"metricsFrom": {LABEL: token}}} if token else {}
    metadata = {"namespace": KEY[0], "name": KEY[1], "uid": "uid-1", "generation": generation}
    return {"metadata": metadata, "spec": spec}


async def _drain(floor: Floor, wire: _Wire) -> list[str]:
    before = len(wire.sent)
    while not floor.todo.empty():
        await floor.todo.get_nowait()(wire)
    return [what for what, _ in wire.sent[before:]]


async def _played() -> None:
    floor, wire = Floor([KEY], "qts-system"), _Wire()
    floor.system(_system(1))
    floor.system(_system(1))  # its status was written: nothing is due
    assert len(await _drain(floor, wire)) == len(objects(asked(*KEY), "qts-system"))
    assert {m["metadata"]["ownerReferences"][0]["uid"] for _, m in wire.sent} == {"uid-1"}
    workloads = [m for _, m in wire.sent if m["kind"] in ("Deployment", "StatefulSet")]
    for number, manifest in enumerate(workloads):
        metadata = manifest["metadata"] | {"generation": 1}
        live = manifest | {"metadata": metadata}
        floor.workload(manifest["kind"], live)  # not available yet
        floor.workload(manifest["kind"], live | {"status": ready(live, manifest["kind"])})
        assert await _drain(floor, wire) == (["status"] if number + 1 == len(workloads) else [])
    floor.system(_system(2, "stream-1"))
    floor.system(_system(2, "stream-1"))
    assert await _drain(floor, wire) == [names.part(KEY[1], "agents"), "status"]
    assert wire.sent[-1][1]["status"]["observedGeneration"] == 2
    assert "stream-1" in str(wire.sent[-2][1])
    assert len(floor.own) == 1


def test_each_object_is_sent_once_and_the_status_after_the_last_workload() -> None:
    asyncio.run(_played())


def test_a_strangers_system_is_not_played() -> None:
    floor = Floor([KEY], "qts-system")
    stranger = _system(1)
    stranger["metadata"]["name"] = "another"
    floor.system(stranger)
    floor.workload(
        "Deployment", {"metadata": {"namespace": "trading", "name": "x", "labels": {}}, "spec": {}}
    )
    assert floor.todo.empty()


def test_rates_are_measured_from_the_lowest_and_without_a_stream_there_are_none() -> None:
    given, as_json = read(["--json", "--rates", "50,5", "--statuses", "--systems", "7"])
    assert (given.rates, given.title, as_json) == ((5.0, 50.0), "7 systems without pods", True)
    assert read(["--stream", "0"])[0].rates == ()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--rates", "5,x"], "--rates: '5,x'; give numbers"),
        (["--rates", "0"], "--rates: 0; give a number above 0"),
        (["--systems", "0"], "--systems: 0"),
        (["--silence", "nan"], "--silence: nan"),
        (["--floor", "-1"], "--floor and --stream"),
    ],
)
def test_a_number_that_cannot_be_is_refused_by_name(words: list[str], text: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as refused:
        read(words)
    assert refused.value.code == 2
    assert text in capsys.readouterr().err
