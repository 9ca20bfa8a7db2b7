"""A pass, one request after the other: what it asks for, what it makes of each answer, when it looks again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.control_plane.conftest import make_snapshot
from tests.unit.control_plane.passes import at_rest, condition, kinds, played, pods
from tests.unit.control_plane.systems import GPU, HEARD

from qts_operator import rotation, steps
from qts_operator.objects.frame import Defaults
from qts_operator.plan import Apply, Create, Delete
from qts_operator.restarts import Restart
from qts_operator.snapshot import Child, Finding, Node, Pod, Snapshot
from qts_operator.starting import START_S
from qts_operator.steps import Report, Stopped, Tell
from qts_operator.writes import Done, Failed

OFTEN = {"generation": 1, "at": ["2001-09-09T01:46:39Z"] * 20}


def test_at_rest_a_pass_looks_once_and_asks_for_nothing() -> None:
    """And another one is not needed."""
    state, asked = played([at_rest()])
    assert kinds(asked) == ["Look"]
    assert (state.phase, state.wrote, state.stopped, state.recheck_s) == ("end", False, False, ())
    assert not steps.unfinished(state)


def test_what_redis_refuses_is_written_once_and_once_more_when_it_is_over() -> None:
    """However often PADS says it, as everything else that it says moves from answer to answer."""

    def answer(uptime_s: float, **refuses: str) -> Any:
        return msgspec.structs.replace(HEARD, uptime_s=uptime_s, redis_refuses=refuses)

    status, told = at_rest().status, []
    for uptime_s, refuses in enumerate([{}, {"memory": "OOM"}, {"memory": "OOM"}, {"memory": "OOM"}, {}, {}]):
        seen = at_rest(status=status, statusz=answer(float(uptime_s), **refuses))
        state, asked = played([seen])
        status = state.status
        told.append((kinds(asked), condition(state, "RedisReady")[1], condition(state, "Ready")[1]))
    rest, fault = (["Look"], "Ready", "AllReady"), ("RedisRefusesWrites", "RedisNotReady")
    first, over = (["Look", "Report", "Tell"], *fault), (["Look", "Report", "Tell"], *rest[1:])
    assert told == [rest, first, (["Look"], *fault), (["Look"], *fault), over, rest]


@pytest.mark.parametrize(("age_s", "left_s"), [(0.0, [120.0]), (119.0, [1.0]), (120.0, [])])
def test_a_pod_whose_containers_are_not_made_is_looked_at_again(age_s: float, left_s: list[float]) -> None:
    """No event tells that they are late; then the message says where to look, and nobody looks more often."""
    slow = pods(waiting="ContainerCreating", ready=False, started=1e9 - age_s)
    state = played([at_rest(pods=slow, status=at_rest().status)])[0]
    assert [s for s in state.recheck_s if s <= 120.0] == left_s


def test_a_new_system_is_written_looked_at_again_and_reported() -> None:
    """In this order; what the second look shows is what is reported, and news follow the status."""
    state, asked = played([make_snapshot(), at_rest(status={})])
    assert kinds(asked) == ["Look", "Apply", "Create", "Apply", "Look", "Report"]
    assert isinstance(asked[-1], Report)
    assert (asked[-1].uid, asked[-1].status["agents"]) == ("u-1", "4/4")
    assert condition(state, "Ready") == ("True", "AllReady")
    assert state.wrote
    assert not steps.unfinished(state)


def test_drift_is_repaired_though_the_status_has_no_news() -> None:
    """The pass wrote something, which the metric of passes counts."""
    rest, key = at_rest(), ("Service", "desk-1-amos")
    edited = rest.children | {key: msgspec.structs.replace(rest.children[key], digest="other")}
    state, asked = played([msgspec.structs.replace(rest, children=edited), rest])
    assert kinds(asked) == ["Look", "Apply", "Look"]
    assert state.wrote
    assert not steps.unfinished(state)


def test_a_status_is_about_the_generation_that_the_pass_began_with() -> None:
    """What a user changes meanwhile is the next pass's; so is what somebody did to an object."""
    newer = msgspec.structs.replace(at_rest(status={}), generation=2, spec={"suspend": True})
    state, asked = played([make_snapshot(), newer])
    assert asked[-1].status["observedGeneration"] == 1
    assert condition(state, "Suspended") == ("False", "NotSuspended")
    assert not steps.unfinished(state)
    lacking = {k: c for k, c in newer.children.items() if k != ("Service", "desk-1-amos")}
    state, _ = played([make_snapshot(), msgspec.structs.replace(newer, children=lacking)])
    assert "observedGeneration" not in state.status
    assert steps.unfinished(state)


def test_a_number_that_has_become_an_autoscaler_s_needs_another_pass() -> None:
    """The Deployment was made with the resource's number, and is still ours."""
    spec = {"agents": {"amos": {"replicasManagedBy": "External"}}}
    state, _ = played([make_snapshot(spec), at_rest(spec, status={})])
    assert state.writes.stale
    assert steps.unfinished(state)


def test_what_may_not_be_seen_is_not_written_either() -> None:
    """It would be made again, or deleted, on a guess; any other fault hinders nobody."""
    for reason, expected in (("AccessDenied", ["Look", "Report"]), ("CRDOutdated", ["Look", "Apply"])):
        fault = Finding(reason=reason, message="m")
        state, asked = played([make_snapshot(blocked=(fault,))])
        assert kinds(asked)[:2] == expected
        assert condition(state, "Degraded") == ("True", reason)
        assert "observedGeneration" not in state.status


def test_a_spec_that_cannot_be_rendered_is_reported_with_its_field() -> None:
    """Before any other fault, as it is the one that a user can mend."""
    fault = Finding(reason="CRDOutdated", message="m")
    bad = make_snapshot({"config": {"boardMembers": {"qar": 2.0}}}, blocked=(fault,))
    state, asked = played([bad])
    assert kinds(asked) == ["Look", "Report", "Tell"]
    assert condition(state, "Degraded") == ("True", "SpecRejected")
    assert "boardMembers" in asked[-1].event["note"]


def test_a_paused_system_is_read_and_told_what_would_be_done() -> None:
    """Nothing of it is done."""
    state, asked = played([make_snapshot({"paused": True})])
    assert kinds(asked) == ["Look", "Read", "Report"]
    assert "Create Deployment/desk-1-amos" in asked[-1].status["plan"]
    assert state.writes.todo == ()
    assert not steps.unfinished(state)


@pytest.mark.parametrize(
    ("answer", "unfinished"),
    [(Failed(code=500), True), (Failed(code=409), True), (Failed(code=422, message="m"), True)],
)
def test_what_was_refused_asks_for_another_pass(answer: Failed, unfinished: bool) -> None:
    """Whether the server is unwell, the view was old, or a person is needed."""
    state, asked = played([make_snapshot()], lambda r: answer if isinstance(r, Apply | Create) else Done())
    assert isinstance(asked[-1], Report | Tell)
    assert steps.unfinished(state) is unfinished


def test_what_must_go_first_is_waited_for() -> None:
    """An object that is being deleted comes back in a later pass."""
    snapshot = at_rest()
    key = ("Service", "desk-1-amos")
    going = snapshot.children | {key: msgspec.structs.replace(snapshot.children[key], deleting=True)}
    state, asked = played([msgspec.structs.replace(snapshot, children=going)])
    assert not [r for r in asked if isinstance(r, Apply | Delete)]
    assert steps.unfinished(state)


def moving(**more: Any) -> Snapshot:
    """Return a system that rolls: the last status knows that, and only a number has moved since."""
    snapshot = at_rest()
    key = ("Deployment", "desk-1-amos")
    open_ = msgspec.structs.replace(snapshot.children[key], ready=0, available=0)
    rolling = msgspec.structs.replace(snapshot, children=snapshot.children | {key: open_})
    told = played([rolling])[0].status
    more_ready = msgspec.structs.replace(open_, ready=1)
    children = rolling.children | {key: more_ready}
    return msgspec.structs.replace(rolling, **({"children": children, "status": told} | more))


@pytest.mark.parametrize(("told_s", "expected"), [(0.0, 5.0), (4.5, 0.5), (5.0, None)])
def test_numbers_alone_are_told_every_five_seconds(told_s: float, expected: float | None) -> None:
    """While something moves; the pass that holds one back comes again when it may be told."""
    state, asked = played([moving()], told_s=told_s)
    assert kinds(asked) == (["Look", "Report"] if expected is None else ["Look"])
    assert [s for s in state.recheck_s if s < START_S] == ([] if expected is None else [expected])


def test_numbers_are_told_at_once_when_nothing_moves_and_news_always() -> None:
    """A number at rest is the last; a condition is what people wait for."""
    rest = at_rest()
    told = msgspec.structs.replace(rest, status=rest.status | {"agents": "3/4"})
    assert kinds(played([told], told_s=0.0)[1]) == ["Look", "Report"]
    news = played([moving(statusz=None)], told_s=0.0)[1]
    assert kinds(news) == ["Look", "Report"]


def failed_pods() -> tuple[Pod, ...]:
    """Return pods of which that of amos has failed."""
    return pods(phase="Failed", ready=False, reason="Evicted")


def test_the_record_of_a_restart_is_never_held_back() -> None:
    """It must be there before the pod goes, however lately the status was told."""
    snapshot = moving()
    told = played([msgspec.structs.replace(snapshot, pods=failed_pods())], told_s=0.0)
    assert kinds(told[1])[:3] == ["Look", "Report", "Restart"]


def test_a_restart_is_counted_once_though_its_deletion_fails() -> None:
    """The record that names the pod stands; the same pass again counts nothing."""
    snapshot = at_rest(pods=failed_pods(), status={})
    refused = Failed(code=403, message="no")
    state, asked = played([snapshot], lambda r: refused if isinstance(r, Restart) else Done())
    assert kinds(asked) == ["Look", "Report", "Restart"]
    assert state.failed == refused
    assert steps.unfinished(state)
    again = msgspec.structs.replace(snapshot, status=state.status, now=snapshot.now + 60.0)
    state, asked = played([again])
    entry = next(e for e in state.status["agentStatuses"] if e["name"] == "amos")
    assert kinds(asked) == ["Look", "Restart"]
    assert (entry["restarts"], len(entry["recentRestarts"]["at"])) == (1, 1)
    other = tuple(msgspec.structs.replace(p, uid=f"new-{p.uid}") for p in failed_pods())
    later = msgspec.structs.replace(again, pods=other)
    entry = next(e for e in played([later])[0].status["agentStatuses"] if e["name"] == "amos")
    assert (entry["restarts"], entry["lastRestart"]["podUID"]) == (2, "new-pod-amos-0")


@pytest.mark.parametrize("code", [404, 409])
def test_a_pod_that_is_gone_or_another_is_as_good_as_restarted(code: int) -> None:
    """The pass goes on."""
    snapshot = at_rest(pods=failed_pods(), status={})
    gone = Failed(code=code)
    state, asked = played([snapshot], lambda r: gone if isinstance(r, Restart) else Done())
    assert isinstance(asked[-1], Restart)
    assert state.failed is None


def rejected(count: int) -> tuple[Pod, ...]:
    """Return pods that a node would not take, the oldest first."""
    made = [
        Pod(
            namespace="trading",
            name=f"r{i}",
            uid=f"r{i}",
            version="1",
            agent="amos",
            phase="Failed",
            reason="OutOfcpu",
            started=float(i),
        )
        for i in range(count)
    ]
    return (*pods(), *made)


def test_what_a_node_rejected_is_cleared_away_and_not_counted() -> None:
    """All but the newest three, also of an agent that is held at 0."""
    for spec in ({}, {"suspend": True}):
        state, asked = played([at_rest(spec, pods=rejected(5), status={})])
        assert [r.pod.name for r in asked if isinstance(r, Restart)] == ["r0", "r1"]
        entry = next(e for e in state.status["agentStatuses"] if e["name"] == "amos")
        assert entry["restarts"] == 0


def test_a_suspended_agent_is_not_restarted() -> None:
    """Its pods are going anyway."""
    _, asked = played([at_rest({"suspend": True}, pods=failed_pods(), status={})])
    assert not [r for r in asked if isinstance(r, Restart)]


def test_a_spent_budget_is_told_with_the_first_agent_that_spent_it() -> None:
    """Of two, the roster's first; the pass comes again when the oldest restart leaves the window."""
    entries = [{"name": n, "restarts": 20, "recentRestarts": OFTEN} for n in ("quasar", "amos")]
    both = tuple(
        msgspec.structs.replace(p, phase="Failed", ready=False) if p.agent in ("quasar", "amos") else p
        for p in pods()
    )
    state, asked = played([at_rest(pods=both, status={"agentStatuses": entries})])
    assert not [r for r in asked if isinstance(r, Restart)]
    assert condition(state, "Degraded") == ("True", "RestartBudgetExhausted")
    told = next(c["message"] for c in state.status["conditions"] if c["type"] == "Degraded")
    assert told.startswith("quasar was restarted 20 times in 10m")
    assert state.recheck_s == (599.0, 599.0)


def test_a_pod_of_redis_that_a_newer_roll_out_waits_for_goes() -> None:
    """Of our own StatefulSet, and without a record: it is no restart."""
    snapshot = at_rest(status={})
    key = ("StatefulSet", "desk-1-redis")
    change = msgspec.structs.replace
    old = tuple(change(p, ready=False, template="1") if p.agent == "redis" else p for p in snapshot.pods)
    for owner, expected in (("u-1", ["redis-0"]), ("u-2", [])):
        newest = change(snapshot.children[key], newest="2", owner_uid=owner)
        look = change(snapshot, pods=old, children=snapshot.children | {key: newest})
        _, asked = played([look])
        assert [r.pod.name for r in asked if isinstance(r, Restart)] == expected
        assert [r.reason for r in asked if isinstance(r, Restart)] == ["Superseded"] * len(expected)


def test_a_pass_comes_again_while_it_waits_for_somebody_who_says_nothing() -> None:
    """Pods that take up new keys, a Secret that is put back, a device that comes free."""
    secret = ("Secret", "desk-1-curve")
    spec = {"messaging": {"credentialsGeneration": 2}}
    rest = at_rest(status={})
    turning = msgspec.structs.replace(rest.children[secret], credentials="2 Accepting")
    state, _ = played([at_rest(spec, children=rest.children | {secret: turning}, status={})])
    assert state.recheck_s == (rotation.AGAIN_S,)
    lacking: dict[tuple[str, str], Child] = {k: c for k, c in rest.children.items() if k != secret}
    state, asked = played([msgspec.structs.replace(rest, children=lacking)])
    assert state.recheck_s == (rotation.MENDED_S,)
    assert not [r for r in asked if isinstance(r, Create)]
    free = (Node(name="gpu-a", allocatable={"nvidia.com/gpu": 1}),)
    state, _ = played([at_rest(GPU, nodes=free, status={})])
    assert state.recheck_s == (30.0,)


def test_news_follow_the_status_and_hold_up_nothing() -> None:
    """One Event for each; one that is refused is not worth another pass."""
    lost = at_rest(statusz=None, status=at_rest().status)
    down = {
        k: msgspec.structs.replace(c, ready=0, rolled=True)
        for k, c in lost.children.items()
        if k[0] == "StatefulSet"
    }
    look = msgspec.structs.replace(lost, children=lost.children | down, nodes=(), now=lost.now + START_S)
    state, asked = played([look], lambda r: Failed(code=403) if isinstance(r, Tell) else Done())
    assert kinds(asked) == ["Look", "Report", "Tell"]
    assert [r.event["reason"] for r in asked if isinstance(r, Tell)] == ["RedisNotReady"]
    assert not steps.unfinished(state)


def test_a_status_that_was_not_written_is_followed_by_nothing() -> None:
    """Neither by a restart nor by news; the pass is repeated."""
    snapshot = at_rest(pods=failed_pods(), status={})
    refused = Failed(code=409)
    state, asked = played([snapshot], lambda r: refused if isinstance(r, Report) else Done())
    assert kinds(asked) == ["Look", "Report"]
    assert (state.failed, state.wrote) == (refused, False)
    assert steps.unfinished(state)


def test_a_pass_that_lost_the_lease_ends_where_it_is() -> None:
    """Whatever it had just asked for."""
    snapshot = at_rest(pods=failed_pods(), status={})
    for looks, kind in (([make_snapshot()], Apply), ([snapshot], Report), ([snapshot], Restart)):
        state, asked = played(looks, lambda r, k=kind: Stopped() if isinstance(r, k) else Done())
        assert isinstance(asked[-1], kind)
        assert (state.phase, state.stopped) == ("end", True)


def test_an_answer_to_another_question_is_an_error_of_the_caller() -> None:
    """It is never taken for an answer."""
    state, _ = steps.begin(Defaults(), 0.0)
    for wrong in (Done(), steps.Live({})):
        with pytest.raises(TypeError, match="is no answer in phase look"):
            steps.step(state, wrong)
    with pytest.raises(TypeError, match="before the first look"):
        steps.step(msgspec.structs.replace(state, phase="report"), Done())


def test_the_changes_of_a_plan_are_what_is_there_already() -> None:
    """Those of which a paused system's status names the fields."""
    new, known = Apply(manifest={}), Apply(manifest={}, uid="u")
    gone = Delete(kind="Service", namespace="n", name="x", uid="u")
    assert steps.changes((new, known, gone)) == [known]
