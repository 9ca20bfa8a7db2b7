"""RedisReady: when it is given which reason, in which words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.control_plane.systems import (
    ADMIT,
    DOWN,
    FULL,
    HEARD,
    LOGIN,
    LOST,
    NO_IMAGE,
    NO_REDIS_IMAGE,
    OBSERVED,
    OUTSIDE,
    REACHED,
    WHERE,
    ZERO,
    Cases,
    pods,
    refusing,
    seen,
    told,
)

from qts_operator.snapshot import Finding

RIGHT = "Redis refuses a command (NOPERM): no xadd; give it the access list of this version"
UNSURE = "Redis refused PADS, which cannot be asked now whether it still does"
EVERYBODY_HEARD = "pads, qbmia, quasar, quantum_amos"  # of the feed nothing is known


def said(status: str, reason: str) -> dict[str, Any]:
    """Return a status whose RedisReady is this."""
    return OBSERVED | {"conditions": [{"type": "RedisReady", "status": status, "reason": reason}]}


LOOK = "kubectl -n trading describe pvc data-redis-0"
UNBOUND = "unbound immediate PersistentVolumeClaims"
KILLED = "OOMKilled: it needs more memory than its limit; raise"

REDIS: Cases = {
    "ready": ({}, ("True", "Ready", "Redis is ready")),
    "down": ({"redis": DOWN}, ("False", "StartingUp", "Redis is starting up")),
    "down after it was ready": (
        {"redis": DOWN, "status": REACHED},
        ("False", "NotReachable", "Redis is not ready any more"),
    ),
    "still down": ({"redis": DOWN, "status": LOST}, ("False", "NotReachable", "Redis is not ready any more")),
    "no image": (
        {"redis": DOWN, "pods": pods("redis", **NO_IMAGE)},
        ("False", "StartingUp", f"Redis is starting up: {NO_REDIS_IMAGE}"),
    ),
    "no image of the container beside it": (
        {"redis": DOWN, "pods": pods("redis", waits="acl", **NO_IMAGE)},
        (
            "False",
            "StartingUp",
            f"Redis is starting up: {NO_REDIS_IMAGE.replace('images.redis', 'images.agent')}",
        ),
    ),
    "killed for memory": (
        {"redis": DOWN, "pods": pods("redis", down="redis", ending="OOMKilled")},
        ("False", "StartingUp", f"Redis is starting up: {KILLED} spec.redis.resources.limits.memory"),
    ),
    "the container beside it is killed for memory": (
        {"redis": DOWN, "pods": pods("redis", down="acl", ending="OOMKilled", loops=True)},
        ("False", "StartingUp", f"Redis is starting up: {KILLED} spec.redis.acl.resources.limits.memory"),
    ),
    "no image any more": (
        {"redis": DOWN, "pods": pods("redis", **NO_IMAGE), "status": REACHED},
        ("False", "NotReachable", f"Redis is not ready any more: {NO_REDIS_IMAGE}"),
    ),
    "no node": (
        {"redis": DOWN, "pods": pods("redis", unschedulable="0/3 fit. more")},
        ("False", "StartingUp", "Redis is starting up: Unschedulable: 0/3 fit"),
    ),
    "no volume": (
        {"redis": DOWN, "pods": pods("redis", unschedulable=f"0/3: pod has {UNBOUND}. more")},
        (
            "False",
            "StartingUp",
            f"Redis is starting up: Unschedulable: 0/3: pod has {UNBOUND}; {LOOK} says why",
        ),
    ),
    "no pod is made": (
        {"redis": ZERO | {"replicas": 1}, "pods": ()},
        ("False", "StartingUp", f"Redis is starting up: it has no pod; {WHERE} says why, if it stays so"),
    ),
    "refuses writes": ({"statusz": refusing(memory=FULL)}, ("False", "RedisRefusesWrites", f"PADS: {FULL}")),
    "refuses more than writes": (
        {"statusz": refusing(memory=FULL, rights=RIGHT)},
        ("False", "RedisRefusesCommands", f"PADS: {FULL}; {RIGHT}"),
    ),
    "refuses the login, which is worst": (
        {"statusz": refusing(rights=RIGHT, password=LOGIN)},
        ("False", "RedisRefusesLogin", f"PADS: {LOGIN}; {RIGHT}"),
    ),
    "refuses what a newer agent has a word for": (
        {"statusz": refusing(scripts="no")},
        ("False", "RedisRefusesCommands", "PADS: no"),
    ),
    "no longer refuses": (
        {"status": said("False", "RedisRefusesWrites")},
        ("True", "Ready", "Redis is ready"),
    ),
    "refused, and PADS cannot be asked": (
        {"statusz": None, "status": said("False", "RedisRefusesWrites")},
        ("Unknown", "StatusUnreachable", UNSURE),
    ),
    "refused, and PADS cannot be asked yet": (
        {"statusz": None, "status": said("Unknown", "StatusUnreachable")},
        ("Unknown", "StatusUnreachable", UNSURE),
    ),
    "refused, and no agent runs": (
        {"spec": {"suspend": True}, "statusz": None, "status": said("False", "RedisRefusesWrites")},
        ("True", "Ready", "Redis is ready"),
    ),
    "refused, and is down now": (
        {"redis": DOWN, "statusz": None, "status": said("False", "RedisRefusesLogin")},
        ("False", "NotReachable", "Redis is not ready any more"),
    ),
    "outside, refuses the login": (
        {"spec": OUTSIDE, "statusz": msgspec.structs.replace(refusing(password=LOGIN), redis_reached=False)},
        ("False", "RedisRefusesLogin", f"PADS: {LOGIN}"),
    ),
    "old": ({"redis": {"observed": 0}}, ("False", "StartingUp", "Redis is starting up")),
    "missing": ({"gone": ["redis"]}, ("False", "StartingUp", "Redis is starting up")),
    "outside, one login for all": (
        {"spec": OUTSIDE},
        (
            "True",
            "Reached",
            f"PADS reaches Redis; it does not prove who speaks where one login is shared: {EVERYBODY_HEARD}",
        ),
    ),
    "outside, not asked": (
        {"spec": OUTSIDE, "statusz": None},
        ("Unknown", "StatusUnreachable", f"PADS cannot be asked whether it reaches Redis{ADMIT}"),
    ),
    "outside, and no agent runs": (
        {"spec": OUTSIDE | {"suspend": True}, "statusz": None},
        ("Unknown", "Suspended", "no agent runs"),
    ),
    "outside, its Secret is missing": (
        {"spec": OUTSIDE, "statusz": None, "login": Finding(reason="CredentialsMissing", message="make it")},
        ("False", "CredentialsMissing", "make it"),
    ),
    "outside, its Secret may not be seen": (
        {"spec": OUTSIDE, "statusz": None, "login": Finding(reason="AccessDenied", message="grant it")},
        ("Unknown", "StatusUnreachable", f"PADS cannot be asked whether it reaches Redis{ADMIT}"),
    ),
    "outside, not reached": (
        {"spec": OUTSIDE, "statusz": msgspec.structs.replace(HEARD, redis_reached=False)},
        ("False", "NotReachable", "PADS does not reach Redis"),
    ),
    "outside, not reached, and PADS knows why": (
        {
            "spec": OUTSIDE,
            "statusz": msgspec.structs.replace(HEARD, redis_reached=False, redis_away="no DNS"),
        },
        ("False", "NotReachable", "PADS does not reach Redis: no DNS"),
    ),
}


@pytest.mark.parametrize("case", REDIS)
def test_redis_has_its_reason_and_its_words(case: str) -> None:
    """Of a Redis of ours and of one elsewhere; what it refuses is told with the worst first."""
    more, expected = REDIS[case]
    assert told(seen(**more), "RedisReady") == expected
