"""`qts support explain`: what was stored comes first, and nothing is claimed that a bundle cannot show."""

from __future__ import annotations

from typing import Any

import pytest

from qts_cli.support_explain import explain
from qts_core.roster import BY_NAME

MADE, BEFORE = "2026-01-05T12:00:00Z", "2026-01-05T11:57:00Z"
UID = "u-1"
STORED = {
    "Ready": ("True", "AllReady", "4/4 agents and the feed are ready"),
    "Progressing": ("False", "Complete", ""),
    "Degraded": ("False", "Healthy", ""),
    "Scheduled": ("True", "Scheduled", "every pod has a node"),
    "GPUAvailable": ("True", "NotRequested", "no agent asks for a GPU"),
    "RedisReady": ("True", "Ready", "Redis is ready"),
    "MessagingReady": ("True", "AllHeard", "PADS hears every enabled agent"),
    "Suspended": ("False", "NotSuspended", ""),
}
WIRES = [BY_NAME[name].wire for name in ("qbmia", "quasar", "amos")]
PARTS = ("pads", "qbmia", "quasar", "amos", "market", "redis")


def bundle(spec: dict[str, Any] | None = None, **stored: tuple[str, str, str]) -> dict[str, Any]:
    """Return what is read of a bundle of a system that is up; `stored` conditions differ from a healthy one."""
    told = [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": BEFORE,
            "observedGeneration": 1,
        }
        for kind, (status, reason, message) in (STORED | stored).items()
    ]
    metadata = {"namespace": "ns", "name": "desk", "uid": UID, "generation": 1, "creationTimestamp": BEFORE}
    return {
        "index.json": {"made": MADE, "sha256": {}, "missing": {}},
        "system.json": {
            "metadata": metadata,
            "spec": spec or {},
            "status": {"observedGeneration": 1, "conditions": told},
        },
        "children.json": {"items": [_workload(part) for part in PARTS]},
        "pods.json": {"items": [_pod(part) for part in PARTS]},
        "nodes.json": {"items": [{"metadata": {"name": "n"}, "status": {"allocatable": {}}}]},
        "usage.json": {},
        "apis.json": {"groups": []},
        "statusz/desk-pads.json": {"agent": "pads", "peers": _peers("alive"), "redis_reached": True},
    }


def _peers(state: str) -> dict[str, Any]:
    return {wire: {"state": state, "age_s": 1.0} for wire in WIRES}


def _workload(part: str) -> dict[str, Any]:
    owner = {"controller": True, "kind": "QuantumTradingSystem", "name": "desk", "uid": UID}
    counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas", "availableReplicas"), 1)
    return {
        "kind": "StatefulSet" if part == "redis" else "Deployment",
        "metadata": {
            "namespace": "ns",
            "name": f"desk-{part}",
            "uid": part,
            "generation": 1,
            "ownerReferences": [owner],
        },
        "spec": {"replicas": 1},
        "status": {"observedGeneration": 1, **counts},
    }


def _pod(part: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": part, "quantumtrading.io/system": "desk"}
    return {
        "metadata": {"namespace": "ns", "name": f"desk-{part}", "uid": f"p-{part}", "labels": labels},
        "spec": {"nodeName": "n"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


def said(held: dict[str, Any]) -> tuple[str, bool]:
    lines, well = explain(held)
    return "\n".join(lines), well


def test_a_healthy_system_is_called_healthy_though_no_secret_is_in_the_bundle() -> None:
    """Running pods and no Secret: nothing of credentials, in whichever generation they are."""
    for spec in ({}, {"messaging": {"credentialsGeneration": 3}, "redis": {"credentialsGeneration": 2}}):
        text, well = said(bundle(spec))
        assert well, text
        assert text.endswith("healthy: every condition is as it should be")
        assert "  Ready=True AllReady: 4/4 agents and the feed are ready (for 3 min)" in text
        assert "CredentialsMissing" not in text
        assert "not in a bundle: Secrets" in text
        assert "worked out again" not in text


@pytest.mark.parametrize("reason", ["NameTaken", "AccessDenied", "CRDOutdated", "ObjectRejected"])
def test_what_only_the_operator_saw_is_told_as_it_stored_it(reason: str) -> None:
    """What a write or a right brought about cannot be worked out again: it is read."""
    text, well = said(bundle(Degraded=("True", reason, "why"), Ready=("False", reason, "why")))
    assert not well
    assert f"  Degraded=True {reason}: why (for 3 min)" in text
    assert "worked out again" not in text


def test_what_the_rest_shows_otherwise_is_worked_out_again() -> None:
    """PADS' own answer in the bundle, and a Deployment that is not ready, against a status that is behind."""
    held = bundle()
    held["statusz/desk-pads.json"]["peers"] = _peers("dead")
    held["children.json"]["items"][0]["status"]["availableReplicas"] = 0
    text, well = said(held)
    assert not well
    anew = text.partition("worked out again from the bundle, where it differs:")[2]
    assert "  Ready=False StartingUp: pads: starting" in anew
    assert "  MessagingReady=False PeersSilent: PADS does not hear qbmia, quasar, amos" in anew
    assert "Degraded" not in anew


def test_devices_that_others_hold_are_known_by_their_count() -> None:
    """GPUsBusy needs what all pods hold; without it nothing is said of devices."""
    held = bundle({"agents": {"quasar": {"gpu": {"mode": "Required"}}}})
    held["nodes.json"]["items"][0]["status"]["allocatable"] = {"nvidia.com/gpu": "1"}
    held["usage.json"] = {"n": {"nvidia.com/gpu": 1}}
    del held["pods.json"]["items"][2]["spec"]["nodeName"]
    assert "GPUAvailable=False GPUsBusy" in said(held)[0]
    del held["usage.json"]
    text, _ = said(held)
    assert "GPUAvailable=False" not in text
    assert "not worked out again: GPUAvailable: usage.json is not in the bundle" in text


def test_resource_claims_are_missed_only_where_the_api_server_has_none() -> None:
    """What is served is in the bundle."""
    gpu = {"mode": "Required", "deviceClassName": "gpu.example.com"}
    held = bundle({"agents": {"quasar": {"gpu": gpu}}})
    del held["pods.json"]["items"][2]["spec"]["nodeName"]
    assert "serves no resource.k8s.io/v1" in said(held)[0]
    held["apis.json"] = {"groups": [{"versions": [{"groupVersion": "resource.k8s.io/v1"}]}]}
    assert "serves no resource.k8s.io/v1" not in said(held)[0]


def test_what_is_old_or_absent_is_said() -> None:
    """A generation that nobody looked at, a Lease that nobody renews, no condition, no pods."""
    held = bundle()
    held["system.json"]["metadata"]["generation"] = 2
    held["lease.json"] = {"spec": {"holderIdentity": "a", "renewTime": "2026-01-05T11:50:00.000000Z"}}
    text, well = said(held)
    assert not well
    assert "the conditions are of generation 1; generation 2 has not been looked at yet" in text
    assert "no operator led when this was gathered: the Lease was renewed 10 min before" in text
    held = bundle()
    del held["system.json"]["status"], held["pods.json"]
    text, well = said(held)
    assert not well
    assert "no condition: no operator has looked at this system" in text
    assert "not worked out again: anything: pods.json is not in the bundle" in text


def _kept(agent: str, *rounds: tuple[str, str, dict[str, float]]) -> dict[str, Any]:
    """Return what a process says at /keptz: round, why, and its stages with their lengths."""
    noon_ns = 1_767_614_400 * 10**9
    return {
        "agent": agent,
        "rounds": [
            {
                "round_id": key,
                "trace_id": f"t{key}",
                **({"why": why} if why else {}),
                "stages": [
                    {"stage": stage, "start_ns": noon_ns - 40 * 10**9, "duration_s": took}
                    for stage, took in stages.items()
                ],
            }
            for key, why, stages in rounds
        ],
    }


def test_kept_rounds_tell_who_did_not_answer_and_who_took_longest() -> None:
    """They change no verdict: what is wrong now is what the conditions say."""
    asked = {"send requests qbmia": 3.0, "send requests quasar": 3.0, "process votes qbmia": 0.0}
    whole = asked | {"process votes quasar": 0.0}
    held = bundle()
    held["keptz/desk-pads.json"] = _kept("pads", ("1", "expired", asked), ("2", "slow", whole))
    held["keptz/desk-quasar.json"] = _kept(
        "quasar", ("1", "", {"evaluate quasar": 4.5}), ("0", "", {"evaluate quasar": 9.0})
    )
    held["keptz/desk-qbmia.json"] = {"of": "another version"}
    text, well = said(held)
    assert well, text
    assert "rounds kept by PADS: 1 expired, 1 slow; the newest 40 s before" in text
    assert "  no answer of quasar in 1 of 2" in text
    assert "  the longest work: 4.500 s of quasar in round 1" in text
    assert "qbmia in" not in text
    assert "kept" not in said(bundle())[0]
