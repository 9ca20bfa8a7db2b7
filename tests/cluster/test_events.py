"""Events on a real API server: what happens again becomes a series, as `kubectl describe` shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
ASKING = {"agents": {"quasar": {"gpu": {"mode": "Required", "resourceName": "example.com/absent"}}}}
CONTENT = {"agents": {"quasar": {"gpu": None}}}


def test_what_happens_again_is_one_event_that_counts(
    kube: Any, namespace: str, leading: Any, until: Callable[..., Any]
) -> None:
    """The server takes the series, nothing is refused, and the rights of the chart suffice."""
    kube.system(namespace, "desk")
    until(lambda: kube.applied(namespace), "applied")

    def gpu(reason: str) -> None:
        until(lambda: kube.condition(namespace, "desk", "GPUAvailable")[1] == reason, reason)

    for _ in range(3):
        kube.patch(namespace, "desk", ASKING)
        gpu("NoGPUNodes")
        kube.patch(namespace, "desk", CONTENT)
        gpu("NotRequested")

    def told() -> list[int]:
        found = kube.get("-n", namespace, "events.events.k8s.io")["items"]
        missing = [e for e in found if e["reason"] == "NoGPUNodes"]
        assert all(e["regarding"]["name"] == "desk" and e["type"] == "Warning" for e in missing)
        return [(e.get("series") or {}).get("count", 1) for e in missing]

    until(lambda: told() == [3], "one Event of three")
    # a namespace of another test that is on its way out may refuse Events: that is no missing right
    assert 'qts_reflector_denied_total{kind="Event"' not in leading.told()
