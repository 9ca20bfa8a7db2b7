"""What a frame takes from the status and the cluster: who stays down, which claims are left alone, what is served."""

from __future__ import annotations

from typing import Any

import pytest

from qts_core import names
from qts_operator import rotation
from qts_operator.objects import claim_templates
from qts_operator.objects.frame import Defaults
from qts_operator.resolve import resolve, spec_of, touched
from qts_operator.snapshot import Child, Pod

DOWN: dict[str, Any] = {"config": {"autoRestartFailed": False}}
CLAIMS = {"agents": {"quasar": {"gpu": {"mode": "Required", "deviceClassName": "c"}}}}


def _told(observed: int, **entry: Any) -> dict[str, Any]:
    return {"observedGeneration": observed, "agentStatuses": [{"name": "amos"} | entry]}


@pytest.mark.parametrize(
    ("spec", "status", "stopped"),
    [
        (DOWN, _told(1, stopped=True), {"amos"}),
        (DOWN, _told(0, stopped=True), set()),  # the spec was changed since
        (DOWN, _told(1), set()),
        ({}, _told(1, stopped=True), set()),
    ],
)
def test_who_ended_stays_down_until_the_spec_changes(
    snapshot_of, spec: Any, status: Any, stopped: set[str]
) -> None:
    """Only where nobody is started again."""
    assert resolve(snapshot_of(spec, status=status), Defaults())[0].stopped == stopped


def _pod(**more: Any) -> Pod:
    return Pod(
        **({"namespace": "trading", "name": "p", "uid": "p", "version": "1", "agent": "quasar"} | more)
    )


def test_claims_that_a_pod_uses_are_left_alone(snapshot_of) -> None:
    """A template goes with the last pod that was made from it; the one that is wanted is always ours."""
    frame = resolve(snapshot_of(CLAIMS), Defaults())[0]
    wanted = claim_templates.claim(frame, next(w for w in frame.workloads() if w.name == "quasar"))
    listed = [(claim_templates.KIND, "old"), (claim_templates.KIND, "unused"), ("Service", "old")]
    keys = [*listed, (claim_templates.KIND, wanted)]
    children = {
        (kind, name): Child(kind=kind, namespace="trading", name=name, uid=name, version="1")
        for kind, name in keys
    }
    snapshot = snapshot_of(CLAIMS, pods=(_pod(claims=("old", wanted)),), children=children)
    assert touched(snapshot, frame).keys() == set(keys) - {(claim_templates.KIND, "old")}


@pytest.mark.parametrize(("served", "reason"), [(True, "Scheduling"), (False, "ClaimNotAllocated")])
def test_claims_need_a_cluster_that_serves_them(snapshot_of, served: bool, reason: str) -> None:
    offered = frozenset({claim_templates.KIND} if served else ())
    verdicts = resolve(snapshot_of(CLAIMS, offered=offered), Defaults())[1]
    assert verdicts["quasar"].reason == reason


def test_only_agents_that_may_have_a_device_and_run_are_placed(snapshot_of) -> None:
    spec = {"agents": CLAIMS["agents"] | {"amos": {"enabled": False, "gpu": {"mode": "Required"}}}}
    assert resolve(snapshot_of(spec), Defaults())[1].keys() == {"quasar", "qbmia"}


def test_keys_and_passwords_have_a_generation_each() -> None:
    spec = spec_of({"messaging": {"credentialsGeneration": 2}, "redis": {"credentialsGeneration": 3}})
    told = [rotation.generation(spec, part) for part in (names.CURVE_SECRET, names.REDIS_SECRET)]
    assert told == [2, 3]
