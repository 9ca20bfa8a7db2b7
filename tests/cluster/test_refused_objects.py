"""A resource whose object the server refuses: Degraded names the field, and no other system is touched (O8)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.cluster.moments import first, told, watching
from tests.control_plane_campaign.workloads import REFUSED

from qts_operator.cluster import SYSTEMS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
#: nothing moves its versions once it is at rest
POD_LESS = {"suspend": True, "redis": {"mode": "External", "url": "redis://x"}}


def _versions(kube: Any, namespace: str, name: str) -> dict[str, str]:
    """Return the versions of a system and of all its objects, which any write of anybody moves."""
    found = {k: v for k, v in kube.owned(namespace).items() if k.partition("/")[2].startswith(f"{name}-")}
    found["itself"] = kube.get("-n", namespace, "qts", name)
    return {key: live["metadata"]["resourceVersion"] for key, live in found.items()}


def _at_rest(kube: Any, namespace: str, name: str) -> dict[str, str]:
    """Return the versions once they move no more."""
    if kube.condition(namespace, name, "Suspended")[0] != "True":
        return {}
    before = _versions(kube, namespace, name)
    time.sleep(2)
    return before if _versions(kube, namespace, name) == before else {}


def test_an_object_that_the_server_refuses_is_named_and_others_are_left_alone(
    kube: Any, namespace: str, leading: Any, until: Callable[..., Any], report: Callable[[str, float], None]
) -> None:
    """An affinity that no schema of ours checks: its field is in the status; the system beside it is not written."""
    kube.system(namespace, "well", POD_LESS)
    before = until(lambda: _at_rest(kube, namespace, "well"), "the other system at rest")
    assert len(before) > 10
    with watching(SYSTEMS, namespace) as seen:
        kube.system(namespace, "desk", {"agents": {"amos": {"affinity": REFUSED}}})

        def degraded(live: dict[str, Any]) -> bool:
            return live["metadata"]["name"] == "desk" and told(live, "Degraded")[0] == "True"

        found = until(lambda: first(seen, 0.0, degraded), "Degraded")
        made = first(seen, 0.0, lambda live: live["metadata"]["name"] == "desk")
    assert made is not None
    seconds = round(found.at_s - made.at_s, 1)
    report("seconds from a resource to its refused field in Degraded (goal: at most 2)", seconds)
    _, reason, message = told(found.live, "Degraded")
    assert reason == "ObjectRejected"
    assert "Deployment/desk-amos" in message
    assert "nodeSelectorTerms" in message
    assert "observedGeneration" not in found.live["status"]
    until(lambda: "Deployment/desk-quasar" in kube.owned(namespace), "the other agents")
    assert _versions(kube, namespace, "well") == before
    assert kube.condition(namespace, "well", "Degraded")[0] == "False"


@pytest.mark.parametrize("affinity", [REFUSED, {"nodeAffinity": {"nowhere": 1}}], ids=["invalid", "mistyped"])
def test_a_refused_template_holds_up_neither_suspend_nor_the_other_objects(
    kube: Any, namespace: str, leading: Any, until: Callable[..., Any], affinity: dict[str, Any]
) -> None:
    """The server refuses one agent's template for ever: every agent stops, and those after it get theirs."""
    kube.system(namespace, "desk", {})
    until(lambda: kube.applied(namespace), "applied")
    kube.patch(namespace, "desk", {"suspend": True, "agents": {"qbmia": {"affinity": affinity}}})
    until(lambda: kube.condition(namespace, "desk", "Suspended")[0] == "True", "suspended")
    _, reason, message = kube.condition(namespace, "desk", "Degraded")
    assert (reason, message.partition(": ")[0]) == ("ObjectRejected", "Deployment/desk-qbmia")
    assert "nodeAffinity" in message
    kube.patch(namespace, "desk", {"suspend": False, "agents": {"qbmia": {"affinity": None}}})
    until(lambda: kube.applied(namespace), "applied again")
    counts = {
        key: live["spec"]["replicas"] for key, live in kube.owned(namespace).items() if "Deployment" in key
    }
    assert set(counts.values()) == {1}
    assert kube.condition(namespace, "desk", "Degraded")[0] == "False"


def test_pods_that_are_refused_need_a_person_until_they_are_made(
    kube: Any, namespace: str, leading: Any, until: Callable[..., Any], played_nodes: None
) -> None:
    """A PriorityClass that nobody made: the older pod runs on, and status says what is missing until it is there."""
    place = {"nodeSelector": {"type": "kwok"}, "tolerations": [{"operator": "Exists"}]}
    agents = {name: dict(place) for name in ("pads", "qbmia", "quasar", "amos")}
    outside = {"mode": "External", "url": "redis://x"}
    kube.system(namespace, "desk", {"agents": agents, "market": place, "redis": outside})
    until(lambda: kube.condition(namespace, "desk", "Scheduled")[0] == "True", "pods on nodes")
    missing = f"urgent-{namespace}"
    kube.patch(namespace, "desk", {"agents": {"amos": {"priorityClassName": missing}}})
    said = until(lambda: _refused(kube, namespace), "Scheduled/PodsRefused")
    assert said.startswith("amos: its pods are refused: pods ")
    assert f"no PriorityClass with name {missing} was found" in said
    look = said.partition("; kubectl ")[2].removesuffix(" has the newest try").split()
    assert missing in kube.run(*look).stdout
    until(lambda: kube.condition(namespace, "desk", "Degraded")[0] == "True", "Degraded")
    _, reason, message = kube.condition(namespace, "desk", "Degraded")
    assert (reason, message.partition(": ")[0]) == ("ObjectRejected", "Deployment/desk-amos")
    assert kube.condition(namespace, "desk", "Ready")[1] == "ObjectRejected"
    made = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": missing}}
    try:
        kube.run("apply", "-f", "-", given=made | {"value": 1})
        # without a change of it the controller tries again after up to 17 minutes
        kube.run("-n", namespace, "annotate", "replicasets", "--all", "tried=again")
        until(lambda: kube.condition(namespace, "desk", "Degraded")[0] == "False", "healthy again")
        until(lambda: kube.condition(namespace, "desk", "Scheduled")[0] == "True", "scheduled again")
    finally:
        kube.run("delete", "priorityclass", missing)


def _refused(kube: Any, namespace: str) -> str:
    status, reason, message = kube.condition(namespace, "desk", "Scheduled")
    return message if (status, reason) == ("False", "PodsRefused") else ""
