"""Pods that the server refuses: after a minute a person is needed, and nobody is once they are made."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tests.unit.control_plane.engines import running
from tests.unit.control_plane.passes import at_rest, played
from tests.unit.control_plane.systems import (
    BEHIND,
    DOWN,
    LATELY,
    OBSERVED,
    OUTSIDE,
    QUOTA,
    ZERO,
    pods,
    seen,
    told,
)
from tests.unit.control_plane.test_answers import NAME, NS, OPTIONS, Answers
from tests.unit.control_plane.weather import play

from qts_core import names
from qts_operator.behind import field_of_pod
from qts_operator.refusals import AFTER_S
from qts_operator.snapshot import Node, Snapshot
from qts_operator.times import stamp

WORDS = 'pods "desk-1-quasar-x" is forbidden: no PriorityClass with name urgent was found'
NOW = 1e9
FOR_LONG = {"failure": WORDS, "failing_since": NOW - AFTER_S}
FULL = (
    'pods "desk-1-quasar-x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5'
)
PREFERRED = {"agents": {"quasar": {"gpu": {"mode": "Preferred"}}}}
ROOM = (Node(name="gpu-a", allocatable={"nvidia.com/gpu": 8}),)
AUTOSCALED = {"agents": {"quasar": {"replicasManagedBy": "External"}}}
CASES: dict[str, tuple[dict[str, Any], bool]] = {
    "no pod": ({"quasar": DOWN | FOR_LONG}, True),
    "a replacement, while the older pod runs on": ({"quasar": BEHIND | FOR_LONG}, True),
    "only just": ({"quasar": DOWN | FOR_LONG | LATELY}, False),
    "pods are made": ({"quasar": DOWN}, False),
    "of a suspended system": ({"spec": {"suspend": True}, "quasar": ZERO | FOR_LONG}, False),
    "of an autoscaler's agent all": ({"spec": AUTOSCALED, "quasar": DOWN | FOR_LONG}, True),
    "of an autoscaler's agent the spares": (
        {"spec": AUTOSCALED, "quasar": {"replicas": 3} | FOR_LONG},
        False,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_pods_need_a_person_after_a_minute(case: str) -> None:
    """Object, the server's words, where to look and the remedy; a moment is no fault."""
    more, fault = CASES[case]
    status, reason, message = told(seen(**more), "Degraded")
    assert (status, reason) == (("True", "ObjectRejected") if fault else ("False", "Healthy"))
    if fault:
        assert message.startswith(
            f"Deployment/desk-1-quasar: its pods are refused: {WORDS}; kubectl -n trading "
        )
        assert message.endswith(
            "; change spec.agents.quasar.priorityClassName, or make or change what refuses them"
        )


@pytest.mark.parametrize(
    ("workload", "words", "field"),
    [
        ("amos", 'forbidden: pod rejected: RuntimeClass "x" not found', "spec.agents.amos.runtimeClassName"),
        ("market", "maximum memory usage per Container is 1Gi, but limit is 2Gi", "spec.market.resources"),
        ("amos", 'violates PodSecurity "restricted:latest"', "the spec"),
    ],
)
def test_the_field_that_pods_are_refused_for_is_named(workload: str, words: str, field: str) -> None:
    """Where the server's words tell it."""
    assert field_of_pod(workload, words) == field


BY_QUOTA: dict[str, tuple[dict[str, Any], bool]] = {
    "no pod": ({"quasar": DOWN | FOR_LONG | {"failure": FULL}}, True),
    "a replacement, while the older pod runs on": ({"quasar": BEHIND | FOR_LONG | {"failure": FULL}}, True),
    "only just, and it may be let in": ({"quasar": DOWN | FOR_LONG | LATELY | {"failure": FULL}}, False),
    "who prefers a device and may have no pod either": (
        {"spec": PREFERRED, "nodes": ROOM, "quasar": DOWN | FOR_LONG | {"failure": FULL}},
        True,
    ),
    "who fell back has nowhere else to go": (
        {"spec": PREFERRED, "nodes": (), "quasar": DOWN | FOR_LONG | {"failure": FULL}},
        True,
    ),
    "of an autoscaler's agent the spares": (
        {"spec": AUTOSCALED, "quasar": {"replicas": 3} | FOR_LONG | {"failure": FULL}},
        False,
    ),
}


@pytest.mark.parametrize("case", BY_QUOTA)
def test_a_quota_that_stays_full_for_a_minute_needs_a_person(case: str) -> None:
    """The class of the fault stays in the REASON that `kubectl get` shows; the remedy is the quota's."""
    more, fault = BY_QUOTA[case]
    facts = seen(**more)
    status, reason, message = told(facts, "Degraded")
    assert (status, reason) == (("True", "QuotaExceeded") if fault else ("False", "Healthy"))
    if fault:
        assert message.startswith(
            f"Deployment/desk-1-quasar: its pods are refused: {FULL}; kubectl -n trading describe "
        )
        assert message.endswith(" has the newest try; raise the quota or ask for less")
        assert told(facts, "Ready") == ("False", reason, message)


def test_who_else_is_refused_is_named() -> None:
    """One cause, one sentence; what was refused only just is not counted yet."""
    gone = DOWN | FOR_LONG | {"failure": FULL}
    message = told(seen(qbmia=gone, amos=gone, market=gone, quasar=gone | LATELY), "Degraded")[2]
    assert message.startswith("Deployment/desk-1-qbmia: its pods are refused: ")
    assert message.endswith(" has the newest try; refused too: amos, market; raise the quota or ask for less")


@pytest.mark.parametrize(("mode", "reason"), [("Preferred", "Healthy"), ("Required", "QuotaExceeded")])
def test_who_prefers_a_device_falls_back_where_a_quota_has_no_more_of_it(mode: str, reason: str) -> None:
    """Nobody is called for what ends by itself after `fallbackAfter`, here ten minutes."""
    gpu = {"mode": mode} | ({"fallbackAfter": "10m"} if mode == "Preferred" else {})
    refused = FOR_LONG | {"failure": FULL.replace("pods=", "requests.nvidia.com/gpu=")}
    facts = seen({"agents": {"quasar": {"gpu": gpu}}}, nodes=ROOM, quasar=DOWN | refused)
    assert facts.frame is not None
    assert facts.frame.placements == {"quasar": "GPU"}
    assert told(facts, "Degraded")[1] == reason
    assert told(facts, "Scheduled")[1] == "QuotaExceeded"


@pytest.mark.parametrize(
    ("before", "fault"),
    [
        ({}, False),
        ({"reason": "QuotaExceeded", "lastTransitionTime": "2001-09-09T01:45:41Z"}, False),
        ({"reason": "QuotaExceeded", "lastTransitionTime": "2001-09-09T01:45:40Z"}, True),
        ({"reason": "PodsRefused", "lastTransitionTime": "2001-09-09T01:45:40Z"}, False),
    ],
)
def test_an_object_that_a_quota_refuses_needs_a_person_once_that_was_told_for_a_minute(
    before: dict[str, str], fault: bool
) -> None:
    """A quota on objects refuses us, not a controller; the pass is made again every 15 s."""
    former = [{"type": "Scheduled", "status": "False"} | before] if before else []
    facts = seen(state=QUOTA, status=OBSERVED | {"conditions": former}, generation=2)
    assert told(facts, "Degraded") == (
        ("True", "QuotaExceeded", "q; raise the quota or ask for less") if fault else ("False", "Healthy", "")
    )
    assert told(facts, "Ready")[1] == "QuotaExceeded"


OTHERS = [p for p in pods() if p.agent != "redis"]
WHAT = "StatefulSet/desk-1-redis: it has no pod"


def podless(age_s: float, **more: Any) -> dict[str, Any]:
    """Return a system whose Redis has had no pod for so long, but for more of its StatefulSet."""
    none = ZERO | {"replicas": 1, "failing_since": NOW - age_s}
    return {"redis": none | more, "pods": OTHERS}


REDIS: dict[str, tuple[dict[str, Any], bool]] = {
    "for a minute": (podless(AFTER_S), True),
    "only just": (podless(AFTER_S - 1.0), False),
    "it has one that nobody counts yet": (podless(90.0) | {"pods": pods()}, False),
    "its controller has not looked": (podless(90.0, observed=0), False),
    "it has one that is not shown yet": (podless(90.0, current=1), False),
    "it is somebody else's": (podless(90.0) | {"spec": OUTSIDE}, False),
}


@pytest.mark.parametrize("case", REDIS)
def test_a_redis_without_a_pod_needs_a_person_after_a_minute(case: str) -> None:
    """Its StatefulSet says nowhere why, so the command that does is named."""
    more, fault = REDIS[case]
    status, reason, message = told(seen(**more), "Degraded")
    assert (status, reason) == (("True", "ObjectRejected") if fault else ("False", "Healthy"))
    if fault:
        assert message.startswith(
            f"{WHAT}: a quota, limits, the security of pods or a webhook may refuse it; "
        )
        assert "; kubectl -n trading describe statefulset desk-1-redis says why; change the spec, " in message


def refused(since: float) -> Snapshot:
    """Return a system at rest, one of whose agents lacks its pod since then."""
    calm = at_rest()
    key = ("Deployment", "desk-1-quasar")
    child = type(calm.children[key])(
        **{n: getattr(calm.children[key], n) for n in calm.children[key].__struct_fields__}
        | DOWN
        | {"failure": WORDS, "failing_since": since}
    )
    return at_rest(children=calm.children | {key: child})


@pytest.mark.parametrize(("age_s", "left_s"), [(0.0, AFTER_S), (45.0, AFTER_S - 45.0), (AFTER_S, None)])
def test_the_system_is_looked_at_again_when_the_minute_is_over(age_s: float, left_s: float | None) -> None:
    """No event tells of a minute that ends; once told, nobody looks more often."""
    state = played([refused(NOW - age_s)])[0]
    assert [s for s in state.recheck_s if s <= AFTER_S] == ([] if left_s is None else [left_s])
    calm, key = at_rest(), ("StatefulSet", "desk-1-redis")
    none = msgspec.structs.replace(calm.children[key], **DOWN, current=0, failing_since=NOW - age_s)
    others = tuple(p for p in calm.pods if p.agent != "redis")
    alone = at_rest(children=calm.children | {key: none}, pods=others)
    state = played([alone])[0]
    assert [s for s in state.recheck_s if s <= AFTER_S] == ([] if left_s is None else [left_s])


@pytest.mark.parametrize("change_s", [None, 30.0])
def test_the_minute_counts_from_when_redis_lost_its_pod_and_a_new_operator_counts_on(
    change_s: float | None,
) -> None:
    """Its StatefulSet's last status was written then; whoever leads when it is over tells of it, the pod ends it."""

    async def story() -> list[str]:
        api = Answers()
        api.system(NS, NAME, {})

        def degraded() -> str:
            told = api.objects[names.KIND, NS, NAME].get("status") or {}
            return next((c["reason"] for c in told.get("conditions", ()) if c["type"] == "Degraded"), "")

        def none(live: dict[str, Any]) -> None:
            counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 0)
            live["status"].update(counts)
            wrote = {"manager": "c", "subresource": "status", "time": stamp(loop.wall_ns() / 1e9)}
            live["metadata"]["managedFields"].append(wrote)

        loop: Any = asyncio.get_running_loop()
        now = loop.time
        seen: list[str] = []
        async with running(api, OPTIONS):
            await asyncio.sleep(5.0)
            api.settle(NS)
            await asyncio.sleep(100.0)
            lost = now()
            api.change("StatefulSet", NS, f"{NAME}-redis", none)
            await asyncio.sleep(change_s or AFTER_S - 5.0)
            seen.append(degraded())
            if change_s is None:
                await asyncio.sleep(15.0)
        async with running(api, OPTIONS):
            await asyncio.sleep(max(0.0, lost + AFTER_S - 5.0 - now()))
            seen.append(degraded())
            await asyncio.sleep(15.0)
            seen.append(degraded())
            api.settle(NS)
            await asyncio.sleep(5.0)
            seen.append(degraded())
        return seen

    told = ["Healthy", "ObjectRejected" if change_s is None else "Healthy", "ObjectRejected", "Healthy"]
    assert play(story()) == told
