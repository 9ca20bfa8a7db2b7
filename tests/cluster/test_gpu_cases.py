"""The twelve GPU cases of the design on nodes that kwok plays: exact reasons and messages, and what follows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from tests.cluster.moments import at_once, first, told, watching

from qts_operator.cluster import PODS, SYSTEMS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.usefixtures("leading")]
GPU = "nvidia.com/gpu"
PRODUCT = "nvidia.com/gpu.product"
#: pods go to kwok's nodes; everything else runs there too, so that systems become Ready
PLACE: dict[str, Any] = {
    "nodeSelector": {"type": "kwok"},
    "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists", "effect": "NoSchedule"}],
}
QUASAR = "quantumtrading.io/agent=quasar"
MOST = "(goal: at most {})"
NODES = ("fake-0", "fake-1", "fake-2")


@pytest.fixture(scope="module", autouse=True)
def nodes(played: Callable[..., AbstractContextManager[None]]) -> Iterator[None]:
    """Three nodes with two devices each, beside whatever nodes the cluster has."""
    with played(len(NODES), gpus=2):
        yield


@pytest.fixture
def node(kube: Any) -> Iterator[Callable[..., None]]:
    """Change a node: devices, labels, taints, cordon; everything is put back in the end."""

    def change(name: str, *, offers: dict[str, int] | None = None, **spec: Any) -> None:
        if offers is not None:
            live = kube.get("node", name)["status"]
            amounts = {k: v for k, v in live["allocatable"].items() if "/" not in k}
            amounts |= {k: str(v) for k, v in offers.items()}
            patch = [
                {"op": "replace", "path": f"/status/{p}", "value": amounts}
                for p in ("allocatable", "capacity")
            ]
            kube.run("patch", "node", name, "--subresource=status", "--type=json", "-p", json.dumps(patch))
        if "labels" in spec:
            kube.run("patch", "node", name, "-p", json.dumps({"metadata": {"labels": spec.pop("labels")}}))
        if spec:
            kube.run("patch", "node", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    yield change
    kwok = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
    for name in NODES:
        change(name, offers={GPU: 2}, unschedulable=None, taints=[kwok], labels={PRODUCT: None})


def _spec(gpu: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    every = {name: dict(PLACE) for name in ("pads", "qbmia", "amos")}
    every["quasar"] = PLACE | {"gpu": gpu or {"mode": "Required"}} | more
    return {"agents": every, "market": dict(PLACE), "redis": {"mode": "External", "url": "redis://x"}}


def _gpu(kube: Any, namespace: str, name: str = "desk") -> tuple[str, str, str]:
    return kube.condition(namespace, name, "GPUAvailable")


def _replicas(kube: Any, namespace: str, part: str) -> int:
    return int(kube.get("-n", namespace, f"deployment/{part}")["spec"]["replicas"])


def _pods(kube: Any, namespace: str) -> list[Any]:
    return kube.get("-n", namespace, "pods", "-l", QUASAR)["items"]


def _case(number: int, told: tuple[str, str], message: str, prepare: Any = None, **more: Any) -> Any:
    return pytest.param(told, message, prepare, _spec(**more), id=f"case {number}")


def _no_devices(node: Callable[..., None]) -> None:
    for name in NODES:
        node(name, offers={})


def _tainted(node: Callable[..., None]) -> None:
    kwok = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
    for name in NODES:
        node(name, taints=[kwok, {"key": GPU, "value": "present", "effect": "NoSchedule"}])


def _cordoned(node: Callable[..., None]) -> None:
    _no_devices(node)
    node("fake-2", offers={GPU: 2}, unschedulable=True)


def _labelled(node: Callable[..., None]) -> None:
    for name in NODES:
        node(name, labels={PRODUCT: "NVIDIA-A100-SXM4-80GB"})


H100 = PLACE["nodeSelector"] | {PRODUCT: "NVIDIA-H100-80GB-HBM3"}
CASES = [
    _case(1, ("True", "Allocated"), "quasar: 1 nvidia.com/gpu on fake-"),
    _case(
        2,
        ("False", "NoGPUNodes"),
        "quasar needs 1 nvidia.com/gpu; none of {nodes} nodes offers it",
        _no_devices,
    ),
    _case(
        3,
        ("False", "CountTooLarge"),
        "quasar needs 4 nvidia.com/gpu on one node; the largest, fake-2, has 2",
        gpu={"mode": "Required", "count": 4},
    ),
    _case(
        5,
        ("False", "NoMatchingMIGProfile"),
        "quasar needs 1 nvidia.com/mig-1g.10gb; nearest: fake-1 offers nvidia.com/mig-2g.20gb",
        lambda node: node("fake-1", offers={"nvidia.com/mig-2g.20gb": 3}),
        gpu={"mode": "Required", "resourceName": "nvidia.com/mig-1g.10gb"},
    ),
    _case(
        6,
        ("False", "NoMatchingNode"),
        "quasar selects nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3; nearest: fake-0 has NVIDIA-A100-SXM4-80GB",
        _labelled,
        nodeSelector=H100,
    ),
    _case(
        7,
        ("False", "UntoleratedTaint"),
        "fake-0 fits but has taint nvidia.com/gpu=present:NoSchedule, which quasar does not tolerate",
        _tainted,
    ),
    _case(
        8,
        ("False", "NodesUnavailable"),
        "the only matching nodes cannot take pods: fake-2 is unschedulable",
        _cordoned,
    ),
    _case(
        12,
        ("False", "FallbackToCPU"),
        "quasar runs on CPU: quasar needs 1 nvidia.com/gpu; none of {nodes} nodes offers it",
        _no_devices,
        gpu={"mode": "Preferred"},
    ),
]


@pytest.mark.parametrize(("told", "message", "prepare", "spec"), CASES)
def test_a_case_has_its_reason_and_sentence(
    kube, namespace, until, node, told, message, prepare, spec
) -> None:
    """As a user reads it: condition, reason, message; Ready follows Required and ignores Preferred."""
    message = message.format(nodes=len(kube.get("nodes")["items"]))
    if prepare is not None:
        prepare(node)
    kube.system(namespace, "desk", spec)

    def said() -> bool:
        *sort, text = _gpu(kube, namespace)
        same = text.startswith(message) if told[1] == "Allocated" else text == message
        return tuple(sort) == told and same

    # the sentence too: what the nodes were before may still be in the operator's eyes
    until(said, message)
    if told[1] not in ("Allocated", "FallbackToCPU"):
        ready = f"quasar: {told[1]}: {message}"
        until(lambda: ready in kube.condition(namespace, "desk", "Ready")[2], ready)


def test_case_4_all_devices_are_in_use(kube, namespace, until, node) -> None:
    """What other tenants hold is counted, by a pod that is not ours."""
    for name in ("fake-1", "fake-2"):
        node(name, offers={})
    other = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "tenant", "namespace": namespace},
        "spec": PLACE | {"containers": [{"name": "c", "image": "x", "resources": {"limits": {GPU: "2"}}}]},
    }
    kube.run("apply", "-f", "-", given=other)
    until(lambda: kube.get("-n", namespace, "pod/tenant")["spec"].get("nodeName"), "tenant placed")
    kube.system(namespace, "desk", _spec())
    # what others hold is remembered for half a minute, also from the test before
    busy = "quasar needs 1 nvidia.com/gpu; 2 of 2 on 1 matching node are in use"
    until(lambda: _gpu(kube, namespace)[1:] == ("GPUsBusy", busy), "GPUsBusy", 180)
    kube.run("-n", namespace, "delete", "pod", "tenant", "--grace-period=0", "--force")
    until(lambda: _gpu(kube, namespace)[1] == "Allocated", "Allocated when it is free")


def test_a_lost_node_s_pod_stays_until_another_device_is_free(kube, namespace, until, node) -> None:
    """Who uses the others is asked for, though no pod waits; with the last one in use the status says so."""
    for name in ("fake-0", "fake-2"):
        node(name, offers={})
    holds = {"containers": [{"name": "c", "image": "x", "resources": {"limits": {GPU: "2"}}}]}
    tenant = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tenant", "namespace": namespace}}
    kube.run("apply", "-f", "-", given=tenant | {"spec": PLACE | holds})
    until(lambda: kube.get("-n", namespace, "pod/tenant")["spec"].get("nodeName"), "tenant placed")
    node("fake-0", offers={GPU: 2})
    kube.system(namespace, "desk", _spec())
    placed = "quasar: 1 nvidia.com/gpu on {}"
    until(lambda: _gpu(kube, namespace)[2] == placed.format("fake-0"), "Allocated")
    (before,) = _pods(kube, namespace)
    kube.run("label", "node", "fake-0", "type-")  # nobody plays it any more
    try:
        busy = "quasar needs 1 nvidia.com/gpu; 2 of 2 on 1 matching node are in use"
        text = f"{busy}; its pod stays on fake-0, which is lost"
        until(lambda: _gpu(kube, namespace) == ("False", "GPUsBusy", text), text, 240)
        assert kube.status(namespace, "desk")["gpus"] == "0/1"
        (still,) = _pods(kube, namespace)
        assert still["metadata"]["uid"] == before["metadata"]["uid"]
        assert "deletionTimestamp" not in still["metadata"]
        kube.run("-n", namespace, "delete", "pod", "tenant", "--grace-period=0", "--force")
        until(lambda: _gpu(kube, namespace)[2] == placed.format("fake-1"), "on the other one", 180)
        entry = next(a for a in kube.status(namespace, "desk")["agentStatuses"] if a["name"] == "quasar")
        assert (entry["lastRestart"]["podUID"], entry["lastRestart"]["reason"]) == (
            before["metadata"]["uid"],
            "NodeLost",
        )
    finally:
        kube.run("label", "node", "fake-0", "type=kwok", "--overwrite")


def test_case_9_a_lost_device_is_contained(kube, namespace, until, node, report) -> None:
    """Rejected pods open the circuit: 0 replicas, never more than replicas + 3 pods, the sentence names the node."""
    kube.system(namespace, "desk", _spec())
    until(lambda: _gpu(kube, namespace)[1] == "Allocated", "Allocated")

    def reject() -> int:
        """Play the kubelet of a node whose device is gone; return how many rejected pods there are."""
        status = json.dumps({"status": {"phase": "Failed", "reason": "UnexpectedAdmissionError"}})
        for pod in _pods(kube, namespace):
            if pod["spec"].get("nodeName") and pod["status"]["phase"] != "Failed":
                patch = ("patch", "pod", pod["metadata"]["name"], "--subresource=status", "-p", status)
                kube.run("-n", namespace, *patch, check=False)
        return sum(p["status"]["phase"] == "Failed" for p in _pods(kube, namespace))

    def given_up() -> bool:
        return _gpu(kube, namespace)[1] == "GPUUnhealthy" and _replicas(kube, namespace, "desk-quasar") == 0

    with watching(SYSTEMS, namespace) as systems, watching(PODS, namespace, QUASAR) as pods:
        lost_s = time.monotonic()
        until(lambda: reject() >= 3, "three are rejected")  # what follows is up to the operator, busy or not
        until(given_up, "GPUUnhealthy")
        reject()
        time.sleep(3)
        until(
            lambda: not [p for p in _pods(kube, namespace) if p["status"]["phase"] != "Failed"], "all failed"
        )
    unhealthy = first(systems, lost_s, lambda live: told(live, "GPUAvailable")[1] == "GPUUnhealthy")
    assert unhealthy is not None
    report(f"seconds from a lost device to GPUUnhealthy {MOST.format(30)}", round(unhealthy.at_s - lost_s, 1))
    most, made = at_once(pods)
    report(f"pods of an agent of one replica at once, its device lost {MOST.format(4)}", most)
    report("of these made in all", made)
    assert most <= 1 + 3  # replicas + 3
    text = _gpu(kube, namespace)[2]
    assert "rejected 3 pods of quasar (UnexpectedAdmissionError); next try at " in text
    assert kube.condition(namespace, "desk", "Degraded")[1] == "GPUUnhealthy"
    until(lambda: len(_pods(kube, namespace)) <= 3, "what is beyond three failed pods goes")
    entry = next(a for a in kube.status(namespace, "desk")["agentStatuses"] if a["name"] == "quasar")
    assert entry["circuit"]["tries"] == 1


def test_case_10_claims_by_device_class(kube, namespace, until, node) -> None:
    """No class, no device, a device; a changed request makes a new template, the old one goes with its last pod."""
    asks = {"mode": "Required", "deviceClassName": "gpu.nvidia.com"}
    kube.system(namespace, "desk", _spec(asks))
    until(lambda: _gpu(kube, namespace)[1] == "ClaimNotAllocated", "ClaimNotAllocated")
    until(
        lambda: _gpu(kube, namespace)[2] == "quasar: device class gpu.nvidia.com does not exist", "no class"
    )
    kube.run("apply", "-f", "-", given=CLASS)
    try:
        none = "quasar: no node can allocate 1 gpu.nvidia.com"
        until(lambda: _gpu(kube, namespace)[2] == none, "no device")
        kube.run("apply", "-f", "-", given=_slice("fake-1"))
        one = ("Allocated", "quasar: 1 gpu.nvidia.com on fake-1")
        until(lambda: _gpu(kube, namespace)[1:] == one, "one device")
        until(lambda: kube.status(namespace, "desk")["gpus"] == "1/1", "1/1")
        first = _templates(kube, namespace)
        assert len(first) == 1
        kube.system(namespace, "desk", _spec(asks | {"count": 2}))
        until(lambda: _gpu(kube, namespace)[2] == "quasar: 2 gpu.nvidia.com on fake-1", "two devices")
        until(lambda: len(_templates(kube, namespace)) == 1, "the old template is gone")
        assert _templates(kube, namespace) != first
    finally:
        kube.run("delete", "deviceclass", "gpu.nvidia.com")
        kube.run("delete", "resourceslice", "slice-fake-1", check=False)


CLASS = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "DeviceClass",
    "metadata": {"name": "gpu.nvidia.com"},
    "spec": {"selectors": [{"cel": {"expression": "device.driver == 'gpu.nvidia.com'"}}]},
}


def _slice(node: str) -> dict[str, Any]:
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": f"slice-{node}"},
        "spec": {
            "driver": "gpu.nvidia.com",
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "gpu-0"}, {"name": "gpu-1"}],
        },
    }


def _templates(kube: Any, namespace: str) -> list[str]:
    return [t["metadata"]["name"] for t in kube.get("-n", namespace, "resourceclaimtemplates")["items"]]


def test_case_10_claims_by_a_template_of_the_users(kube, namespace, until, node) -> None:
    """One that does not exist is named: no scheduler, controller or Event tells the resource's owner of it."""
    kube.system(namespace, "desk", _spec({"mode": "Required", "claimTemplateName": "mine"}))
    text = "quasar: mine of gpu.claimTemplateName does not exist; make that ResourceClaimTemplate"
    until(lambda: _gpu(kube, namespace) == ("False", "ClaimNotAllocated", text), "the template is missed")
    kube.run("apply", "-f", "-", given=CLASS)
    kube.run("apply", "-f", "-", given=_slice("fake-1"))
    try:
        kube.run("-n", namespace, "apply", "-f", "-", given=TEMPLATE)
        kube.run("-n", namespace, "delete", "pods", "-l", QUASAR, "--wait=false")
        one = ("True", "Allocated", "quasar: 1 mine on fake-1")
        until(lambda: _gpu(kube, namespace) == one, "one device")
    finally:
        kube.run("delete", "deviceclass", "gpu.nvidia.com")
        kube.run("delete", "resourceslice", "slice-fake-1", check=False)


TEMPLATE = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "ResourceClaimTemplate",
    "metadata": {"name": "mine"},
    "spec": {
        "spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com"}}]}}
    },
}


def test_case_11_a_quota_is_named(kube, namespace, until, node) -> None:
    """The sentence holds the quota, what it allows, what is used and what was asked for."""
    hard = {"hard": {"requests.nvidia.com/gpu": "1"}}
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": namespace}}
    kube.run("apply", "-f", "-", given=body | {"spec": hard})
    until(lambda: kube.get("-n", namespace, "quota/q").get("status", {}).get("hard"), "quota counted")
    kube.system(namespace, "desk", _spec({"mode": "Required", "count": 2}))
    text = "quasar: quota q allows 1 requests.nvidia.com/gpu, 0 in use, 2 more requested"
    until(lambda: _gpu(kube, namespace)[1:] == ("QuotaExceeded", text), "QuotaExceeded")
    exceeded = ("False", "QuotaExceeded")
    until(lambda: kube.condition(namespace, "desk", "Scheduled")[:2] == exceeded, "Scheduled")


def test_of_two_systems_one_starts_and_the_other_holds_nothing(kube, namespace, until, node) -> None:
    """Three devices, two systems of two: never two holders; the waiting one holds 0 and starts when it can."""
    node("fake-1", offers={GPU: 1})
    node("fake-2", offers={})
    spec = _spec()
    spec["agents"]["amos"] = PLACE | {"gpu": {"mode": "Required"}}
    for name in ("desk", "other"):
        kube.system(namespace, name, spec | {"startup": "AllOrNothing", "gangTimeout": "60s"})

    def holders() -> dict[str, int]:
        held: dict[str, int] = {}
        for pod in kube.get("-n", namespace, "pods")["items"]:
            limits = pod["spec"]["containers"][0].get("resources", {}).get("limits", {})
            system = pod["metadata"]["labels"].get("quantumtrading.io/system", "")
            if limits.get(GPU) and pod["spec"].get("nodeName") and "deletionTimestamp" not in pod["metadata"]:
                held[system] = held.get(system, 0) + int(limits[GPU])
        assert len(held) <= 1, held
        return held

    until(lambda: 2 in holders().values(), "one holds both")
    (winner,) = holders()
    loser = "other" if winner == "desk" else "desk"
    text = "2 nvidia.com/gpu must be free at once for an all-or-nothing start"
    waits = ("False", "WaitingForGang", text)
    until(lambda: kube.condition(namespace, loser, "Scheduled") == waits, "WaitingForGang")
    for _ in range(10):
        assert set(holders()) == {winner}
        time.sleep(0.5)
    kube.patch(namespace, winner, {"suspend": True})
    until(lambda: holders() == {loser: 2}, "the other starts")
