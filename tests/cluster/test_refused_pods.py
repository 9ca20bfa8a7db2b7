"""Pods that the real API server refuses to their controllers: by a quota, and of Redis, of which no status tells."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.conftest import PATIENCE_S
from tests.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
SMALL = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "small"},
    "spec": {"limits": [{"type": "Container", "max": {"memory": "100Mi"}}]},
}
OUTSIDE = {"mode": "External", "url": "redis://x"}


def _quota(kube: Any, namespace: str, **hard: str) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": hard}}
    kube.run("-n", namespace, "apply", "-f", "-", given=quota)


def _try_again(kube: Any, namespace: str) -> None:
    """Have the controllers look at once, as the runbook has it: they would wait for up to 17 minutes."""
    ours = ("-l", "quantumtrading.io/system=desk")
    kube.run("-n", namespace, "annotate", "deployments,statefulsets", *ours, "tried=1", "--overwrite")


def _comes(kube: Any, namespace: str, kind: str, status: str, reason: str = "") -> str:
    """Wait until this namespace's system has the condition, and return its message."""

    def told() -> tuple[str, str, str]:
        found = kube.condition(namespace, "desk", kind)
        if found[0] != status or reason not in ("", found[1]):
            raise LookupError(found)
        return found

    return str(until(told, PATIENCE_S, f"{kind} {status} {reason}")[2])


@pytest.fixture(scope="module")
def places(kube: Any, leading: Any) -> Iterator[dict[str, str]]:
    """Three systems that are refused something, in namespaces of their own: they pass their minute side by side."""
    made = {name: f"t-{name}-{time.time_ns() % 10**6}" for name in ("pods", "objects", "redis")}
    for namespace in made.values():
        kube.run("create", "namespace", namespace)
    _quota(kube, made["pods"], pods="4")
    _quota(kube, made["objects"], **{"count/deployments.apps": "3"})
    kube.run("-n", made["redis"], "apply", "-f", "-", given=SMALL)
    few = {"resources": {"requests": {"memory": "50Mi"}, "limits": {"memory": "90Mi"}}}
    agents = {name: dict(few) for name in ("pads", "qbmia", "quasar", "amos")}
    big = {"resources": {"requests": {"memory": "200Mi"}, "limits": {"memory": "400Mi"}}}
    kube.system(made["pods"], "desk", {"redis": OUTSIDE})
    _comes(kube, made["pods"], "Scheduled", "False", "QuotaExceeded")
    assert kube.condition(made["pods"], "desk", "Degraded")[1] == "Healthy"  # not before its minute
    kube.system(made["objects"], "desk", {"redis": OUTSIDE})
    kube.system(made["redis"], "desk", {"agents": agents, "market": few, "redis": big})
    yield made
    for namespace in made.values():
        kube.run("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")


def test_a_full_quota_needs_a_person_until_it_is_raised(kube: Any, places: dict[str, str]) -> None:
    """Four pods of five: Ready and Scheduled name the quota at once, Degraded after a minute with the remedy."""
    namespace = places["pods"]
    message = _comes(kube, namespace, "Degraded", "True", "QuotaExceeded")
    assert "exceeded quota: few" in message
    assert message.endswith("; raise the quota or ask for less")
    assert kube.condition(namespace, "desk", "Ready")[1] == "QuotaExceeded"
    _quota(kube, namespace, pods="9")
    _try_again(kube, namespace)
    _comes(kube, namespace, "Degraded", "False")


def test_a_quota_of_objects_needs_a_person_until_it_is_raised(kube: Any, places: dict[str, str]) -> None:
    """No Deployment more: it is the operator itself that is refused, and that tries again by itself."""
    namespace = places["objects"]
    message = _comes(kube, namespace, "Degraded", "True", "QuotaExceeded")
    assert message.endswith("; raise the quota or ask for less")
    _quota(kube, namespace, **{"count/deployments.apps": "9"})
    _comes(kube, namespace, "Degraded", "False")
    until(lambda: kube.applied(namespace), PATIENCE_S, "applied")


def test_a_redis_whose_pod_is_refused_needs_a_person_until_it_is_made(
    kube: Any, places: dict[str, str]
) -> None:
    """A memory limit that no pod may exceed: the command of the message says which."""
    namespace = places["redis"]
    message = _comes(kube, namespace, "Degraded", "True", "ObjectRejected")
    assert message.startswith("StatefulSet/desk-redis: it has no pod")
    look = message.partition("; kubectl ")[2].partition(" says why")[0].split()
    assert "maximum memory usage per Container is 100Mi" in kube.run(*look).stdout
    kube.run("-n", namespace, "delete", "limitrange", "small")
    _try_again(kube, namespace)
    _comes(kube, namespace, "Degraded", "False")


def test_an_image_whose_tag_is_no_label_is_left_to_the_kubelet(
    kube: Any, namespace: str, leading: Any
) -> None:
    """The server refused the Deployment for a label that nobody wrote, also of a valid tag that is long."""
    images = {"amos": "localhost/x:a:b", "quasar": f"localhost/x:{'a' * 62}-{'b' * 20}"}
    kube.system(
        namespace,
        "desk",
        {"suspend": True, "redis": OUTSIDE, "agents": {n: {"image": i} for n, i in images.items()}},
    )
    _comes(kube, namespace, "Suspended", "True")
    assert kube.condition(namespace, "desk", "Degraded")[0] == "False"
    made = kube.owned(namespace)
    for name, image in images.items():
        (container,) = made[f"Deployment/desk-{name}"]["spec"]["template"]["spec"]["containers"]
        assert container["image"] == image
