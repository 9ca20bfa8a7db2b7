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


def test_an_ordinary_life_has_the_few_events_that_a_reader_wants(
    kube: Any, namespace: str, leading: Any, until: Callable[..., Any], played_node: None
) -> None:
    """A start, a roll-out, a pause and a suspension: what comes up in its time is no news until it is up."""
    kube.run("taint", "node", "fake-0", "kwok.x-k8s.io/node-")

    def becomes(reason: str) -> None:
        until(lambda: kube.condition(namespace, "desk", "Ready")[1] == reason, reason)

    def told() -> list[tuple[str, str, str]]:
        found = kube.get("-n", namespace, "events.events.k8s.io")["items"]
        ours = [e for e in found if e["regarding"]["kind"] == "QuantumTradingSystem"]
        ours.sort(key=lambda e: e["eventTime"])
        return [(e["type"], e["reason"], e["note"]) for e in ours]

    kube.system(namespace, "desk")
    becomes("AllReady")
    for change in (
        {"agents": {"amos": {"podLabels": {"team": "x"}}}},
        {"images": {"redis": "localhost/b:1"}},
    ):
        kube.patch(namespace, "desk", change)
        until(lambda: kube.applied(namespace), "applied")
        becomes("AllReady")
    # not of PADS, whose old pod goes first: its Deployment may still say that its newest template was there
    kube.patch(namespace, "desk", {"paused": True, "agents": {"amos": {"podLabels": {"team": "y"}}}})
    becomes("SpecNotApplied")
    kube.patch(namespace, "desk", {"paused": False})
    becomes("AllReady")
    kube.patch(namespace, "desk", {"suspend": True})
    becomes("Suspended")
    kube.patch(namespace, "desk", {"suspend": False})
    becomes("AllReady")
    # who becomes ready again within ten minutes goes on with the same series
    assert told() == [
        ("Normal", "AllReady", "4/4 agents and the feed are ready"),
        ("Normal", "SpecNotApplied", "the system is paused: status.plan says what is not done"),
        ("Normal", "Suspended", "the system is suspended"),
    ]
