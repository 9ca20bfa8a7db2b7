"""Progressing and Suspended: when they are given which reason, in which words."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.control_plane.systems import (
    DOWN,
    OBSERVED,
    OUTSIDE,
    REACHED,
    SECRETS,
    UNWELL,
    ZERO,
    Cases,
    seen,
    told,
    without_redis,
)

from qts_operator.snapshot import Child
from qts_operator.status import Facts

#: the system was suspended, or no longer, when its status was told
SUSPENDED = OBSERVED | {"conditions": [{"type": "Suspended", "status": "True", "reason": "Suspended"}]}
RESUMED = OBSERVED | {"conditions": [{"type": "Suspended", "status": "False", "reason": "NotSuspended"}]}
PROGRESSING: Cases = {
    "complete": ({}, ("False", "Complete", "")),
    "paused": (
        {"spec": {"paused": True}, "plan": ("a", "b"), "amos": {"stuck": True}},
        ("False", "Paused", "2 changes are planned"),
    ),
    "stuck": (
        {"redis": {"stuck": True}, "amos": {"stuck": True}, "gone": ["pads"]},
        ("False", "RolloutStuck", "no progress for 10 minutes: desk-1-amos, desk-1-redis"),
    ),
    "first": ({"amos": DOWN}, ("True", "Creating", "objects are being created")),
    "missing": (
        {"gone": ["amos"], "status": OBSERVED},
        ("True", "Creating", "objects are being created"),
    ),
    "Redis missing": (
        {"gone": ["redis"], "status": OBSERVED},
        ("True", "Creating", "objects are being created"),
    ),
    "Redis outside": ({"spec": OUTSIDE, "status": OBSERVED}, ("False", "Complete", "")),
    "rolling": ({"amos": DOWN, "status": OBSERVED}, ("True", "RollingOut", "roll-out under way")),
    "rolling of Redis": (
        {"redis": {"updated": 0}, "status": OBSERVED},
        ("True", "RollingOut", "roll-out under way"),
    ),
    "Redis, which never was ready": (
        {"redis": DOWN | {"rolled": True}, "status": OBSERVED},
        ("True", "RollingOut", "Redis is starting up"),
    ),
    "Redis, which was ready before its newest template": (
        {"redis": DOWN, "status": REACHED},
        ("True", "RollingOut", "roll-out under way"),
    ),
    "Redis, which is not ready any more": (
        {"redis": DOWN | {"rolled": True}, "status": REACHED},
        ("False", "Complete", ""),
    ),
    "Redis, whose pod ends on a node that is lost": (
        {"redis": DOWN | {"rolled": True, "updated": 0}, "status": REACHED},
        ("False", "Complete", ""),
    ),
    "Redis, whose pod cannot be made again": (
        {"redis": ZERO | {"rolled": True, "replicas": 1}, "status": REACHED},
        ("False", "Complete", ""),
    ),
    "Redis, whose pod is not made yet": (
        {"redis": ZERO | {"rolled": True, "replicas": 1}, "status": OBSERVED},
        ("True", "RollingOut", "Redis is starting up"),
    ),
    "Redis, of which a change is not seen yet": (
        {"redis": {"rolled": True, "generation": 2}, "status": REACHED},
        ("True", "RollingOut", "roll-out under way"),
    ),
    "Redis, which never was ready, and keys that change": (
        {
            "redis": DOWN | {"rolled": True},
            "spec": {"messaging": {"credentialsGeneration": 2}},
            "status": OBSERVED,
        },
        ("True", "RollingOut", "Redis is starting up"),
    ),
    "suspended, and Redis never was ready": (
        {"redis": DOWN | {"rolled": True}, "spec": {"suspend": True}, "status": SUSPENDED},
        ("True", "RollingOut", "Redis is starting up"),
    ),
    "not ready any more": (without_redis(up=True) | {"status": REACHED}, ("False", "Complete", "")),
    "an older pod is left": (
        {"amos": {"rolled": True, "current": 2}, "status": OBSERVED},
        ("True", "RollingOut", "roll-out under way"),
    ),
    "a template that is not seen yet": (
        {"amos": {"rolled": True, "observed": 0}, "status": OBSERVED},
        ("True", "RollingOut", "roll-out under way"),
    ),
    "not written": (
        {"state": UNWELL, "status": OBSERVED, "generation": 2},
        ("True", "RollingOut", "the newest spec is not written in full"),
    ),
    "resuming": ({"amos": DOWN, "status": SUSPENDED}, ("True", "Resuming", "roll-out under way")),
    "resumed": ({"amos": DOWN, "status": RESUMED}, ("True", "RollingOut", "roll-out under way")),
    "suspending": (
        {"spec": {"suspend": True}, "amos": {"current": 1}, "status": SUSPENDED},
        ("True", "RollingOut", "roll-out under way"),
    ),
}
STOPPED = ("False", "Suspending", "agents are being stopped")
SUSPEND: Cases = {
    "not asked for": (dict.fromkeys(("pads", "amos"), ZERO), ("False", "NotSuspended", "")),
    "done": (
        {"spec": {"suspend": True}},
        ("True", "Suspended", "all replicas are 0; Redis and its data stay"),
    ),
    "not written": ({"spec": {"suspend": True}, "amos": {"replicas": 1}}, STOPPED),
    "a pod left": ({"spec": {"suspend": True}, "amos": {"current": 1}}, STOPPED),
    "nothing there": ({"spec": {"suspend": True}, "gone": ["amos"]}, STOPPED),
}


@pytest.mark.parametrize("case", PROGRESSING)
def test_progress_has_its_reason_and_its_words(case: str) -> None:
    """What moves, what is stuck, what is only planned."""
    more, expected = PROGRESSING[case]
    assert told(seen(**more), "Progressing") == expected


@pytest.mark.parametrize("case", SUSPEND)
def test_a_suspension_has_its_reason_and_its_words(case: str) -> None:
    """Done only when nothing is left."""
    more, expected = SUSPEND[case]
    assert told(seen(**more), "Suspended") == expected


def turning(**more: Any) -> Facts:
    """Return a system whose keys are being changed."""
    secret = Child(
        **{n: getattr(SECRETS["Secret", "desk-1-curve"], n) for n in Child.__struct_fields__}
        | {"credentials": "2 Accepting"}
    )
    spec = {"messaging": {"credentialsGeneration": 2}}
    return seen(spec, others={("Secret", "desk-1-curve"): secret}, status=OBSERVED, **more)


def test_a_change_of_credentials_is_progress_once_nothing_else_is() -> None:
    """Who is waited for is named; what rolls or is not written comes first."""
    status, reason, message = told(turning(), "Progressing")
    assert (status, reason) == ("True", "Rotating")
    assert message.startswith("desk-1-curve: generation 2: Accepting, waiting for ")
    rolling = ("True", "RollingOut", "roll-out under way")
    assert told(turning(amos=DOWN), "Progressing") == rolling
    unwritten = (*rolling[:2], "the newest spec is not written in full")
    assert told(turning(state=UNWELL, generation=2), "Progressing") == unwritten
