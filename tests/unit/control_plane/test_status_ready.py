"""Ready: when it is given which reason, and in which words."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.control_plane.systems import (
    ADMIT,
    DOWN,
    FAULT,
    FULL,
    GPU,
    HEARD,
    LATELY,
    LOGIN,
    LOST,
    NO_IMAGE,
    NO_REDIS_IMAGE,
    OBSERVED,
    OUTSIDE,
    QUOTA,
    REACHED,
    UNWELL,
    ZERO,
    Cases,
    pods,
    refusing,
    seen,
    told,
    without_redis,
)

from qts_operator import gang, writes
from qts_operator.status import build

READY: Cases = {
    "all": ({}, ("True", "AllReady", "4/4 agents and the feed are ready")),
    "no feed": (
        {"spec": {"market": {"source": "External"}}},
        ("True", "AllReady", "4/4 agents are ready"),
    ),
    "three agents": (
        {"spec": {"agents": {"amos": {"enabled": False}}}},
        ("True", "AllReady", "3/3 agents and the feed are ready"),
    ),
    "suspended": ({"spec": {"suspend": True}}, ("False", "Suspended", "the system is suspended")),
    "suspended, and a fault": (
        {"spec": {"suspend": True}, "state": FAULT},
        ("False", "Suspended", "the system is suspended"),
    ),
    "a fault": ({"state": FAULT}, ("False", "NameTaken", "Service/x exists")),
    "a fault, and an agent down": (
        {"state": FAULT, "amos": DOWN},
        ("False", "NameTaken", "Service/x exists"),
    ),
    "no budget": ({"exhausted": "too often"}, ("False", "RestartBudgetExhausted", "too often")),
    "a fault, and no budget": (
        {"exhausted": "too often", "state": FAULT},
        ("False", "NameTaken", "Service/x exists"),
    ),
    "not applied": (
        {"state": writes.State(todo=(), stale=True)},
        ("False", "SpecNotApplied", "the spec is not applied yet"),
    ),
    "not applied, as it is paused": (
        {"spec": {"paused": True}, "plan": ("a",), "status": OBSERVED, "generation": 2},
        ("False", "SpecNotApplied", "the system is paused: status.plan says what is not done"),
    ),
    "not applied, and an agent down": (
        {"state": UNWELL, "amos": DOWN},
        ("False", "SpecNotApplied", "the server is away"),
    ),
    "not applied, for a quota": ({"state": QUOTA}, ("False", "QuotaExceeded", "q")),
    "agents down": (
        {"amos": DOWN, "pads": DOWN},
        ("False", "StartingUp", "pads: starting; amos: starting"),
    ),
    "an agent missing": ({"gone": ["amos"]}, ("False", "StartingUp", "amos: starting")),
    "an agent of another resource": (
        {"amos": {"owner_uid": "u-2"}},
        ("False", "StartingUp", "amos: starting"),
    ),
    "a pod too many": ({"amos": {"replicas": 2}}, ("False", "StartingUp", "amos: starting")),
    "a pod more than asked for": (
        {"amos": {"available": 2, "updated": 2}},
        ("True", "AllReady", "4/4 agents and the feed are ready"),
    ),
    "Redis starts, the agents are ready": (
        {"redis": DOWN},
        ("False", "StartingUp", "Redis is starting up"),
    ),
    "all start": (
        without_redis(),
        (
            "False",
            "AgentsNotReady",
            "pads: starting; qbmia: starting; quasar: starting; amos: starting; market: starting",
        ),
    ),
    "Redis down": (
        without_redis(up=True) | {"status": REACHED},
        ("False", "RedisNotReady", "Redis is not ready any more"),
    ),
    "Redis down, and the agents restarted": (
        without_redis() | {"status": LOST},
        ("False", "RedisNotReady", "Redis is not ready any more"),
    ),
    "Redis without an image": (
        without_redis(NO_IMAGE),
        ("False", "RedisNotReady", f"Redis is starting up: {NO_REDIS_IMAGE}"),
    ),
    "Redis down, and an agent with a cause of its own": (
        without_redis(up=True) | {"status": REACHED, "amos": DOWN | LATELY | {"failure": "no account"}},
        ("False", "RedisNotReady", "Redis is not ready any more; amos: no account"),
    ),
    "Redis outside not reached": (
        without_redis(up=True)
        | {"spec": OUTSIDE, "statusz": msgspec.structs.replace(HEARD, redis_reached=False)},
        ("False", "RedisNotReady", "PADS does not reach Redis"),
    ),
    "Redis refuses writes": (
        {"statusz": refusing(memory=FULL)},
        ("False", "RedisNotReady", f"PADS: {FULL}"),
    ),
    "Redis refuses the login of PADS": (
        {"statusz": refusing(password=LOGIN), "pads": DOWN, "pods": pods("pads", ready=False, up=True)},
        ("False", "RedisNotReady", f"PADS: {LOGIN}"),
    ),
    "Redis not known": (
        {"spec": OUTSIDE, "statusz": None},
        ("False", "RedisNotReady", f"PADS cannot be asked whether it reaches Redis{ADMIT}"),
    ),
    "nobody heard": (
        {"statusz": msgspec.structs.replace(HEARD, peers={})},
        ("False", "MessagingDown", "PADS does not hear qbmia, quasar, amos"),
    ),
    "messaging not known": ({"statusz": None}, ("True", "AllReady", "4/4 agents and the feed are ready")),
}


@pytest.mark.parametrize("case", READY)
def test_ready_has_its_reason_and_its_words(case: str) -> None:
    """What most people look at, of `kubectl get` and of `kubectl describe`."""
    more, expected = READY[case]
    assert told(seen(**more), "Ready") == expected


def test_agents_that_wait_for_each_other_say_so_and_the_others_do_not() -> None:
    """Of an all-or-nothing start only the agents with devices are held."""
    spec = {"startup": "AllOrNothing"} | GPU
    facts = seen(spec, nodes=(), quasar=ZERO, amos=DOWN)
    assert facts.frame.gang.held
    waits = "1 nvidia.com/gpu must be free at once for an all-or-nothing start"
    expected = f"quasar: WaitingForGang: {waits}; amos: starting"
    assert told(facts, "Ready") == ("False", "AgentsNotReady", expected)
    begun = gang.Gang(state="Claiming", at=1e9)
    facts = msgspec.structs.replace(facts, frame=msgspec.structs.replace(facts.frame, gang=begun))
    assert "WaitingForGang" not in told(facts, "Ready")[2]
    assert build(facts)["gang"] == begun.told()


@pytest.mark.parametrize("spare", [1, 0])
def test_of_an_autoscaler_s_agent_one_new_pod_is_enough(spare: int) -> None:
    """The others come and go; without one that is available and new the system is not ready."""
    spec = {"agents": {"quasar": {"replicasManagedBy": "External"}}}
    for field in ("available", "updated"):
        facts = seen(spec, quasar={"replicas": 3, "available": 3, "updated": 3} | {field: spare})
        assert told(facts, "Ready")[0] == ("True" if spare else "False")


def test_a_stopped_agent_is_not_live_though_it_is_as_it_should_be() -> None:
    """At 0 of 0 replicas nobody works."""
    spec = {"config": {"autoRestartFailed": False}}
    ended = [msgspec.structs.replace(p, exited=p.agent == "amos") for p in pods()]
    status = build(seen(spec, pods=ended, amos=ZERO))
    assert status["agents"] == "3/4"
    assert {e["name"]: e.get("stopped") for e in status["agentStatuses"]}["amos"] is True
    assert [e["name"] for e in status["agentStatuses"] if "stopped" in e] == ["amos"]
