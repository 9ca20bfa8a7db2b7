"""Where an agent is rendered to run: claims of devices, slices of them, and a fall-back that lasts until it rolls."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.control_plane.test_gpu import QUOTA

from qts_core.parts import Agent, Gpu
from qts_operator import adopt
from qts_operator.gpu import Demand, View, eligible, place
from qts_operator.objects.frame import Defaults
from qts_operator.resolve import resolve
from qts_operator.snapshot import Child, Node, Pod

GPU, CLASS = "nvidia.com/gpu", "gpu.nvidia.com"
FREE = (Node(name="gpu-a", allocatable={GPU: 8}),)


def _refused(text: str) -> tuple[Pod, ...]:
    return (Pod(namespace="n", name="p", uid="u", version="1", unschedulable=text),)


@pytest.mark.parametrize(
    ("more", "claims", "reason", "message"),
    [
        ({}, True, "Scheduling", f"quasar needs 2 {CLASS}; the scheduler has not placed it yet"),
        (
            {},
            False,
            "ClaimNotAllocated",
            "quasar: this cluster serves no resource.k8s.io/v1; claims of devices need Kubernetes 1.34",
        ),
        (
            {"pods": _refused(f"0/3: device class {CLASS} does not exist. preemption: none.")},
            True,
            "ClaimNotAllocated",
            f"quasar: device class {CLASS} does not exist",
        ),
        (
            {"pods": _refused("0/3 nodes: 3 cannot allocate all claims. preemption: none.")},
            True,
            "ClaimNotAllocated",
            f"quasar: no node can allocate 2 {CLASS}",
        ),
        (
            {"pods": _refused("0/3 nodes: 3 too few cpu. preemption: none.")},
            True,
            "ClaimNotAllocated",
            "quasar: 0/3 nodes: 3 too few cpu",
        ),
        (
            {
                "failure": QUOTA.replace(
                    "requests.nvidia.com/gpu", f"{CLASS}.deviceclass.resource.k8s.io/devices"
                )
            },
            True,
            "QuotaExceeded",
            f"quasar: quota q allows 1 {CLASS}.deviceclass.resource.k8s.io/devices, 1 in use, 2 more requested",
        ),
        (
            {"failure": QUOTA},
            True,
            "Scheduling",
            f"quasar needs 2 {CLASS}; the scheduler has not placed it yet",
        ),
    ],
)
def test_of_claims_the_scheduler_knows(more: dict[str, Any], claims: bool, reason: str, message: str) -> None:
    """Case 10: what it says of the pod, the whole sentence where we know no shorter one."""
    asked = Agent(gpu=Gpu(mode="Required", count=2, device_class_name=CLASS))
    demand = Demand(agent="quasar", asked=asked, replicas=1, **more)
    told = place(demand, View(nodes=FREE, claims=claims), on_cpu=False, now=0.0)
    assert (told.device, told.reason, told.message) == ("GPU", reason, message)


HOLDS: dict[str, Any] = {"node": "gpu-a", "limits": {GPU: 1}, "phase": "Running"}


@pytest.mark.parametrize(
    ("pods", "placed"),
    [
        ([{}, {}], True),
        ([{}, {}, {}], True),
        ([{}], False),
        ([{}, {"node": ""}], False),
        ([{}, {}, {"node": ""}], False),  # a roll-out: one of the new ones waits
        ([{}, {}, {"node": "", "deleting": True}], True),
        ([{}, {"deleting": True}], False),
        ([{}, {"phase": "Failed"}], False),
        ([{}, {"phase": "Succeeded"}], False),
        ([{}, {"limits": {}}], False),  # of before it asked for one
        ([{}, {"limits": {"amd.com/gpu": 1}}], False),
    ],
)
def test_devices_are_allocated_when_every_replica_holds_one(pods: list[dict[str, Any]], placed: bool) -> None:
    """A pod holds its device from the node on, until it ends or goes; and none of ours may still wait."""
    made = tuple(
        Pod(namespace="n", name=f"p{n}", uid=f"u{n}", version="1", **(HOLDS | more))
        for n, more in enumerate(pods)
    )
    asked = Agent(gpu=Gpu(mode="Required"))
    demand = Demand(agent="quasar", asked=asked, replicas=2, pods=made)
    told = place(demand, View(nodes=FREE), on_cpu=False, now=0.0)
    assert (told.reason == "Allocated") == placed


@pytest.mark.parametrize(("claims", "placed"), [(("t",), True), ((), False)])
def test_a_claim_is_held_by_a_pod_that_has_one(claims: tuple[str, ...], placed: bool) -> None:
    """Limits are not what counts then."""
    pod = Pod(namespace="n", name="p", uid="u", version="1", claims=claims, **HOLDS)
    asked = Agent(gpu=Gpu(mode="Required", device_class_name=CLASS))
    demand = Demand(agent="quasar", asked=asked, replicas=1, pods=(pod,))
    told = place(demand, View(nodes=FREE), on_cpu=False, now=0.0)
    assert (told.reason == "Allocated") == placed


@pytest.mark.parametrize(
    ("offered", "reason", "nearest"),
    [
        ({"nvidia.com/mig-2g.20gb": 0, "nvidia.com/mig-3g.40gb": 1}, "NoMatchingMIGProfile", "3g.40gb"),
        ({"nvidia.com/mig-2g.20gb": 1, "nvidia.com/mig-3g.40gb": 1}, "NoMatchingMIGProfile", "2g.20gb"),
        ({"nvidia.com/mig-2g.20gb": 0}, "NoGPUNodes", ""),
        ({GPU: 8}, "NoGPUNodes", ""),
    ],
)
def test_another_slice_is_named_if_a_node_has_one(offered: dict[str, int], reason: str, nearest: str) -> None:
    """Case 5: a profile that is not cut anywhere, or a whole device, is none."""
    asked = Agent(gpu=Gpu(mode="Required", resource_name="nvidia.com/mig-1g.10gb"))
    nodes = (Node(name="gpu-a"), Node(name="gpu-b", allocatable=offered))
    told = place(Demand(agent="quasar", asked=asked, replicas=1), View(nodes=nodes), on_cpu=False, now=0.0)
    assert told.reason == reason
    assert told.message.endswith(f"gpu-b offers nvidia.com/mig-{nearest}") == bool(nearest)


def test_slices_are_no_whole_device() -> None:
    """Whoever asks for a whole one is not told of profiles."""
    sliced = (Node(name="gpu-b", allocatable={"nvidia.com/mig-1g.10gb": 7}),)
    demand = Demand(agent="quasar", asked=Agent(gpu=Gpu(mode="Required")), replicas=1)
    assert place(demand, View(nodes=sliced), on_cpu=False, now=0.0).reason == "NoGPUNodes"


@pytest.mark.parametrize(("mode", "device"), [("Required", "GPU"), ("Preferred", "CPU")])
def test_claims_that_may_not_be_seen_are_a_right_that_is_missing(mode: Any, device: str) -> None:
    """Whether the cluster serves them is not known then; the rule is named, and Preferred falls back in time."""
    asked = Agent(gpu=Gpu(mode=mode, device_class_name=CLASS, fallback_after="60s"))
    pods = (Pod(namespace="n", name="p", uid="u", version="1", started=100.0),)
    demand = Demand(agent="quasar", asked=asked, replicas=1, pods=pods)
    view = View(nodes=FREE, claims=False, denied="cannot list claims")
    told = place(demand, view, on_cpu=False, now=160.0)
    assert told.device == device
    assert "quasar: cannot list claims; grant get, list, watch, create, patch and delete of" in told.message
    if mode == "Required":
        assert (told.status, told.reason) == ("Unknown", "AccessDenied")


def _node(name: str = "gpu-a", **more: Any) -> Node:
    return Node(name=name, **({"allocatable": {GPU: 2}} | more))


LABELS = {"product": "h100", "zone": "a"}


@pytest.mark.parametrize(
    ("nodes", "used", "reason", "message"),
    [
        ([_node(labels=LABELS)], 0, "Scheduling", "gpu-a has room and the scheduler has not placed it yet"),
        ([_node(labels=LABELS)], 1, "GPUsBusy", "1 of 2 on 1 matching node are in use"),
        ([_node(labels=LABELS), _node("b", labels=LABELS)], 1, "Scheduling", "b has room"),
        ([_node(labels=LABELS, allocatable={GPU: 1})], 0, "CountTooLarge", "the largest, gpu-a, has 1"),
        ([_node(labels=LABELS, taints=(("k", "", "PreferNoSchedule"),))], 0, "Scheduling", ""),
        ([_node(labels=LABELS, taints=(("node.kubernetes.io/x", "", "NoSchedule"),))], 0, "Scheduling", ""),
        (
            [_node(labels=LABELS, taints=(("k", "", "NoExecute"),))],
            0,
            "UntoleratedTaint",
            "taint k:NoExecute",
        ),
        ([_node(labels=LABELS, ready=False)], 0, "NodesUnavailable", "gpu-a is not ready"),
        (
            [_node(labels=LABELS, ready=False), _node("b", labels=LABELS, unschedulable=True)],
            0,
            "NodesUnavailable",
            "b is unschedulable, gpu-a is not ready",
        ),
        ([_node(labels={"zone": "a"})], 0, "NoMatchingNode", "nearest: gpu-a has no such label"),
        (
            [_node(labels={"zone": "b"}), _node("b", labels={"product": "a100", "zone": "a"})],
            0,
            "NoMatchingNode",
            "selects product=h100; nearest: b has a100",
        ),
    ],
)
def test_the_first_check_that_leaves_no_node_is_the_reason(
    nodes: list[Node], used: int, reason: str, message: str
) -> None:
    """Two devices on a node with both labels; `used` of gpu-a's are another's."""
    asked = Agent(gpu=Gpu(mode="Required", count=2), node_selector=LABELS)
    view = View(nodes=tuple(nodes), used={"gpu-a": {GPU: used}, "b": {}})
    demand = Demand(agent="quasar", asked=asked, replicas=1)
    told = place(demand, view, on_cpu=False, now=0.0)
    assert told.reason == reason
    assert message in told.message
    # busy devices are no reason why a node would never take the pod
    assert bool(eligible(demand, view)) == (reason in ("Scheduling", "GPUsBusy"))


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        ({}, "FallbackToCPU"),
        ({"started": 101.0}, "GPUsBusy"),
        ({"node": "gpu-b"}, "GPUsBusy"),
        ({"deleting": True}, "GPUsBusy"),
    ],
)
def test_a_fall_back_is_due_after_the_oldest_wait(pod: dict[str, Any], reason: str) -> None:
    """Of pods without a node that are not on their way out."""
    waiting = Pod(namespace="n", name="p", uid="u", version="1", **({"started": 100.0} | pod))
    newer = Pod(namespace="n", name="q", uid="v", version="1", started=150.0)
    asked = Agent(gpu=Gpu(mode="Preferred", fallback_after="60s"))
    demand = Demand(agent="quasar", asked=asked, replicas=1, pods=(newer, waiting))
    told = place(demand, View(nodes=FREE, used=BUSY), on_cpu=False, now=160.0)
    assert (told.reason, told.status) == (reason, "False")
    assert place(demand, View(nodes=FREE), on_cpu=False, now=160.0).status == "Unknown"


BUSY = {"gpu-a": {GPU: 8}}
LOOKED_FOR = "free devices are looked for when it rolls next"


@pytest.mark.parametrize(
    ("nodes", "used", "on_cpu", "why"),
    [
        ((), {}, True, "quasar needs 1 nvidia.com/gpu; none of 0 nodes offers it"),
        ((), {}, False, "quasar needs 1 nvidia.com/gpu; none of 0 nodes offers it"),
        (FREE, {}, True, LOOKED_FOR),
        (FREE, BUSY, True, LOOKED_FOR),
        (FREE, BUSY, False, "quasar needs 1 nvidia.com/gpu; 8 of 8 on 1 matching node are in use"),
    ],
)
def test_an_agent_on_the_cpu_says_why(nodes: Any, used: Any, on_cpu: bool, why: str) -> None:
    """What others hold is counted only while a pod waits, so of that nothing is told later."""
    waiting = Pod(namespace="n", name="p", uid="u", version="1", started=100.0)
    asked = Agent(gpu=Gpu(mode="Preferred", fallback_after="60s"))
    demand = Demand(agent="quasar", asked=asked, replicas=1, pods=(waiting,))
    told = place(demand, View(nodes=nodes, used=used), on_cpu=on_cpu, now=160.0)
    assert (told.device, told.message) == ("CPU", f"quasar runs on CPU: {why}")


PREFERRED: dict[str, Any] = {"agents": {"quasar": {"gpu": {"mode": "Preferred"}}}}
FELL: dict[str, Any] = {"agentStatuses": [{"name": "quasar", "placement": "CPU"}]}


def _fallen(snapshot_of, spec: dict[str, Any] = PREFERRED) -> Child:
    """Return quasar's Deployment as it is while the agent runs on the CPU."""
    frame = msgspec.structs.replace(
        resolve(snapshot_of(spec, nodes=()), Defaults())[0], placements={"quasar": "CPU"}
    )
    known = {"namespace": "trading", "uid": "d", "version": "1", "owner_uid": "u-1", "replicas": 1}
    of = adopt.rendered(frame, "quasar", frame.made_of("quasar"))
    return Child(kind="Deployment", name="desk-1-quasar", template_hash=of, **known)


def _device(snapshot_of, child: Child | None, spec: Any = PREFERRED, status: Any = FELL) -> str | None:
    """Return where quasar is rendered to run though a device is free."""
    children = {} if child is None else {("Deployment", "desk-1-quasar"): child}
    snapshot = snapshot_of(spec, nodes=FREE, status=status, children=children)
    return resolve(snapshot, Defaults())[0].placements["quasar"]


def test_a_free_device_does_not_restart_an_agent_that_fell_back(snapshot_of) -> None:
    """Until something else makes it roll, or it has no pod that a move would cost."""
    child = _fallen(snapshot_of)
    assert _device(snapshot_of, child) == "CPU"
    assert _device(snapshot_of, msgspec.structs.replace(child, template_hash="another")) == "GPU"
    assert _device(snapshot_of, msgspec.structs.replace(child, replicas=0)) == "GPU"
    assert _device(snapshot_of, None) == "GPU"
    grace = {"agents": {"quasar": {"gpu": {"mode": "Preferred"}, "terminationGracePeriodSeconds": 31}}}
    assert _device(snapshot_of, child, grace) == "GPU"
    assert (
        _device(snapshot_of, child, status={"agentStatuses": [{"name": "quasar", "placement": "GPU"}]})
        == "GPU"
    )
    assert _device(snapshot_of, child, status={}) == "GPU"


def test_an_agent_that_must_have_its_device_moves_to_it(snapshot_of) -> None:
    """It may have fallen back while it only preferred one."""
    required = {"agents": {"quasar": {"gpu": {"mode": "Required"}}}}
    assert _device(snapshot_of, _fallen(snapshot_of, required), required) == "GPU"


@pytest.mark.parametrize(("waited_s", "device"), [(119.0, "GPU"), (120.0, "CPU")])
def test_a_fall_back_is_due_too_where_no_pod_can_be_made(snapshot_of, waited_s: float, device: str) -> None:
    """While a quota forbids it, or an all-or-nothing start waits, there is no pod to count from."""
    began = 1785574800.0
    refused = Child(
        kind="Deployment",
        namespace="trading",
        name="desk-1-quasar",
        uid="d",
        version="1",
        owner_uid="u-1",
        failure=QUOTA,
        failing_since=began,
    )
    now, children = began + waited_s, {("Deployment", "desk-1-quasar"): refused}
    snapshot = snapshot_of(PREFERRED, nodes=FREE, children=children, now=now)
    assert resolve(snapshot, Defaults())[0].placements["quasar"] == device
    gang = {"gang": {"state": "Waiting", "at": "2026-08-01T09:00:00Z"}}
    spec = PREFERRED | {"startup": "AllOrNothing"}
    snapshot = snapshot_of(spec, nodes=FREE, used=BUSY, status=gang, now=now)
    assert resolve(snapshot, Defaults())[0].placements["quasar"] == device
