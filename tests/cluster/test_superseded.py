"""A roll-out of Redis that cannot end, and a newer spec: the StatefulSet alone would wait for the old pod for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def test_a_newer_spec_does_not_wait_for_a_pod_that_never_gets_ready(
    kube: Any, namespace: str, leading: Any, until: Callable[..., Any]
) -> None:
    """Once for each pod: the new one is as little ready, and stays."""
    kube.system(namespace, "desk")

    def pod() -> tuple[str, str]:
        found = kube.get("-n", namespace, "pods", "-l", "app.kubernetes.io/component=redis")["items"]
        alive = [p for p in found if "deletionTimestamp" not in p["metadata"]]
        asked = [
            c["resources"].get("requests", {}).get("memory", "")
            for p in alive
            for c in p["spec"]["containers"]
        ]
        return (alive[0]["metadata"]["uid"], asked[0]) if alive else ("", "")

    def found(memory: str) -> tuple[str, str] | None:
        seen = pod()
        return seen if seen[0] and memory in ("", seen[1]) else None

    first = until(lambda: found(""), "a pod of Redis")
    kube.patch(namespace, "desk", {"redis": {"resources": {"requests": {"memory": "77Mi"}}}})
    until(lambda: kube.applied(namespace), "applied")
    second = until(lambda: found("77Mi"), "a pod of the newest template")
    assert second[0] != first[0]
    passes = leading.passes()
    kube.run("-n", namespace, "annotate", "qts", "desk", "look=again")
    kube.patch(namespace, "desk", {"config": {"systemSeed": 7}})
    until(lambda: kube.applied(namespace) and leading.passes() > passes, "another pass")
    assert pod() == second
    text = leading.told()
    labels = f'agent="redis",namespace="{namespace}",reason="Superseded",system="desk"'
    assert f"qts_agent_restarts_total{{{labels}}}" in text
