"""A node that goes away: what is read of it, whose pass it asks for, and the order of record and deletion."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from tests.loops import until
from tests.unit.control_plane.conftest import make_snapshot
from tests.unit.control_plane.engines import NAME, NS, running

from qts_core import names
from qts_core.parts import Agent, Pods, Toleration
from qts_operator import digests, restarts, steps
from qts_operator.cluster import NODES, PODS
from qts_operator.node_loss import by_name, lost_in, spare, stranded
from qts_operator.objects.frame import Defaults
from qts_operator.snapshot import Node, Pod, Snapshot
from qts_operator.testing import FakeCluster
from qts_operator.times import stamp
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


def passed(snapshot: Snapshot) -> tuple[steps.Pass, list[steps.Request]]:
    """Return how a pass ended that saw nothing else, and what it asked for."""
    state, request = steps.begin(Defaults(), 1e9)
    asked: list[steps.Request] = []
    while request is not None:
        asked.append(request)
        looking = isinstance(request, steps.Look)
        state, request = steps.step(state, steps.Seen(snapshot) if looking else steps.Done())
    return state, asked


def test_a_pass_records_the_loss_before_it_deletes_the_pod(snapshot_of) -> None:
    """And looks again in time when the minute is not over."""
    pod = Pod(namespace="trading", name="p", uid="u", version="1", agent="amos", phase="Running", node="n1")

    def run(after_s: float) -> tuple[steps.Pass, list[steps.Request]]:
        nodes = (Node(name="n1", ready=False, unready_since=1e9 - after_s), Node(name="n2"))
        return passed(snapshot_of(pods=(pod,), nodes=nodes))

    state, asked = run(20.0)
    assert 40.0 in state.recheck_s
    assert not [r for r in asked if isinstance(r, restarts.Restart)]
    state, asked = run(61.0)
    told = next(i for i, r in enumerate(asked) if isinstance(r, steps.Report))
    gone = next(i for i, r in enumerate(asked) if isinstance(r, restarts.Restart))
    assert told < gone
    entry = next(e for e in state.status["agentStatuses"] if e["name"] == "amos")
    assert (entry["restarts"], entry["lastRestart"]["reason"]) == (1, "NodeLost")


def test_of_claimed_devices_only_the_scheduler_knows() -> None:
    """Without a claim any other ready node would do, whoever uses its devices."""
    nodes = by_name((Node(name="n1", ready=False), Node(name="n2")))
    pod = Pod(namespace="trading", name="p", uid="u", version="1", agent="amos", node="n1")
    assert spare(pod, Pods(), nodes, {}) == "n2"
    assert spare(msgspec.structs.replace(pod, claims=("gpu",)), Pods(), nodes, {}) == ""


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
    assert spare(pod, asked, nodes, {"n2": {"gpu": 1}, "n3": {"gpu": 4}}) == ("n2" if takes else "")
    assert spare(pod, asked, nodes, {"n3": {}}) == "", "nobody asked who uses its devices"
    poor = Node(name="n0", labels={"disk": "ssd"})
    every = by_name((poor, *nodes.values()))
    assert spare(pod, asked, every, {"n0": {}, "n2": {"gpu": 1}}) == ("n2" if takes else "")


GPU = "nvidia.com/gpu"
FREE: dict[str, dict[str, int]] = {"b": {}}


def on_lost(agent: str, **more: Any) -> Pod:
    """Return a pod that runs on a node which is lost, with a device of it."""
    given = {"namespace": "trading", "name": agent, "uid": agent, "version": "1", "phase": "Running"}
    return Pod(**(given | {"agent": agent, "node": "a", "limits": {GPU: 1}} | more))


def after_loss(
    *pods: Pod, mode: str = "Required", devices: int = 1, used: Any = None, ago_s: float = 61.0, **gpu: Any
) -> tuple[dict[str, tuple[str, str, str]], list[str], steps.Pass]:
    """Return conditions, whose pods are deleted, and the pass, a while after node `a` was lost; `b` is well."""
    nodes = (
        Node(name="a", allocatable={GPU: 8}, ready=False, unready_since=1e9 - ago_s),
        Node(name="b", allocatable={GPU: devices}),
    )
    agents = {p.agent: {"gpu": {"mode": mode} | gpu} for p in pods}
    seen = make_snapshot({"agents": agents}, pods=pods, nodes=nodes, used=used or {})
    state, asked = passed(seen)
    told = {c["type"]: (c["status"], c["reason"], c["message"]) for c in state.status["conditions"]}
    return told, [r.agent for r in asked if isinstance(r, restarts.Restart)], state


STAYS = "its pod stays on a, which is lost"


def test_a_pod_stays_where_no_other_device_is_free_and_the_status_says_why() -> None:
    """A pending one would hold nothing either, and this one comes back with its node."""
    told, deleted, state = after_loss(on_lost("quasar"), used={"b": {GPU: 1}})
    assert deleted == []
    busy = "quasar needs 1 nvidia.com/gpu; 1 of 1 on 1 matching node are in use"
    assert told["GPUAvailable"] == ("False", "GPUsBusy", f"{busy}; {STAYS}")
    assert state.status["gpus"] == "0/1"
    assert restarts.SPARE_S in state.recheck_s


def test_a_pod_is_replaced_where_another_device_is_free() -> None:
    """And until it is gone nothing claims that it has one."""
    told, deleted, _ = after_loss(on_lost("quasar"), used=FREE)
    assert deleted == ["quasar"]
    needs = "quasar needs 1 nvidia.com/gpu; b has room and"
    assert told["GPUAvailable"] == ("Unknown", "Scheduling", f"{needs} {STAYS}")


@pytest.mark.parametrize(("devices", "deleted"), [(1, ["quasar"]), (2, ["quasar", "amos"])])
def test_one_free_device_is_given_once(devices: int, deleted: list[str]) -> None:
    """Two agents lost theirs: the second would be deleted for nothing."""
    assert after_loss(on_lost("quasar"), on_lost("amos"), devices=devices, used=FREE)[1] == deleted


def test_before_the_minute_is_over_nothing_is_said_of_the_device() -> None:
    """The node may be back."""
    told, deleted, state = after_loss(on_lost("quasar"), used=FREE, ago_s=59.0)
    assert deleted == []
    assert told["GPUAvailable"] == ("True", "Allocated", "quasar: 1 nvidia.com/gpu on a")
    assert state.status["gpus"] == "1/1"


def test_without_another_node_the_lost_one_is_named() -> None:
    """Case 8 of the design."""
    told, deleted, _ = after_loss(on_lost("quasar"), devices=0)
    assert deleted == []
    text = "the only matching nodes cannot take pods: a is not ready"
    assert told["GPUAvailable"] == ("False", "NodesUnavailable", f"{text}; {STAYS}")


def test_a_claimed_device_is_lost_with_its_node_too() -> None:
    """Whether another is free only the scheduler knows: Kubernetes evicts the pod after five minutes."""
    pod = on_lost("quasar", limits={}, claims=("desk-1-quasar-gpu-x",))
    nodes = (Node(name="a", ready=False, unready_since=1e9 - 61.0), Node(name="b"))
    spec = {"agents": {"quasar": {"gpu": {"mode": "Required", "deviceClassName": "gpu.nvidia.com"}}}}
    state, asked = passed(
        make_snapshot(spec, pods=(pod,), nodes=nodes, offered=frozenset({"ResourceClaimTemplate"}))
    )
    assert not [r for r in asked if isinstance(r, restarts.Restart)]
    told = next(c for c in state.status["conditions"] if c["type"] == "GPUAvailable")
    assert (told["status"], told["reason"]) == ("False", "NodesUnavailable")
    assert told["message"] == f"quasar needs 1 gpu.nvidia.com; {STAYS}"


@pytest.mark.parametrize(("ago_s", "on"), [(179.0, "GPU"), (180.0, "CPU")])
def test_who_prefers_a_device_falls_back_in_time_when_it_is_lost(ago_s: float, on: str) -> None:
    """120 s after the node counts as lost, as when all are in use."""
    _, _, state = after_loss(on_lost("quasar"), mode="Preferred", used={"b": {GPU: 1}}, ago_s=ago_s)
    assert next(e for e in state.status["agentStatuses"] if e["name"] == "quasar")["placement"] == on


@pytest.mark.parametrize(
    ("change", "is_lost"),
    [
        ({}, True),
        ({"limits": {}}, False),
        ({"limits": {}, "claims": ("c",)}, True),
        ({"deleting": True}, False),
        ({"phase": "Failed"}, False),
        ({"phase": "Succeeded"}, False),
        ({"node": "b"}, False),
    ],
)
def test_devices_are_lost_with_pods_that_live(change: dict[str, Any], is_lost: bool) -> None:
    """What has ended or goes holds none; what had none lost none."""
    nodes = (Node(name="a", ready=False, unready_since=100.0), Node(name="b"))
    pod = on_lost("quasar", **change)
    assert stranded((pod,), nodes, 160.0) == ((pod,) if is_lost else ())
    assert stranded((pod,), nodes, 159.9) == ()


async def test_an_agent_with_a_card_that_is_no_gpu_moves_to_a_node_that_has_one_free() -> None:
    """The whole engine: it asks who uses the other's, though the resource asks for no GPU."""
    kind, since = "vendor.com/card", stamp(time.time() - 90.0)
    api = FakeCluster()
    for name, ready in (("lost", "Unknown"), ("spare", "True")):
        told = {"type": "Ready", "status": ready, "lastTransitionTime": since}
        status = {"conditions": [told], "allocatable": {kind: "1"}}
        await api.create(NODES, {"kind": "Node", "metadata": {"name": name}, "status": status})
    pod = live_pod("desk-1-amos-x", NAME, "lost")
    pod["metadata"]["labels"] |= {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_COMPONENT: "amos",
    }
    pod["spec"]["containers"] = [{"resources": {"limits": {kind: "1"}}}]
    await api.create(PODS, pod)
    api.system(NS, NAME, {})
    async with running(api):
        await until(lambda: ("delete", "Pod", "desk-1-amos-x") in api.calls)
    entries = api.objects[(names.KIND, NS, NAME)]["status"]["agentStatuses"]
    assert {e["name"]: (e.get("lastRestart") or {}).get("reason") for e in entries}["amos"] == "NodeLost"
