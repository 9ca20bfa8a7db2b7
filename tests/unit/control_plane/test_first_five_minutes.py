"""An SRE's first five minutes: of twelve faults `kubectl get qts` names the class, `kubectl describe qts` the object.

The columns are those of the definition that is shipped, read by their own paths; the rest is text of conditions.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from tests.unit.control_plane.conftest import make_snapshot
from tests.unit.control_plane.systems import (
    DOWN,
    GPU,
    HEARD,
    LATELY,
    REACHED,
    pods,
    seen,
    told,
    without_redis,
)

from qts_core.clock import SystemClock
from qts_core.crd import crd
from qts_core.roster import VOTERS
from qts_operator import steps, writes
from qts_operator.conditions import broken
from qts_operator.definition import Definition, schema_of
from qts_operator.metrics import Metrics
from qts_operator.objects.frame import Defaults
from qts_operator.plan import Apply
from qts_operator.snapshot import Node
from qts_operator.status import Facts, build
from qts_operator.testing import FakeCluster

Tree = dict[str, Any]
STEP = re.compile(r'\.(\w+)|\[\?\(@\.(\w+)=="(\w+)"\)\]')
LOST = {"rolled": True} | DOWN  # a pod that was ready is so no more
FAILED = {
    "phase": "Failed",
    "reason": "UnexpectedAdmissionError",
    "node": "gpu-a",
    "ready": False,
    "started": 1e9,
}
NODES = (Node(name="cpu-a"), Node(name="cpu-b"))
REFUSED = (
    'deployments.apps "desk-1-amos" is forbidden: User "system:serviceaccount:qts-system:operator" cannot patch '
    'resource "deployments" in API group "apps" in the namespace "trading"'
)
QUOTA = (
    'pods "desk-1-quasar-x" is forbidden: exceeded quota: team, requested: requests.cpu=1, used: requests.cpu=8, '
    "limited: requests.cpu=8"
)
NO_CLASS = 'pods "desk-1-quasar-x" is forbidden: no PriorityClass with name urgent was found'


def value_at(path: str, tree: Any) -> Any:
    """Return what a jsonPath of a printer column finds: names, and one item of a list by one of its fields."""
    assert "".join(m[0] for m in STEP.finditer(path)) == path, f"{path}: more than names and filters"
    for name, field, wanted in STEP.findall(path):
        if tree is None:
            return None
        tree = tree.get(name) if name else next((item for item in tree if item.get(field) == wanted), None)
    return tree


def get_qts(system: Tree) -> str:
    """Return the system's line of `kubectl get qts`, with what stands in each column of the definition."""
    (version,) = crd()["spec"]["versions"]
    columns = [c for c in version["additionalPrinterColumns"] if not c.get("priority")]
    found = {c["name"]: value_at(c["jsonPath"], system) for c in columns}
    return " ".join(f"{name}={found[name]}" for name in found if name != "Age")


def describe_qts(system: Tree) -> str:
    """Return what `kubectl describe qts` prints of the status that the tests below look at: the conditions."""
    every = system["status"]["conditions"]
    return "\n".join(f"{c['type']} {c['status']} {c['reason']}: {c['message']}" for c in every)


def silent(*wires: str) -> Any:
    """Return what PADS says while it does not hear these any more."""
    return msgspec.structs.replace(
        HEARD, peers=HEARD.peers | {w: {"age_s": 31.0, "state": "dead"} for w in wires}
    )


def answered(failed: writes.Failed, kind: str, name: str) -> writes.State:
    """Return where the writes stand when the server has answered the write of one object."""
    action = Apply(manifest={"kind": kind, "metadata": {"name": name, "namespace": "trading"}}, uid="u")
    return writes.step(writes.begin([action]), failed)


def old_definition() -> Any:
    """Return what the engine finds when the definition that is served is not its own."""
    definition = Definition(FakeCluster(), SystemClock(), Metrics(), lambda: None)
    definition._judge(schema_of(crd()), False)
    return definition.findings


def rejected() -> Facts:
    """Return a system whose node has lost its device and rejected three pods."""
    failed = [
        msgspec.structs.replace(p, uid=f"{n}", **FAILED)
        for n in range(3)
        for p in pods()
        if p.agent == "quasar"
    ]
    others = [p for p in pods() if p.agent != "quasar"]
    return seen(GPU, quasar=LOST, pods=[*others, *failed], nodes=(Node(name="gpu-a"),), status=REACHED)


def unread() -> Tree:
    """Return the status of a pass over a spec that cannot be read; the server would have refused it."""
    state, _ = steps.begin(Defaults(), 1e9)
    state, _ = steps.step(state, steps.Seen(make_snapshot({"config": {"decisionTimeout": "soon"}})))
    return state.status


#: fault: (what is seen, what the first command says, what the second says)
FAULTS: dict[str, tuple[Any, str, str]] = {
    "agent killed": (
        lambda: seen(
            quasar=LOST,
            pods=pods(ready=False, down="quasar", ending="exit code 1", loops=True),
            status=REACHED,
        ),
        "Ready=False Agents=3/4 GPUs=0/0 Redis=True Reason=CrashLooping",
        "Ready False CrashLooping: quasar: CrashLoopBackOff: it ends again and again, last with exit code 1; kubectl ",
    ),
    "agent hung": (
        lambda: seen(statusz=silent("quasar"), status=REACHED),
        "Ready=False Agents=4/4 GPUs=0/0 Redis=True Reason=MessagingDown",
        "MessagingReady False PeersSilent: PADS does not hear quasar",
    ),
    "Redis down": (
        lambda: seen(**without_redis({"waiting": "CrashLoopBackOff"}), status=REACHED),
        "Ready=False Agents=0/4 GPUs=0/0 Redis=False Reason=RedisNotReady",
        "RedisReady False NotReachable: Redis is not ready any more: CrashLoopBackOff",
    ),
    "no GPU": (
        lambda: seen(GPU, quasar=DOWN, pods=pods(node="", ready=False), nodes=NODES, status=REACHED),
        "Ready=False Agents=3/4 GPUs=0/1 Redis=True Reason=AgentsNotReady",
        "GPUAvailable False NoGPUNodes: quasar needs 1 nvidia.com/gpu; none of 2 nodes offers it",
    ),
    "GPU lost": (
        rejected,
        "Ready=False Agents=3/4 GPUs=0/1 Redis=True Reason=GPUUnhealthy",
        "Degraded True GPUUnhealthy: gpu-a rejected 3 pods of quasar (UnexpectedAdmissionError); next try at ",
    ),
    "quota": (
        lambda: seen(quasar=DOWN | {"failure": QUOTA}, status=REACHED),
        "Ready=False Agents=3/4 GPUs=0/0 Redis=True Reason=QuotaExceeded",
        f"Scheduled False QuotaExceeded: quasar: {QUOTA}",
    ),
    "quota, of the objects themselves": (
        lambda: seen(state=answered(writes.Failed(code=403, message=QUOTA), "Service", "desk-1-amos")),
        "Ready=False Agents=4/4 GPUs=0/0 Redis=True Reason=QuotaExceeded",
        f"Ready False QuotaExceeded: {QUOTA}",
    ),
    "pods refused": (
        lambda: seen(quasar=DOWN | {"failure": NO_CLASS}, status=REACHED),
        "Ready=False Agents=3/4 GPUs=0/0 Redis=True Reason=ObjectRejected",
        f"Degraded True ObjectRejected: Deployment/desk-1-quasar: its pods are refused: {NO_CLASS}; kubectl -n trading ",
    ),
    "wrong image": (
        lambda: seen(
            quasar=DOWN,
            pods=pods(ready=False, waiting="ImagePullBackOff", waiting_message='pulling "registry/q:0"'),
            status=REACHED,
        ),
        "Ready=False Agents=3/4 GPUs=0/0 Redis=True Reason=ImageNotPulled",
        'Ready False ImageNotPulled: quasar: ImagePullBackOff: pulling "registry/q:0"',
    ),
    "bad config": (
        unread,
        "Ready=False Agents=None GPUs=None Redis=Unknown Reason=SpecRejected",
        "Degraded True SpecRejected: spec.config.decisionTimeout: expected `float`, got `str`",
    ),
    "bad config, as the server sees it": (
        lambda: seen(
            state=answered(
                writes.Failed(code=422, message="Required value", field="spec.template.spec.affinity"),
                "Deployment",
                "desk-1-amos",
            )
        ),
        "Ready=False Agents=4/4 GPUs=0/0 Redis=True Reason=ObjectRejected",
        "Degraded True ObjectRejected: Deployment/desk-1-amos: spec.template.spec.affinity: Required value",
    ),
    "feed stalled": (
        lambda: seen(market=LOST, pods=pods("market", ready=False, up=True), status=REACHED),
        "Ready=False Agents=4/4 GPUs=0/0 Redis=True Reason=FeedNotReady",
        "Ready False FeedNotReady: market: not ready",
    ),
    "network cut": (
        lambda: seen(statusz=silent(*(w.wire for w in VOTERS)), status=REACHED),
        "Ready=False Agents=4/4 GPUs=0/0 Redis=True Reason=MessagingDown",
        "MessagingReady False PeersSilent: PADS does not hear qbmia, quasar, amos",
    ),
    "CRD old": (
        lambda: seen(blocked=old_definition(), status=REACHED),
        "Ready=False Agents=4/4 GPUs=0/0 Redis=True Reason=CRDOutdated",
        "Degraded True CRDOutdated: the served quantumtradingsystems.quantumtrading.io is not the one of this operator",
    ),
    "right removed": (
        lambda: seen(state=answered(writes.Failed(code=403, message=REFUSED), "Deployment", "desk-1-amos")),
        "Ready=False Agents=4/4 GPUs=0/0 Redis=True Reason=AccessDenied",
        f"Degraded True AccessDenied: {REFUSED}",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_command_names_the_class_and_the_second_the_object(fault: str) -> None:
    """As text, of the status that is computed from what is seen."""
    look, line, words = FAULTS[fault]
    found = look()
    status = found if isinstance(found, dict) else build(found)
    assert broken({}, status) == []
    system = {"status": status}
    assert get_qts(system) == line
    assert words in describe_qts(system)


def test_a_healthy_system_looks_like_none_of_them() -> None:
    """What is told of a fault is told of nothing else."""
    system = {"status": build(seen())}
    assert get_qts(system) == "Ready=True Agents=4/4 GPUs=0/0 Redis=True Reason=AllReady"
    assert not [words for _, _, words in FAULTS.values() if words in describe_qts(system)]


def test_faults_of_other_classes_are_told_apart_by_the_first_command() -> None:
    """One line stands for two faults only where both are of the messages between agents: the second tells whose."""
    lines: dict[str, list[str]] = {}
    for fault, (_, line, _) in FAULTS.items():
        lines.setdefault(line, []).append(fault)
    assert [each for each in lines.values() if len(each) > 1] == [["agent hung", "network cut"]]


ROOM = Node(name="gpu-a", allocatable={"nvidia.com/gpu": 8})
OF_PODS = DOWN | {"failure": "exceeded quota: q"}
OF_DEVICES = DOWN | {"failure": "exceeded quota: q, requested: r=2, used: r=0, limited: r=1"}
CLASSES: dict[str, tuple[dict[str, Any], str]] = {
    "a quota": ({"quasar": OF_PODS}, "QuotaExceeded"),
    "a quota of devices": ({"spec": GPU, "quasar": OF_DEVICES, "nodes": (ROOM,)}, "QuotaExceeded"),
    "a quota, and another's image": (
        {"quasar": DOWN, "pods": pods(waiting="ErrImagePull"), "amos": OF_PODS},
        "QuotaExceeded",
    ),
    "an image of the feed": (
        {"market": DOWN, "pods": pods("market", waiting="ErrImagePull")},
        "ImageNotPulled",
    ),
    "an image, and another that starts": (
        {"quasar": DOWN, "pods": pods(waiting="ErrImagePull"), "amos": DOWN},
        "ImageNotPulled",
    ),
    "the feed": ({"market": LOST}, "FeedNotReady"),
    "the feed and an agent": ({"market": LOST, "amos": DOWN}, "AgentsNotReady"),
    # a message is whoever's words: only the reason beside it says what it is
    "a message that begins as a reason of ours does": (
        {"quasar": DOWN | LATELY | {"failure": "QuotaExceeded: says a webhook"}},
        "AgentsNotReady",
    ),
    "a message that begins as a reason of the kubelet's does": (
        {"quasar": DOWN | LATELY | {"failure": "ErrImagePull: says a webhook"}},
        "AgentsNotReady",
    ),
    "a container that speaks of a quota": (
        {"quasar": DOWN, "pods": pods(waiting="CrashLoopBackOff", waiting_message="exceeded quota of logs")},
        "AgentsNotReady",
    ),
    "a quota at the end of a long sentence": (
        {"quasar": DOWN | {"failure": f"{'f' * 300} exceeded quota: q"}},
        "QuotaExceeded",
    ),
    "a container that ends": ({"quasar": DOWN, "pods": pods(waiting="CrashLoopBackOff")}, "AgentsNotReady"),
    **{
        word: ({"quasar": DOWN, "pods": pods(waiting=word)}, "ImageNotPulled")
        for word in (
            *(
                "ErrImageNeverPull",
                "ErrImagePull",
                "ImageInspectError",
                "ImagePullBackOff",
                "InvalidImageName",
            ),
            *("RegistryUnavailable", "SignatureValidationFailed"),
        )
    },
}


@pytest.mark.parametrize("case", CLASSES)
def test_the_reason_of_ready_is_the_class_of_the_cause(case: str) -> None:
    """All that `kubectl get` shows of it."""
    more, expected = CLASSES[case]
    assert told(seen(**more), "Ready")[:2] == ("False", expected)
