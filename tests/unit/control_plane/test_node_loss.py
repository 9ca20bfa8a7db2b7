"""A node that goes away: what is read of it, whose pass it asks for, and the order of record and deletion."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from qts_core import names
from qts_core.parts import Agent, Pods, Toleration
from qts_operator import digests, restarts, steps
from qts_operator.node_loss import by_name, lost_in, replaceable
from qts_operator.objects.frame import Defaults
from qts_operator.snapshot import Node, Pod
from qts_operator.view import View

SINCE = "2026-08-01T09:00:00Z"


def live_node(status: str, version: str = "1") -> dict[str, Any]:
    """Return a node as the server lists it."""
    ready = {"type": "Ready", "status": status, "lastTransitionTime": SINCE}
    return {"metadata": {"name": "n1", "resourceVersion": version}, "status": {"conditions": [ready]}}


def live_pod(name: str, system: str, node: str) -> dict[str, Any]:
    """Return a pod as the server lists it."""
    labels = {names.LABEL_SYSTEM: system}
    metadata = {"name": name, "namespace": "trading", "uid": name, "labels": labels}
    return {"metadata": metadata, "spec": {"nodeName": node}}


@pytest.mark.parametrize(
    ("status", "since"), [("True", 0.0), ("False", 1785574800.0), ("Unknown", 1785574800.0)]
)
def test_a_node_is_unready_since_its_condition_changed(status: str, since: float) -> None:
    """Also when its kubelet is silent (Unknown); a ready node has no such time, so heartbeats move nothing."""
    assert digests.node(live_node(status)).unready_since == since


def test_a_node_that_goes_asks_for_a_pass_of_those_who_are_on_it() -> None:
    """Of nobody else, and not when it is well."""
    poked: list[str] = []
    view = View(poked.append)
    for name, system, node in (("a", "desk-1", "n1"), ("b", "desk-2", "n2")):
        view.sink_pods().put(live_pod(name, system, node))
    poked.clear()
    view.sink_nodes().put(live_node("True"))
    assert poked == []
    view.sink_nodes().put(live_node("Unknown", "2"))
    assert poked == ["trading/desk-1"]


def test_a_pass_records_the_loss_before_it_deletes_the_pod(snapshot_of) -> None:
    """And looks again in time when the minute is not over."""
    pod = Pod(namespace="trading", name="p", uid="u", version="1", agent="amos", phase="Running", node="n1")

    def run(after_s: float) -> tuple[steps.Pass, list[steps.Request]]:
        nodes = (Node(name="n1", ready=False, unready_since=1e9 - after_s), Node(name="n2"))
        seen = steps.Seen(snapshot_of(pods=(pod,), nodes=nodes))
        state, request = steps.begin(Defaults(), 1e9)
        asked: list[steps.Request] = []
        while request is not None:
            asked.append(request)
            looking = isinstance(request, steps.Look)
            state, request = steps.step(state, seen if looking else steps.Done())
        return state, asked

    state, asked = run(20.0)
    assert 40.0 in state.recheck_s
    assert not [r for r in asked if isinstance(r, restarts.Restart)]
    state, asked = run(61.0)
    told = next(i for i, r in enumerate(asked) if isinstance(r, steps.Report))
    gone = next(i for i, r in enumerate(asked) if isinstance(r, restarts.Restart))
    assert told < gone
    entry = next(e for e in state.status["agentStatuses"] if e["name"] == "amos")
    assert (entry["restarts"], entry["lastRestart"]["reason"]) == (1, "NodeLost")


def test_a_pod_with_claimed_devices_is_not_taken_for_replaceable() -> None:
    """Of claimed devices only the scheduler knows; without a claim any other ready node would do."""
    nodes = by_name((Node(name="n1", ready=False), Node(name="n2")))
    pod = Pod(namespace="trading", name="p", uid="u", version="1", agent="amos", node="n1")
    assert replaceable(pod, Pods(), nodes, {})
    assert not replaceable(msgspec.structs.replace(pod, claims=("gpu",)), Pods(), nodes, {})


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (Node(name="n1", ready=False, unready_since=100.0), 30.0),
        (Node(name="n1", ready=True, unready_since=100.0), None),
        (Node(name="n1", ready=False, unready_since=0.0), None),
        (Node(name="n2", ready=False, unready_since=100.0), None),
    ],
)
def test_a_node_is_lost_a_minute_after_it_was_last_ready(node: Node, expected: float | None) -> None:
    """Its own pods alone; of one whose time is not known nothing is said."""
    pod = Pod(namespace="trading", name="p", uid="u", version="1", node="n1")
    assert lost_in(pod, by_name((node,)), 130.0) == expected


@pytest.mark.parametrize(
    ("node", "takes"),
    [
        ({}, True),
        ({"name": "n1"}, False),
        ({"ready": False}, False),
        ({"unschedulable": True}, False),
        ({"taints": (("team", "b", "NoSchedule"),)}, False),
        ({"taints": (("team", "a", "NoSchedule"),)}, True),
        ({"labels": {"disk": "hdd"}}, False),
        ({"labels": {}}, False),
        ({"allocatable": {"gpu": 3}}, True),
        ({"allocatable": {"gpu": 2}}, False),
        ({"allocatable": {}}, False),
    ],
)
def test_a_node_takes_a_pod_when_everything_fits(node: dict[str, Any], takes: bool) -> None:
    """Another one, which is ready, tolerated and labelled as asked for, with as many devices free."""
    well = {"name": "n2", "labels": {"disk": "ssd"}, "allocatable": {"gpu": 4}}
    asked = Agent(node_selector={"disk": "ssd"}, tolerations=(Toleration(key="team", value="a"),))
    pod = Pod(namespace="trading", name="p", uid="u", version="1", node="n1", limits={"gpu": 2})
    nodes = by_name((Node(**(well | node)),))
    assert replaceable(pod, asked, nodes, {"n2": {"gpu": 1}, "n3": {"gpu": 4}}) is takes
    poor = Node(name="n0", labels={"disk": "ssd"})
    assert replaceable(pod, asked, by_name((poor, *nodes.values())), {"n2": {"gpu": 1}}) is takes
