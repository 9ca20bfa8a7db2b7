"""Ready while a system comes up: what nothing holds is in its time for a while, then it is a fault like others."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.control_plane.passes import at_rest, played
from tests.unit.control_plane.systems import (
    DOWN,
    HEARD,
    LATELY,
    NO_IMAGE,
    OBSERVED,
    OUTSIDE,
    pods,
    refusing,
    seen,
    told,
    without_redis,
)

from qts_operator.starting import START_S
from qts_operator.times import stamp

NOW = 1e9
LOST = DOWN | {"rolled": True}
RUNNING = {"type": "RedisReady", "status": "True", "reason": "Ready"}


def past(*, resumed_s: float = 1e6, moving_s: float | None = None, redis: bool = True) -> dict[str, Any]:
    """Return a status: how long ago the system was made or resumed, and began to roll out what still is."""
    moving = {
        "type": "Progressing",
        "status": "False" if moving_s is None else "True",
        "reason": "Complete" if moving_s is None else "RollingOut",
    }
    conditions = [
        moving | {"lastTransitionTime": stamp(NOW - (moving_s or 0.0))},
        {"type": "Suspended", "status": "False", "lastTransitionTime": stamp(NOW - resumed_s)},
    ]
    return {"status": OBSERVED | {"conditions": conditions + [RUNNING] * redis}}


def ready(status: str, ago_s: float, reason: str = "", resumed_s: float = 10.0) -> dict[str, Any]:
    """Return the status of a system that was resumed ten seconds ago, and whose Ready changed then."""
    told = past(resumed_s=resumed_s)["status"]
    changed = {"type": "Ready", "status": status, "lastTransitionTime": stamp(NOW - ago_s), "reason": reason}
    return {"status": told | {"conditions": [changed, *told["conditions"]]}}


def stopped(reason: str, ago_s: float) -> dict[str, Any]:
    """Return a status: since when a roll-out does not go on, and why."""
    told = past(resumed_s=1e6)["status"]
    still = {
        "type": "Progressing",
        "status": "False",
        "reason": reason,
        "lastTransitionTime": stamp(NOW - ago_s),
    }
    return {"status": told | {"conditions": [still, *told["conditions"][1:]]}}


def fell(reason: str, *, ago_s: float = 9.0, made_s: float = 9.0) -> dict[str, Any]:
    """Return AMOS not ready, since when Ready is False and why, and how old all pods but Redis' are."""
    made = [p if p.agent == "redis" else msgspec.structs.replace(p, started=NOW - made_s) for p in pods()]
    return {"amos": LOST, "pods": made} | ready("False", ago_s, reason, 1e6)


PAUSED = {"paused": True}
MUTE = {"statusz": msgspec.structs.replace(HEARD, peers={})}
ROLLS = pods("redis", ready=False)
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "an agent's new template": ({"amos": DOWN} | past(), "StartingUp"),
    "it takes its time": ({"amos": DOWN} | past(moving_s=START_S - 1.0), "StartingUp"),
    "it takes too long": ({"amos": DOWN} | past(moving_s=START_S), "AgentsNotReady"),
    "it is stuck": ({"amos": DOWN | {"stuck": True}} | stopped("RolloutStuck", 9.0), "AgentsNotReady"),
    "it is paused": ({"amos": DOWN, "spec": PAUSED} | stopped("Paused", START_S - 1.0), "StartingUp"),
    "it is paused for long": ({"amos": DOWN, "spec": PAUSED} | stopped("Paused", START_S), "AgentsNotReady"),
    "something holds it": ({"amos": DOWN, "pods": pods("amos", waiting="X")} | past(), "AgentsNotReady"),
    "something holds another": (
        {"amos": DOWN, "pads": DOWN, "pods": pods("amos", waiting="X")},
        "AgentsNotReady",
    ),
    "an agent that was there, and nobody counts its new pod yet": (
        {"amos": LOST | {"current": 0, "updated": 0}} | past(),
        "AgentsNotReady",
    ),
    "a template that its controller has not seen": ({"amos": LOST | {"observed": 0}} | past(), "StartingUp"),
    "an agent that was there": ({"amos": LOST} | past(), "AgentsNotReady"),
    "an agent that was there, and another's new template": (
        {"amos": LOST, "pads": DOWN} | past(),
        "AgentsNotReady",
    ),
    "the system was resumed": ({"amos": LOST} | past(resumed_s=START_S - 1.0), "StartingUp"),
    "it was resumed long ago": ({"amos": LOST} | past(resumed_s=START_S), "AgentsNotReady"),
    "it has not been ready since": ({"amos": LOST} | ready("False", 10.0), "StartingUp"),
    "it was ready since": ({"amos": LOST} | ready("False", 9.0), "AgentsNotReady"),
    "it was ready": ({"amos": LOST} | ready("True", 9.0), "AgentsNotReady"),
    "it was resumed before its pods were gone": (fell("Suspended"), "StartingUp"),
    "it still starts": (fell("StartingUp"), "StartingUp"),
    "it starts for long": (fell("StartingUp", ago_s=START_S), "AgentsNotReady"),
    "another starts, and one that was there is lost": (fell("StartingUp", made_s=9.1), "AgentsNotReady"),
    "all are lost": (fell("AgentsNotReady"), "AgentsNotReady"),
    "it was made": ({"amos": LOST, "created": NOW - START_S + 1.0}, "StartingUp"),
    "the feed's new template": ({"market": DOWN} | past(), "StartingUp"),
    "Redis' new template": (without_redis(up=True) | {"redis": DOWN, "pods": ROLLS} | past(), "StartingUp"),
    "it takes too long, and no agent is there": (
        without_redis(up=True) | {"redis": DOWN} | past(moving_s=START_S),
        "RedisNotReady",
    ),
    "Redis' new template has no image": (
        {"redis": DOWN, "pods": pods("redis", **NO_IMAGE)} | past(),
        "RedisNotReady",
    ),
    "a Redis that was there": (without_redis(up=True) | past(), "RedisNotReady"),
    "a Redis that was there, while agents roll": (
        without_redis(up=True) | {"amos": DOWN} | past(),
        "RedisNotReady",
    ),
    "Redis starts, and an agent has a cause of its own": (
        without_redis(up=True) | {"redis": DOWN, "amos": DOWN | LATELY | {"failure": "no"}} | past(),
        "RedisNotReady",
    ),
    "Redis never was ready": ({"redis": LOST} | past(redis=False), "StartingUp"),
    "Redis never was ready for long": (
        {"redis": LOST} | past(redis=False, moving_s=START_S),
        "RedisNotReady",
    ),
    "it is somebody else's": (
        {"spec": OUTSIDE, "statusz": msgspec.structs.replace(HEARD, redis_reached=False)}
        | past(resumed_s=9.0),
        "RedisNotReady",
    ),
    "nobody has asked yet whether it is reached": (
        {"spec": OUTSIDE, "statusz": None} | past(resumed_s=9.0),
        "StartingUp",
    ),
    "nobody can ask whether it is reached": ({"spec": OUTSIDE, "statusz": None} | past(), "RedisNotReady"),
    "it refuses": ({"statusz": refusing(memory="full")} | past(resumed_s=9.0), "RedisNotReady"),
    "PADS hears nobody yet": (MUTE | past(resumed_s=9.0), "StartingUp"),
    "PADS hears nobody any more": (MUTE | past(), "MessagingDown"),
    "PADS shall hear nobody": (
        {"statusz": msgspec.structs.replace(HEARD, bus_mode="simulated")} | past(resumed_s=9.0),
        "MessagingDown",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_comes_up_in_its_time_is_told_apart_from_what_does_not(case: str) -> None:
    """By the new template of each workload, or by the age of the system."""
    more, expected = CASES[case]
    assert told(seen(**more), "Ready")[:2] == ("False", expected)


@pytest.mark.parametrize(("age_s", "left"), [(100.0, [START_S - 100.0]), (START_S, [])])
def test_the_system_is_looked_at_again_when_a_start_takes_too_long(age_s: float, left: list[float]) -> None:
    """No event tells of it."""
    calm, key = at_rest(), ("Deployment", "desk-1-amos")
    down = msgspec.structs.replace(calm.children[key], **DOWN)
    there = {c["type"]: c for c in calm.status["conditions"]}
    moving = there["Progressing"] | {"status": "True", "lastTransitionTime": stamp(calm.now - age_s)}
    old = there["Suspended"] | {"lastTransitionTime": stamp(calm.now - 1e6)}
    status = calm.status | {"conditions": [*(there | {"Progressing": moving, "Suspended": old}).values()]}
    state = played([at_rest(children=calm.children | {key: down}, status=status)])[0]
    assert [s for s in state.recheck_s if s <= START_S] == left
