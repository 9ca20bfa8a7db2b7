"""Pods that the real API server refuses to their controllers: by a quota, and of Redis, of which no status tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
OUTSIDE = {"mode": "External", "url": "redis://x"}


def _quota(kube: Any, namespace: str, **hard: str) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": hard}}
    kube.run("-n", namespace, "apply", "-f", "-", given=quota)


def _try_again(kube: Any, namespace: str) -> None:
    """Have the controllers look at once, as the runbook has it: they would wait for up to 17 minutes."""
    ours = ("-l", "quantumtrading.io/system=desk")
    kube.run("-n", namespace, "annotate", "deployments,statefulsets", *ours, "tried=1", "--overwrite")


def test_a_full_quota_needs_a_person_until_it_is_raised(
    kube: Any, namespace: str, leading: Any, until: Callable[..., Any]
) -> None:
    """Four pods of five: Ready and Scheduled name the quota at once, Degraded after a minute with the remedy."""
    _quota(kube, namespace, pods="4")
    kube.system(namespace, "desk", {"redis": OUTSIDE})
    until(lambda: kube.condition(namespace, "desk", "Scheduled")[1] == "QuotaExceeded", "Scheduled")
    assert kube.condition(namespace, "desk", "Degraded")[1] == "Healthy"
    until(lambda: kube.condition(namespace, "desk", "Degraded")[0] == "True", "Degraded")
    _, reason, message = kube.condition(namespace, "desk", "Degraded")
    assert reason == "QuotaExceeded"
    assert "exceeded quota: few" in message
    assert message.endswith("; raise the quota or ask for less")
    assert kube.condition(namespace, "desk", "Ready")[1] == "QuotaExceeded"
    _quota(kube, namespace, pods="9")
    _try_again(kube, namespace)
    until(lambda: kube.condition(namespace, "desk", "Degraded")[0] == "False", "healthy again")


def test_a_quota_of_objects_needs_a_person_until_it_is_raised(
    kube: Any, namespace: str, leading: Any, until: Callable[..., Any]
) -> None:
    """No Deployment more: it is the operator itself that is refused, and that tries again by itself."""
    _quota(kube, namespace, **{"count/deployments.apps": "3"})
    kube.system(namespace, "desk", {"redis": OUTSIDE})
    until(lambda: kube.condition(namespace, "desk", "Degraded")[0] == "True", "Degraded")
    _, reason, message = kube.condition(namespace, "desk", "Degraded")
    assert reason == "QuotaExceeded"
    assert message.endswith("; raise the quota or ask for less")
    _quota(kube, namespace, **{"count/deployments.apps": "9"})
    until(lambda: kube.condition(namespace, "desk", "Degraded")[0] == "False", "healthy again")
    until(lambda: kube.applied(namespace), "applied")


def test_a_redis_whose_pod_is_refused_needs_a_person_until_it_is_made(
    kube: Any, namespace: str, leading: Any, until: Callable[..., Any]
) -> None:
    """A memory limit that no pod may exceed: the command of the message says which."""
    limit = {"type": "Container", "max": {"memory": "100Mi"}}
    told = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "small"},
        "spec": {"limits": [limit]},
    }
    kube.run("-n", namespace, "apply", "-f", "-", given=told)
    few = {"resources": {"requests": {"memory": "50Mi"}, "limits": {"memory": "90Mi"}}}
    agents = {name: dict(few) for name in ("pads", "qbmia", "quasar", "amos")}
    big = {"resources": {"requests": {"memory": "200Mi"}, "limits": {"memory": "400Mi"}}}
    kube.system(namespace, "desk", {"agents": agents, "market": few, "redis": big})
    what = "StatefulSet/desk-redis: it has no pod"
    until(lambda: kube.condition(namespace, "desk", "Degraded")[2].startswith(what), "Degraded")
    _, reason, message = kube.condition(namespace, "desk", "Degraded")
    assert reason == "ObjectRejected"
    look = message.partition("; kubectl ")[2].partition(" says why")[0].split()
    assert "maximum memory usage per Container is 100Mi" in kube.run(*look).stdout
    kube.run("-n", namespace, "delete", "limitrange", "small")
    _try_again(kube, namespace)
    until(lambda: kube.condition(namespace, "desk", "Degraded")[0] == "False", "healthy again")


def test_an_image_whose_tag_is_no_label_is_left_to_the_kubelet(
    kube: Any, namespace: str, leading: Any, until: Callable[..., Any]
) -> None:
    """The server refused the Deployment for a label that nobody wrote, also of a valid tag that is long."""
    images = {"amos": "localhost/x:a:b", "quasar": f"localhost/x:{'a' * 62}-{'b' * 20}"}
    kube.system(
        namespace,
        "desk",
        {"suspend": True, "redis": OUTSIDE, "agents": {n: {"image": i} for n, i in images.items()}},
    )
    until(lambda: kube.condition(namespace, "desk", "Suspended")[0] == "True", "applied")
    assert kube.condition(namespace, "desk", "Degraded")[0] == "False"
    made = kube.owned(namespace)
    for name, image in images.items():
        (container,) = made[f"Deployment/desk-{name}"]["spec"]["template"]["spec"]["containers"]
        assert container["image"] == image
