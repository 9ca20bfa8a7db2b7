"""Where an agent is rendered to run: claims of devices, slices of them, and a fall-back that lasts until it rolls."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.control_plane.test_gpu import QUOTA

from qts_core.parts import Agent, Gpu
from qts_operator import adopt
from qts_operator.gpu import Demand, View, place
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
