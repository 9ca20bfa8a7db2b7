"""Restarts: only a pod that was Ready and silent long enough, one at a time, within the budget."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from qts_core.parts import RestartPolicy
from qts_core.probes import Status
from qts_core.roster import BY_NAME
from qts_operator.restarts import decide
from qts_operator.snapshot import Pod

NOW = 10_000.0
POD = Pod(
    namespace="n",
    name="desk-1-quasar-x",
    uid="u1",
    version="1",
    agent="quasar",
    phase="Running",
    ready=True,
    ready_since=NOW - 60.0,
)
DEAD = Status(agent="pads", peers={"quasar": {"age_s": 31.0, "state": "dead"}})


def verdict(pods: tuple[Pod, ...] = (POD,), told: Status | None = DEAD, **more: Any) -> Any:
    """Decide for quasar."""
    facts: dict[str, Any] = {"history": {}, "at": None} | more
    return decide(
        BY_NAME["quasar"], pods, RestartPolicy(), facts["history"], told=told, at=facts["at"], now=NOW
    )


def test_a_ready_pod_that_is_dead_for_its_peers_is_due() -> None:
    """What the kubelet cannot see."""
    due = verdict().due
    assert (due.pod.uid, due.reason) == ("u1", "PeerSilent")


@pytest.mark.parametrize("ready_for_s", [0.0, 5.0, 34.0])
def test_a_pod_that_has_just_become_ready_is_not_blamed_for_the_one_before(ready_for_s: float) -> None:
    """PADS' answer may still speak of the pod that this one replaced."""
    fresh = msgspec.structs.replace(POD, ready_since=NOW - ready_for_s)
    assert verdict((fresh,)).due is None


@pytest.mark.parametrize("state", ["alive", "suspect"])
def test_a_peer_that_is_heard_is_left_alone(state: str) -> None:
    """Suspect is not dead."""
    told = Status(agent="pads", peers={"quasar": {"age_s": 31.0, "state": state}})
    assert verdict(told=told).due is None


def test_without_an_answer_of_pads_nobody_is_restarted() -> None:
    """Not knowing is no reason."""
    assert verdict(told=None).due is None


def test_one_pod_at_a_time() -> None:
    """None while another pod of the agent is unready or going."""
    other = msgspec.structs.replace(POD, uid="u2", ready=False)
    assert (verdict((POD, other)).due, verdict((POD, other)).recheck_s) == (None, 5.0)


def test_a_failed_pod_is_due_with_its_own_reason() -> None:
    """The reason of the pod is the reason of the restart."""
    failed = msgspec.structs.replace(POD, phase="Failed", ready=False, reason="Evicted")
    assert verdict((failed,), told=None).due.reason == "Evicted"


def test_the_delay_doubles_and_the_budget_ends_it() -> None:
    """10 s after the first, 20 s after the second; five in the window and the operator stops."""
    assert verdict(history={"restarts": 1}, at=NOW - 19.0).recheck_s == 1.0
    assert verdict(history={"restarts": 1}, at=NOW - 20.0).due is not None
    assert "was restarted 5 times" in verdict(history={"restarts": 5}, at=NOW - 300.0).exhausted
    assert verdict(history={"restarts": 5}, at=NOW - 601.0).due is not None
