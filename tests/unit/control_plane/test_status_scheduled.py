"""Scheduled and GPUAvailable: when they are given which reason, in which words."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.control_plane.systems import (
    BEHIND,
    DOWN,
    FAULT,
    GPU,
    LATELY,
    OUTSIDE,
    QUOTA,
    WHERE,
    ZERO,
    Cases,
    Told,
    pods,
    seen,
    told,
)

from qts_operator import gpu

NEWEST = (
    "kubectl -n trading describe replicasets -l quantumtrading.io/system=desk-1,quantumtrading.io/agent=quasar "
    "has the newest try"
)
SCHEDULED: Cases = {
    "all": ({}, ("True", "Scheduled", "every pod has a node")),
    "Redis outside": (
        {"spec": OUTSIDE, "pods": [p for p in pods() if p.agent != "redis"]},
        ("True", "Scheduled", "every pod has a node"),
    ),
    "Redis without a pod": (
        {"redis": ZERO | {"replicas": 1}, "pods": [p for p in pods() if p.agent != "redis"]},
        (
            "False",
            "Creating",
            f"some pods do not exist yet; Redis has none: {WHERE} says why, if it stays so",
        ),
    ),
    "a pod without a node": ({"pods": pods(node="")}, ("False", "Creating", "some pods do not exist yet")),
    "a pod that goes": ({"pods": pods(deleting=True)}, ("False", "Creating", "some pods do not exist yet")),
    "no node fits": (
        {"pods": pods(node="", unschedulable="0/3 fit. more")},
        ("False", "Unschedulable", "quasar: 0/3 fit"),
    ),
    "a pod that goes had no node": (
        {"pods": [*pods(), *(msgspec.structs.replace(p, deleting=True) for p in pods(unschedulable="0/3"))]},
        ("True", "Scheduled", "every pod has a node"),
    ),
    "quota, told by the server": ({"state": QUOTA}, ("False", "QuotaExceeded", "q")),
    "another refusal": ({"state": FAULT}, ("True", "Scheduled", "every pod has a node")),
    "quota, told by the controller": (
        {"quasar": {"failure": 'pods "p" is forbidden: exceeded quota: q'}, "gone": ["pads"]},
        ("False", "QuotaExceeded", 'quasar: pods "p" is forbidden: exceeded quota: q'),
    ),
    "pods that are refused": (
        {
            "quasar": DOWN | LATELY | {"failure": "no class"},
            "pods": [p for p in pods() if p.agent != "quasar"],
        },
        ("False", "PodsRefused", f"quasar: its pods are refused: no class; {NEWEST}"),
    ),
    "a replacement that is refused while the older pod runs on": (
        {"quasar": BEHIND | {"failure": "no class"}},
        ("False", "PodsRefused", f"quasar: its pods are refused: no class; {NEWEST}"),
    ),
    "pods that are refused, and another's by a quota": (
        {"quasar": LATELY | {"failure": "no class"}, "amos": {"failure": "exceeded quota: q"}},
        ("False", "QuotaExceeded", "amos: exceeded quota: q"),
    ),
    "waits for others": (
        {"spec": {"startup": "AllOrNothing"} | GPU, "nodes": (), "quasar": ZERO},
        ("False", "WaitingForGang", "1 nvidia.com/gpu must be free at once for an all-or-nothing start"),
    ),
}


def verdict(status: gpu.Answer, reason: str, message: str) -> gpu.Verdict:
    """Return where an agent's device stands."""
    return gpu.Verdict(device="GPU", status=status, reason=reason, message=message)


NOT_ASKED = verdict("True", "NotRequested", "n")
ALLOCATED, OPEN = verdict("True", "Allocated", "a"), verdict("Unknown", "Scheduling", "s")
NONE, FELL = verdict("False", "NoGPUNodes", "g"), verdict("False", "FallbackToCPU", "f")


@pytest.mark.parametrize("case", SCHEDULED)
def test_scheduling_has_its_reason_and_its_words(case: str) -> None:
    """Pods that lack a node, a quota, or whom they wait for."""
    more, expected = SCHEDULED[case]
    assert told(seen(**more), "Scheduled") == expected


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], ("True", "NotRequested", "no agent asks for a GPU")),
        ([NOT_ASKED], ("True", "NotRequested", "no agent asks for a GPU")),
        ([NOT_ASKED, ALLOCATED], ("True", "Allocated", "a")),
        ([ALLOCATED, ALLOCATED], ("True", "Allocated", "a; a")),
        ([ALLOCATED, OPEN], ("Unknown", "Scheduling", "s")),
        ([OPEN, FELL], ("False", "FallbackToCPU", "f")),
        ([FELL, NONE, ALLOCATED], ("False", "NoGPUNodes", "g")),
    ],
)
def test_of_all_devices_the_worst_is_told(verdicts: list[gpu.Verdict], expected: Told) -> None:
    """What cannot start before what fell back, both before what is not known; good news last."""
    for order in (verdicts, verdicts[::-1]):
        facts = msgspec.structs.replace(seen(), verdicts={str(i): v for i, v in enumerate(order)})
        assert told(facts, "GPUAvailable") == expected
