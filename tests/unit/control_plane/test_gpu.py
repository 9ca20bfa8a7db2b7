"""GPU placement: the exact reasons and messages, and what Preferred does about them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from qts_core.parts import Agent, Gpu, Toleration
from qts_operator.circuit import Circuit, judge, left_over, read
from qts_operator.gpu import USAGE_S, Demand, View, place
from qts_operator.snapshot import Node, Pod
from qts_operator.times import seconds

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


def test_what_follows_from_others_pods_is_looked_at_again() -> None:
    """They are not watched: a verdict from an old count must not stand until something else happens."""
    busy = {"gpu-a": {GPU: 8}}
    for used in ({}, busy):
        assert _why(_demand(), _node("gpu-a"), used=used).recheck_s == USAGE_S
        preferred = _demand("Preferred", pods=[_pod(started=100.0)], after="600s")
        assert _why(preferred, _node("gpu-a"), used=used, now=100.0).recheck_s == USAGE_S
    assert _why(_demand(), _node("gpu-a", 0)).recheck_s is None


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


REJECTED = {"phase": "Failed", "reason": "UnexpectedAdmissionError", "node": "gpu-a", "limits": {GPU: 1}}


def _failed(name: str, started: float) -> Pod:
    return Pod(namespace="n", name=name, uid=name, version="1", started=started, **REJECTED)


def _asked(pods, circuit=None, mode: str = "Required", now: float = 1000.0):
    demand = replace(_demand(mode, pods=pods), circuit=circuit)
    return place(demand, View(nodes=(_node("gpu-a"),)), on_cpu=False, now=now)


def test_three_rejected_pods_open_the_circuit_and_one_is_tried_later() -> None:
    """Case 9: 0 replicas for a minute, then one pod; rejected again the pause doubles, up to half an hour."""
    pods = [_failed("a", 900.0), _failed("b", 910.0)]
    assert _asked(pods).circuit is None
    pods.append(_failed("c", 920.0))
    told = _asked(pods)
    assert (told.status, told.reason, told.cap, told.recheck_s) == ("False", "GPUUnhealthy", 0, 60.0)
    assert told.message == (
        "gpu-a rejected 3 pods of quasar (UnexpectedAdmissionError); next try at 00:17:40Z"
    )
    assert _asked(pods, told.circuit, now=1059.0).cap == 0
    tried = _asked(pods, told.circuit, now=1060.0)
    assert (tried.cap, tried.reason, tried.recheck_s) == (1, "GPUUnhealthy", None)
    again = _asked([*pods, _failed("d", 1061.0)], told.circuit, now=1062.0)
    assert (again.cap, again.circuit.tries, again.recheck_s) == (0, 2, 120.0)
    worst = replace(again.circuit, tries=20)
    assert worst.until - worst.at == 1800.0


def test_a_pod_that_runs_closes_the_circuit() -> None:
    """The device is back: the agent gets all its replicas."""
    opened = _asked([_failed(str(i), 900.0 + i) for i in range(3)]).circuit
    running = Pod(
        namespace="n",
        name="r",
        uid="r",
        version="1",
        started=1061.0,
        phase="Running",
        node="gpu-a",
        limits={GPU: 1},
    )
    told = _asked([_failed("a", 900.0), running], opened, now=1070.0)
    assert (told.reason, told.cap, told.circuit) == ("Allocated", None, None)


def test_old_rejections_are_no_news_and_only_three_failed_pods_stay() -> None:
    """Outside five minutes they open nothing; beyond three the oldest are cleared away."""
    pods = [_failed(str(i), 100.0 + i) for i in range(7)]
    assert _asked(pods, now=1000.0).circuit is None
    assert [p.name for p in left_over(pods)] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("pod", "counts"),
    [
        ({}, True),
        ({"reason": "NodeAffinity"}, True),
        ({"reason": "OutOfcpu"}, True),
        ({"reason": "Evicted"}, False),
        ({"phase": "Running"}, False),
        ({"phase": "Pending", "reason": "OutOfcpu"}, False),
        ({"deleting": True}, False),
        ({"started": 700.0}, True),
        ({"started": 699.0}, False),
    ],
)
def test_only_what_a_kubelet_refused_within_five_minutes_opens_the_circuit(pod: dict, counts: bool) -> None:
    """Two that count, and a third: evicted, running, going and old ones are other stories."""
    pods = [_failed("a", 900.0), _failed("b", 910.0), replace(_failed("c", 920.0), **pod)]
    assert (_asked(pods).circuit is not None) is counts


@pytest.mark.parametrize(
    ("pod", "outcome"),
    [
        ({"started": 1060.0}, "again"),
        ({"started": 1059.0}, "no news"),
        ({"started": 1060.0, "deleting": True}, "no news"),
        ({"started": 1060.0, "phase": "Running", "reason": ""}, "closed"),
        ({"started": 1059.0, "phase": "Running", "reason": ""}, "no news"),
        ({"started": 1060.0, "phase": "Pending", "reason": ""}, "no news"),
        ({"started": 1060.0, "phase": "Running", "reason": "", "node": ""}, "no news"),
    ],
)
def test_the_pod_on_trial_decides_and_no_other(pod: dict, outcome: str) -> None:
    """It was made since the pause ended; while it is neither refused nor running nothing is decided."""
    former = Circuit(at=1000.0, tries=1, node="gpu-a", reason="UnexpectedAdmissionError", count=3)
    tried = replace(_failed("d", 0.0), **pod)
    expected = {"again": Circuit(at=1065.0, tries=2, node="gpu-a", reason=tried.reason, count=1)}
    found = judge([_failed("a", 900.0), tried], former, 1065.0)
    assert found == (expected | {"no news": former, "closed": None})[outcome]
    assert judge([tried], former, 1059.9) == former, "nothing is tried before"


def test_the_node_and_reason_of_the_newest_rejection_are_told() -> None:
    """Whatever the order in which the pods are seen."""
    pods = [
        replace(_failed("a", 930.0), node="new", reason="OutOfcpu"),
        _failed("b", 900.0),
        _failed("c", 910.0),
    ]
    for order in (pods, pods[::-1]):
        told = judge(order, None, 1000.5)
        assert told == Circuit(at=1000.0, tries=1, node="new", reason="OutOfcpu", count=3)


def test_pods_on_their_way_out_are_not_cleared_away_again() -> None:
    """Nor those that failed for another reason: they are restarts, which count."""
    pods = [_failed(str(i), 100.0 + i) for i in range(7)]
    pods[0] = replace(pods[0], deleting=True)
    pods[1] = replace(pods[1], reason="Evicted")
    assert [p.name for p in left_over(pods[::-1])] == ["2", "3"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({}, None),
        ({"circuit": {}}, None),
        ({"circuit": {"at": "soon", "tries": 2}}, None),
        (
            {"circuit": {"at": "1970-01-01T00:16:40Z"}},
            Circuit(at=1000.0, tries=1, node="", reason="", count=3),
        ),
    ],
)
def test_half_an_entry_of_the_status_is_read_as_far_as_it_goes(entry: dict, expected: Circuit | None) -> None:
    """Without its time there is no circuit."""
    assert read(entry) == expected


def test_preferred_runs_on_the_cpu_while_its_device_is_lost() -> None:
    """The fall-back is at once, with the sentence of the case."""
    told = _asked([_failed(str(i), 900.0 + i) for i in range(3)], mode="Preferred")
    assert (told.device, told.reason, told.cap) == ("CPU", "FallbackToCPU", None)
    assert told.message.startswith("quasar runs on CPU: gpu-a rejected 3 pods of quasar")


def test_a_circuit_survives_the_status() -> None:
    """What is written is what is read after a restart of the operator."""
    opened = _asked([_failed(str(i), 900.0 + i) for i in range(3)]).circuit
    assert read({"circuit": opened.told()}) == opened
    assert read({}) is None


QUOTA = (
    'pods "p" is forbidden: exceeded quota: q, requested: requests.nvidia.com/gpu=2, '
    "used: requests.nvidia.com/gpu=1, limited: requests.nvidia.com/gpu=1"
)


def test_a_quota_is_named_with_its_numbers() -> None:
    """Case 11, after every check of nodes; a quota of something else is not about devices."""
    told = _why(replace(_demand(), failure=QUOTA), _node("gpu-a"))
    assert (told.reason, told.message) == (
        "QuotaExceeded",
        "quasar: quota q allows 1 requests.nvidia.com/gpu, 1 in use, 2 more requested",
    )
    assert _why(replace(_demand(), failure=QUOTA), *TWELVE).reason == "NoGPUNodes"
    other = QUOTA.replace("requests.nvidia.com/gpu", "cpu")
    assert _why(replace(_demand(), failure=other), _node("gpu-a")).reason == "Scheduling"
    late = replace(_demand("Preferred"), failure=QUOTA, waiting=(100.0,))
    assert _why(late, _node("gpu-a"), now=221.0).reason == "FallbackToCPU"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "0/3 nodes are available: request gpu: device class gpu.nvidia.com does not exist. no new claims",
            "quasar: device class gpu.nvidia.com does not exist",
        ),
        (
            "0/3 nodes are available: 3 cannot allocate all claims. still not schedulable",
            "quasar: no node can allocate 1 gpu.nvidia.com",
        ),
        (
            "0/3 nodes are available: 3 node(s) had x. more",
            "quasar: 0/3 nodes are available: 3 node(s) had x",
        ),
    ],
)
def test_claims_are_explained_by_the_scheduler(said: str, message: str) -> None:
    """Case 10: the class is missing, or no node can allocate."""
    pod = Pod(namespace="n", name="p", uid="u", version="1", unschedulable=said, claims=("t",))
    gpu = Gpu(mode="Required", device_class_name="gpu.nvidia.com")
    demand = Demand(agent="quasar", asked=Agent(gpu=gpu), replicas=1, pods=(pod,))
    told = place(demand, View(nodes=()), on_cpu=False, now=0.0)
    assert (told.status, told.reason, told.message) == ("False", "ClaimNotAllocated", message)
    absent = place(demand, View(nodes=(), claims=False), on_cpu=False, now=0.0)
    assert "claims of devices need Kubernetes 1.34" in absent.message
    placed = replace(pod, node="gpu-a", phase="Running", unschedulable="")
    told = place(replace(demand, pods=(placed,)), View(nodes=()), on_cpu=False, now=0.0)
    assert (told.reason, told.message) == ("Allocated", "quasar: 1 gpu.nvidia.com on gpu-a")


@pytest.mark.parametrize("mode", ["Required", "Preferred"])
def test_a_template_of_claims_that_does_not_exist_is_named(mode: str) -> None:
    """The scheduler is never asked about such a pod; nothing tells when it is made, so it is looked at again."""
    gpu = Gpu(mode=mode, claim_template_name="mine")  # type: ignore[arg-type]
    pod = Pod(namespace="n", name="p", uid="u", version="1", claims=("t",))
    demand = Demand(agent="quasar", asked=Agent(gpu=gpu), replicas=1, pods=(pod,))
    told = place(demand, View(nodes=(), absent=frozenset({"mine"})), on_cpu=False, now=0.0)
    words = "quasar: mine of gpu.claimTemplateName does not exist; make that ResourceClaimTemplate"
    assert (told.status, told.reason, told.message) == ("False", "ClaimNotAllocated", words)
    assert told.recheck_s == 30.0
    assert place(demand, View(nodes=()), on_cpu=False, now=0.0).reason == "Scheduling"
