"""What a Redis that answers refuses to PADS, in the status of a real API server, until it is over.

Pods run on nodes that kwok plays; what PADS says at /statusz is played here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.cluster.speaker import SPEC, point, running, speaking

from qts_core.roster import VOTERS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.usefixtures("played_node")]
FULL = "Redis refuses writes: it is out of memory (OOM); raise its maxmemory"
ADDRESS = "127.0.78.1"


def test_a_redis_that_refuses_writes_is_told_and_comes_back_by_itself(
    kube: Any, namespace: str, operator: Any, until: Callable[..., Any]
) -> None:
    """Everything is ready and PADS reaches Redis, yet nothing is kept: one write says so, one that it is over."""
    told: dict[str, Any] = {
        "agent": "pads",
        "bus_mode": "connected",
        "redis_reached": True,
        "peers": {w.wire: {"age_s": 1.0, "state": "alive"} for w in VOTERS},
    }
    operator()
    with speaking(ADDRESS, told):
        kube.system(namespace, "desk", SPEC)
        until(lambda: running(kube, namespace, "pads"), "PADS runs")
        point(kube, namespace, "pads", ADDRESS)
        until(lambda: kube.condition(namespace, "desk", "Ready")[0] == "True", "ready")
        told["redis_refuses"] = {"memory": FULL}
        fault = ("False", "RedisRefusesWrites", f"PADS: {FULL}")
        until(lambda: kube.condition(namespace, "desk", "RedisReady") == fault, "refused")
        assert kube.condition(namespace, "desk", "Ready") == ("False", "RedisNotReady", fault[2])
        assert kube.condition(namespace, "desk", "Degraded")[0] == "False"
        version = _version(kube, namespace)
        for uptime_s in range(10):  # PADS is asked every 3 s, and always says something else
            told["uptime_s"] = float(uptime_s)
            time.sleep(1.0)
        assert _version(kube, namespace) == version
        told["redis_refuses"] = {}
        until(lambda: kube.condition(namespace, "desk", "Ready")[0] == "True", "ready again")
        assert kube.condition(namespace, "desk", "RedisReady")[:2] == ("True", "Reached")
    events = [e for e in kube.get("-n", namespace, "events.events.k8s.io")["items"] if _ours(e)]
    # before PADS was asked for the first time Ready may have had the same reason with other words
    (refused,) = (e for e in events if (e["reason"], e["note"]) == ("RedisNotReady", fault[2]))
    assert refused.get("series") is None


def _version(kube: Any, namespace: str) -> str:
    return str(kube.get("-n", namespace, "qts", "desk")["metadata"]["resourceVersion"])


def _ours(event: dict[str, Any]) -> bool:
    return event["regarding"].get("kind") == "QuantumTradingSystem"
