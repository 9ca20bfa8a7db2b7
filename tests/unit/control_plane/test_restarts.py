"""Restarts: only a pod that was Ready and silent long enough, one at a time, within the budget."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from qts_core.parts import Agent, RestartPolicy, Toleration
from qts_core.probes import Status
from qts_core.roster import BY_NAME
from qts_operator import budget
from qts_operator.node_loss import by_name
from qts_operator.restarts import decide
from qts_operator.snapshot import Node, Pod
from qts_operator.times import stamp

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
    facts: dict[str, Any] = {"history": {}, "generation": 3, "now": NOW, "nodes": {}, "used": {}} | more
    asked = facts.pop("asked", Agent())
    return decide(BY_NAME["quasar"], pods, asked, facts.pop("history"), told=told, **facts)


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


def restarted(*ago_s: float, generation: int = 3) -> dict[str, Any]:
    """Return a status entry of restarts so many seconds ago, the oldest first."""
    times = [stamp(NOW - s) for s in ago_s]
    return {"restarts": 40, "recentRestarts": {"generation": generation, "at": times}}


def test_the_delay_doubles_and_the_budget_ends_it() -> None:
    """20 s after the first, 40 s after the second; five in the window and the operator stops."""
    assert verdict(history=restarted(19.0)).recheck_s == 1.0
    assert verdict(history=restarted(20.0)).due is not None
    assert verdict(history=restarted(90.0, 39.0)).recheck_s == 1.0
    spent = verdict(history=restarted(590.0, 500.0, 400.0, 300.0, 200.0))
    assert "was restarted 5 times in 10m" in spent.exhausted
    assert (spent.due, spent.recheck_s) == (None, 10.0)


def test_a_restart_that_is_in_the_record_already_is_due_at_once() -> None:
    """An operator ended between the record and the deletion: the budget has paid for it, even with the last of it."""
    spent = budget.noted({}, 3, NOW - 1.0)
    history = {"lastRestart": {"podUID": POD.uid}, "recentRestarts": spent}
    asked = Agent(restart_policy=RestartPolicy(max_restarts=1))
    assert verdict(history=history, asked=asked).due.pod == POD
    other = history | {"lastRestart": {"podUID": "another"}}
    assert verdict(history=other, asked=asked).exhausted
    assert verdict(history=other).recheck_s == 19.0


def test_what_left_the_window_counts_no_more() -> None:
    """Restarts of former days spend nothing, however many they were."""
    assert verdict(history=restarted(601.0, 500.0, 400.0, 300.0, 200.0)).due is not None
    assert verdict(history=restarted(*[5_000.0] * 20)).due is not None


def test_a_restart_leaves_the_window_when_it_is_as_old_as_the_window() -> None:
    """To the second that the verdict before has told."""
    spent = verdict(history=restarted(600.0 - 10.0, 500.0, 400.0, 300.0, 200.0))
    assert spent.recheck_s == 10.0
    assert verdict(history=restarted(600.0, 500.0, 400.0, 300.0, 200.0)).due is not None


def test_who_allows_no_restart_gets_none() -> None:
    """With a budget of nothing there is no moment to wait for."""
    asked = Agent(restart_policy=RestartPolicy(max_restarts=0))
    told = verdict(asked=asked)
    assert (told.due, told.recheck_s) == (None, None)
    assert told.exhausted == (
        "quasar was restarted 0 times in 10m; last reason PeerSilent; "
        "mend its cause, or raise spec.agents.quasar.restartPolicy.maxRestarts"
    )


def test_the_pause_is_at_most_half_an_hour() -> None:
    """However often the window allows it."""
    asked = Agent(restart_policy=RestartPolicy(max_restarts=20, window="24h"))
    history = restarted(*(2000.0 + 100.0 * n for n in range(15, 0, -1)), 1799.0)
    assert verdict(asked=asked, history=history).recheck_s == 1.0
    history = restarted(*(2000.0 + 100.0 * n for n in range(15, 0, -1)), 1800.0)
    assert verdict(asked=asked, history=history).due is not None


@pytest.mark.parametrize(
    ("change", "due"),
    [
        ({}, True),
        ({"ready": False}, False),
        ({"deleting": True}, False),
        ({"ready_since": NOW - 35.0}, True),
        ({"ready_since": NOW - 34.9}, False),
    ],
)
def test_of_a_silent_agent_a_pod_goes_that_has_been_ready_for_long_enough(change: dict, due: bool) -> None:
    """35 s: what PADS says is about this one then."""
    pod = msgspec.structs.replace(POD, **change)
    assert (verdict((pod,)).due is not None) is due


@pytest.mark.parametrize(
    ("peer", "due"),
    [
        ({"age_s": 30.0, "state": "dead"}, True),
        ({"age_s": 29.9, "state": "dead"}, False),
        ({"age_s": None, "state": "dead"}, False),
        (None, False),
    ],
)
def test_dead_is_who_was_not_heard_for_half_a_minute(peer: Any, due: bool) -> None:
    """A peer that PADS never met, or does not date, is no reason."""
    told = Status(agent="pads", peers={"quasar": peer, "qbmia": {"age_s": 99.0, "state": "dead"}})
    assert (verdict(told=told).due is not None) is due


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, "PodFailed"),
        ({"reason": "Evicted"}, "Evicted"),
        ({"phase": "Succeeded"}, None),
        ({"phase": "Running"}, None),
        ({"deleting": True}, None),
        ({"reason": "UnexpectedAdmissionError"}, None),
    ],
)
def test_a_failed_pod_goes_unless_it_goes_already_or_the_circuit_has_it(change: dict, reason: Any) -> None:
    """What a kubelet rejected is counted by the circuit, not by the budget."""
    failed = msgspec.structs.replace(POD, **({"phase": "Failed", "ready": False} | change))
    due = verdict((failed,), told=None).due
    assert (due.reason if due is not None else None) == reason


@pytest.mark.parametrize(
    ("change", "waits"),
    [
        ({}, False),
        ({"ready": False}, True),
        ({"deleting": True}, True),
        ({"ready": False, "phase": "Failed", "reason": "OutOfcpu"}, False),
    ],
)
def test_a_restart_waits_for_the_other_pods_of_the_agent(change: dict, waits: bool) -> None:
    """One that is going or not ready is waited for; a rejected one never gets ready."""
    told = verdict((POD, msgspec.structs.replace(POD, uid="u2", **change)))
    assert (told.due is None) is waits
    assert told.recheck_s == (5.0 if waits else None)


def test_a_change_of_the_spec_gives_a_new_budget() -> None:
    """The person who was asked for has acted."""
    spent = restarted(500.0, 400.0, 300.0, 200.0, 1.0, generation=2)
    assert verdict(history=spent).due is not None


def test_the_record_of_restarts_is_bounded_and_begins_anew_with_a_generation() -> None:
    """A restart is noted once for each pod, by `steps`; here only the list."""
    entry: dict[str, Any] = {}
    for second in range(30):
        entry = {"recentRestarts": budget.noted(entry, 3, NOW + second)}
    assert len(entry["recentRestarts"]["at"]) == 20
    assert budget.recent(entry, 3, 600.0, NOW + 30.0)[-1] == NOW + 29.0
    assert budget.noted(entry, 4, NOW) == {"generation": 4, "at": [stamp(NOW)]}


GPU = "nvidia.com/gpu"
GONE = Node(name="gone", ready=False, unready_since=NOW)
SPARE = Node(name="spare")
ON_GONE = msgspec.structs.replace(POD, node="gone", ready=False)


def lost(*nodes: Node, pods: tuple[Pod, ...] = (ON_GONE,), after_s: float = 60.0, **more: Any) -> Any:
    """Decide `after_s` seconds after the node of the pod was last ready."""
    return verdict(pods, told=None, nodes=by_name((GONE, *nodes)), now=NOW + after_s, **more)


def test_a_pod_on_a_node_that_is_gone_is_due_after_a_minute() -> None:
    """Not before, and the next look is when the minute is over."""
    at_first = lost(SPARE, after_s=45.0)
    assert (at_first.due, at_first.recheck_s) == (None, 15.0)
    due = lost(SPARE).due
    assert (due.pod.uid, due.reason) == ("u1", "NodeLost")


@pytest.mark.parametrize(
    "spare",
    [
        Node(name="spare", ready=False),
        Node(name="spare", unschedulable=True),
        Node(name="spare", taints=(("team", "other", "NoSchedule"),)),
        Node(name="gone-too", ready=False, unready_since=NOW),
    ],
)
def test_nobody_is_restarted_where_no_node_would_take_the_pod(spare: Node) -> None:
    """The pod may come back with its node; a pending one would be no better."""
    assert (lost(spare).due, lost(spare).recheck_s) == (None, 30.0)
    assert lost().due is None


def test_a_replacement_needs_the_labels_taints_and_devices_of_the_pod() -> None:
    """The same node is good for one pod and not for another."""
    tainted = Node(name="spare", labels={"disk": "ssd"}, taints=(("team", "a", "NoSchedule"),))
    tolerant = Agent(tolerations=(Toleration(key="team", operator="Exists"),))
    assert lost(tainted, asked=tolerant).due is not None
    assert lost(SPARE, asked=Agent(node_selector={"disk": "ssd"})).due is None
    asking = (msgspec.structs.replace(ON_GONE, limits={GPU: 1}),)
    with_gpu = Node(name="spare", allocatable={GPU: 1})
    assert lost(SPARE, pods=asking).due is None
    assert lost(with_gpu, pods=asking, used={"spare": {}}).due.onto == "spare"
    assert lost(with_gpu, pods=asking).due is None, "nobody asked who uses it"
    assert lost(with_gpu, pods=asking, used={"spare": {GPU: 1}}).due is None


def test_two_pods_on_the_lost_node_do_not_wait_for_each_other() -> None:
    """The first stays Terminating for as long as its kubelet is away; the second still goes, after the delay."""
    second = msgspec.structs.replace(ON_GONE, uid="u2")
    assert lost(SPARE, pods=(ON_GONE, second)).due.pod.uid == "u1"
    going = msgspec.structs.replace(ON_GONE, deleting=True)
    assert lost(SPARE, pods=(going, second)).due.pod.uid == "u2"
    elsewhere = msgspec.structs.replace(POD, uid="u3", node="spare", ready=False)
    assert lost(SPARE, pods=(ON_GONE, elsewhere)).due is None


def test_without_a_view_of_nodes_no_node_is_lost() -> None:
    """Namespaced mode: the five minutes of Kubernetes are what there is."""
    assert verdict((ON_GONE,), told=None, nodes=by_name(None), now=NOW + 600.0).due is None


def test_lost_nodes_are_within_the_budget() -> None:
    """A rack that comes and goes does not restart agents without end."""
    often = restarted(500.0, 400.0, 300.0, 200.0, 100.0)
    assert "NodeLost" in lost(SPARE, history=often).exhausted


def crashed(times: int, last_ago_s: float = 1.0, uid: str = "u1") -> Pod:
    """Return a pod whose container the kubelet started again so many times."""
    return msgspec.structs.replace(POD, uid=uid, restarts=times, ended=NOW - last_ago_s)


def test_the_kubelet_s_restarts_count_once_each() -> None:
    """Seen twice they count once; what it does next is added, and ours stay between them."""
    entry = budget.seen(restarted(30.0), (crashed(2, 40.0),), 3, NOW)
    assert budget.recent(entry, 3, 600.0, NOW) == (NOW - 40.0, NOW - 40.0, NOW - 30.0)
    assert budget.seen(entry, (crashed(2, 40.0),), 3, NOW + 99.0) is entry
    more = budget.seen(entry, (crashed(3, 5.0),), 3, NOW)
    assert budget.recent(more, 3, 600.0, NOW) == (NOW - 40.0, NOW - 40.0, NOW - 30.0, NOW - 5.0)


def test_a_restart_of_ours_does_not_make_the_kubelet_s_count_again() -> None:
    """The record keeps what is counted when ours is added to it."""
    entry = budget.seen(restarted(), (crashed(2, 40.0),), 3, NOW)
    noted = entry | {"recentRestarts": budget.noted(entry, 3, NOW)}
    assert budget.seen(noted, (crashed(2, 40.0),), 3, NOW + 1.0) is noted
    assert len(budget.recent(noted, 3, 600.0, NOW)) == 3


def test_a_restart_of_the_kubelet_without_a_time_is_dated_when_it_is_seen() -> None:
    """And one of two pods says nothing about the other."""
    pods = (msgspec.structs.replace(crashed(1), ended=0.0), crashed(0, uid="u2"), crashed(2, 9.0, uid="u3"))
    entry = budget.seen({}, pods, 3, NOW)
    assert budget.recent(entry, 3, 600.0, NOW) == (NOW - 9.0, NOW - 9.0, NOW)
    assert entry["recentRestarts"]["counted"] == {"u1": 1, "u3": 2}
    fewer = budget.seen(entry, (crashed(1, uid="u3"),), 3, NOW)
    assert len(budget.recent(fewer, 3, 600.0, NOW)) == 3, "a count that went back adds nothing"


def test_restarts_of_the_kubelet_spend_the_budget_of_ours() -> None:
    """They are never held back themselves; the operator stops adding to them."""
    entry = budget.seen(restarted(), (crashed(5),), 3, NOW)
    spent = verdict((crashed(5),), history=entry)
    assert (spent.due, spent.recheck_s) == (None, 599.0)
    assert "was restarted 5 times in 10m" in spent.exhausted
    within = budget.seen(restarted(), (crashed(4, 400.0),), 3, NOW)
    assert verdict((crashed(4, 400.0),), history=within).due is not None


def test_a_new_generation_forgets_when_but_not_which_were_counted() -> None:
    """Else the crashes of before would spend the budget that the change of the spec gave anew."""
    entry = budget.seen(restarted(), (crashed(5),), 3, NOW)
    assert budget.recent(budget.seen(entry, (crashed(5),), 4, NOW), 4, 600.0, NOW) == ()
    next_one = budget.seen(entry, (crashed(6),), 4, NOW)
    assert len(budget.recent(next_one, 4, 600.0, NOW)) == 1


def test_a_pod_that_is_gone_is_forgotten_and_its_restarts_are_not() -> None:
    """The record holds the pods that are there, and times; both are bounded."""
    entry = budget.seen(restarted(), (crashed(2),), 3, NOW)
    after = budget.seen(entry, (crashed(0, uid="u2"),), 3, NOW)
    assert "counted" not in after["recentRestarts"]
    assert len(budget.recent(after, 3, 600.0, NOW)) == 2
    many = budget.seen(restarted(), (crashed(4_000),), 3, NOW)["recentRestarts"]
    assert (len(many["at"]), many["counted"]) == (20, {"u1": 4_000})
