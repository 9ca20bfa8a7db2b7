"""GPU placement: the exact reasons and messages, and what Preferred does about them."""

from __future__ import annotations

import pytest

from qts_core.parts import Agent, Gpu, Toleration
from qts_operator.gpu import Demand, View, place, seconds
from qts_operator.snapshot import Node, Pod

GPU = "nvidia.com/gpu"
PRODUCT = "nvidia.com/gpu.product"


def _node(name: str, count: int = 8, **more) -> Node:
    return Node(name=name, **({"allocatable": {GPU: count}} | more))


def _pod(node: str = "", started: float = 0.0) -> Pod:
    return Pod(namespace="n", name="p", uid="u", version="1", node=node, started=started, limits={GPU: 1})


def _demand(mode: str = "Required", count: int = 1, resource: str = GPU, pods=(), **more) -> Demand:
    after = more.pop("after", "120s")
    gpu = Gpu(mode=mode, count=count, resource_name=resource, fallback_after=after)
    return Demand(agent="quasar", asked=Agent(gpu=gpu, **more), replicas=1, pods=tuple(pods))


def _why(demand: Demand, *nodes: Node, used=None, on_cpu=False, now=0.0):
    return place(demand, View(nodes=tuple(nodes), used=used or {}), on_cpu=on_cpu, now=now)


TWELVE = tuple(Node(name=f"cpu-{i}") for i in range(12))
H100 = {PRODUCT: "NVIDIA-H100-80GB-HBM3"}
TAINT = ((GPU, "present", "NoSchedule"),)
CASES = [
    (_demand(pods=[_pod("gpu-a")]), (_node("gpu-a"),), {}, "Allocated", "quasar: 1 nvidia.com/gpu on gpu-a"),
    (_demand(), TWELVE, {}, "NoGPUNodes", "quasar needs 1 nvidia.com/gpu; none of 12 nodes offers it"),
    (
        _demand(count=4),
        (_node("gpu-a", 2), _node("gpu-b", 1)),
        {},
        "CountTooLarge",
        "quasar needs 4 nvidia.com/gpu on one node; the largest, gpu-a, has 2",
    ),
    (
        _demand(),
        (_node("gpu-a"),),
        {"gpu-a": {GPU: 8}},
        "GPUsBusy",
        "quasar needs 1 nvidia.com/gpu; 8 of 8 on 1 matching node are in use",
    ),
    (
        _demand(resource="nvidia.com/mig-1g.10gb"),
        (Node(name="gpu-b", allocatable={"nvidia.com/mig-2g.20gb": 2}),),
        {},
        "NoMatchingMIGProfile",
        "quasar needs 1 nvidia.com/mig-1g.10gb; nearest: gpu-b offers nvidia.com/mig-2g.20gb",
    ),
    (
        _demand(node_selector=H100),
        (_node("gpu-a", labels={PRODUCT: "NVIDIA-A100-SXM4-80GB"}),),
        {},
        "NoMatchingNode",
        (
            "quasar selects nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3; nearest: gpu-a has "
            "NVIDIA-A100-SXM4-80GB"
        ),
    ),
    (
        _demand(),
        (_node("gpu-t", taints=TAINT),),
        {},
        "UntoleratedTaint",
        "gpu-t fits but has taint nvidia.com/gpu=present:NoSchedule, which quasar does not tolerate",
    ),
    (
        _demand(),
        (_node("gpu-c", unschedulable=True),),
        {},
        "NodesUnavailable",
        "the only matching nodes cannot take pods: gpu-c is unschedulable",
    ),
    (
        _demand("Preferred"),
        TWELVE,
        {},
        "FallbackToCPU",
        "quasar runs on CPU: quasar needs 1 nvidia.com/gpu; none of 12 nodes offers it",
    ),
]


@pytest.mark.parametrize(("demand", "nodes", "used", "reason", "message"), CASES, ids=[c[3] for c in CASES])
def test_reason_and_message_are_exact(demand, nodes, used, reason, message) -> None:
    """Each case of the table has its reason and its sentence."""
    verdict = _why(demand, *nodes, used=used)
    assert (verdict.reason, verdict.message) == (reason, message)
    assert verdict.status == ("True" if reason == "Allocated" else "False")
    assert verdict.device == ("CPU" if reason == "FallbackToCPU" else "GPU")


def test_a_tolerated_taint_is_no_obstacle() -> None:
    """With the toleration the node has room."""
    tolerations = (Toleration(key=GPU, operator="Exists", effect="NoSchedule"),)
    verdict = _why(_demand(tolerations=tolerations), _node("gpu-t", taints=TAINT))
    assert (verdict.reason, verdict.status) == ("Scheduling", "Unknown")


@pytest.mark.parametrize(
    ("toleration", "reason"),
    [
        (Toleration(key=GPU, value="present", effect="NoSchedule"), "Scheduling"),
        (Toleration(key=GPU, value="absent"), "UntoleratedTaint"),
        (Toleration(operator="Exists"), "Scheduling"),
        (Toleration(key=GPU, operator="Exists", effect="NoExecute"), "UntoleratedTaint"),
    ],
)
def test_tolerations_match_as_the_scheduler_matches_them(toleration, reason) -> None:
    """Equal needs the value, Exists does not, an effect narrows."""
    demand = _demand(tolerations=(toleration,))
    assert _why(demand, _node("gpu-t", taints=TAINT)).reason == reason


def test_preferred_waits_for_busy_devices_and_then_falls_back() -> None:
    """GPUsBusy is waited for; after fallbackAfter the agent runs on CPU."""
    demand = _demand("Preferred", pods=[_pod(started=100.0)], after="60s")
    busy = {"gpu-a": {GPU: 8}}
    early = _why(demand, _node("gpu-a"), used=busy, now=150.0)
    assert (early.device, early.reason, early.recheck_s) == ("GPU", "GPUsBusy", 10.0)
    late = _why(demand, _node("gpu-a"), used=busy, now=160.0)
    assert (late.device, late.reason) == ("CPU", "FallbackToCPU")


def test_a_fallen_back_agent_stays_on_cpu_until_it_rolls() -> None:
    """A free device does not restart it."""
    verdict = _why(_demand("Preferred"), _node("gpu-a"), on_cpu=True)
    assert (verdict.device, verdict.reason) == ("CPU", "FallbackToCPU")


def test_neutral_answers() -> None:
    """Nobody asked; nodes are not visible; the scheduler's sentence is cut at its first full stop."""
    assert _why(_demand("None")).reason == "NotRequested"
    unseen = place(_demand(), View(nodes=None), on_cpu=False, now=0.0)
    assert (unseen.status, unseen.reason) == ("Unknown", "NodesNotVisible")
    refused = Pod(namespace="n", name="p", uid="u", version="1", unschedulable="0/3 fit. preemption: none.")
    told = place(_demand(pods=[refused]), View(nodes=None), on_cpu=False, now=0.0)
    assert (told.reason, told.message) == ("Unschedulable", "quasar: 0/3 fit")


@pytest.mark.parametrize(
    ("text", "expected"), [("120s", 120.0), ("2m", 120.0), ("1h30m", 5400.0), ("500ms", 0.5)]
)
def test_durations(text: str, expected: float) -> None:
    """Kubernetes durations are seconds."""
    assert seconds(text) == expected
