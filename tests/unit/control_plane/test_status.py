"""The status: what is true, what is not, and that nothing is claimed too early."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.control_plane.systems import DONE, HEARD, children_of, pods_of

from qts_core.roster import ROSTER
from qts_operator import writes
from qts_operator.objects import desired
from qts_operator.objects.frame import Defaults
from qts_operator.plan import plan
from qts_operator.resolve import resolve
from qts_operator.snapshot import Finding
from qts_operator.status import Facts, build, differs


def _facts(snapshot_of, spec=None, state=DONE, statusz=HEARD, changes=None, **more):
    frame, verdicts = resolve(snapshot_of(spec), Defaults())
    snapshot = snapshot_of(
        spec,
        children=children_of(frame, **(changes or {})),
        pods=more.pop("pods", pods_of(frame)),
        statusz=statusz,
        **more.pop("snapshot", {}),
    )
    return Facts(snapshot=snapshot, frame=frame, verdicts=verdicts, state=state, **more)


def _told(status):
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


def test_a_healthy_system_is_ready(snapshot_of) -> None:
    """All true conditions are true, counters are full, the generation is observed."""
    status = build(_facts(snapshot_of))
    assert _told(status) == {
        "Ready": ("True", "AllReady"),
        "Progressing": ("False", "Complete"),
        "Degraded": ("False", "Healthy"),
        "Scheduled": ("True", "Scheduled"),
        "GPUAvailable": ("True", "NotRequested"),
        "RedisReady": ("True", "Ready"),
        "MessagingReady": ("True", "AllHeard"),
        "Suspended": ("False", "NotSuspended"),
    }
    assert (status["agents"], status["gpus"], status["observedGeneration"]) == ("4/4", "0/0", 1)
    assert {c["observedGeneration"] for c in status["conditions"]} == {1}


@pytest.mark.parametrize(
    "change",
    [
        {"quasar": {"available": 0}},
        {"quasar": {"updated": 0}},
        {"quasar": {"observed": 0}},
        {"quasar": {"replicas": 0}},
    ],
)
def test_one_agent_behind_is_not_ready(snapshot_of, change) -> None:
    """An agent counts only when its newest template is seen, rolled out and available."""
    status = build(_facts(snapshot_of, changes=change))
    assert _told(status)["Ready"] == ("False", "StartingUp")
    assert status["agents"] == "3/4"
    assert _told(status)["Progressing"][0] == "True"


def test_the_feed_is_needed_and_not_counted(snapshot_of) -> None:
    """Without the feed the system is not ready, yet 4/4 agents are."""
    status = build(_facts(snapshot_of, changes={"market": {"available": 0}}))
    assert _told(status)["Ready"] == ("False", "StartingUp")
    assert status["agents"] == "4/4"


def test_an_unwritten_generation_is_never_observed(snapshot_of) -> None:
    """A failed, stale or waiting pass keeps the former generation and cannot be Ready."""
    planned = writes.begin(plan(desired(_facts(snapshot_of).frame), {}, "u-1"))
    for state in (
        writes.step(planned, writes.Failed(code=500)),
        writes.step(planned, writes.Failed(code=409)),
        writes.step(planned, writes.Failed(code=422, message="bad")),
    ):
        status = build(
            _facts(snapshot_of, state=state, snapshot={"generation": 2, "status": {"observedGeneration": 1}})
        )
        assert status["observedGeneration"] == 1
        assert _told(status)["Ready"][0] == "False"


def test_a_refused_object_degrades_with_its_message(snapshot_of) -> None:
    """Reason and message of the finding are those of the conditions."""
    fault = Finding(reason="NameTaken", message="Service/desk-1-pads exists")
    status = build(_facts(snapshot_of, state=writes.State(todo=(), findings=(fault,))))
    assert _told(status)["Degraded"] == ("True", "NameTaken")
    assert _told(status)["Ready"] == ("False", "NameTaken")


def test_a_spec_that_cannot_be_read_says_so(snapshot_of) -> None:
    """Without a frame only the fault is known; everything else is Unknown."""
    fault = Finding(reason="SpecRejected", message="spec: x")
    snapshot = snapshot_of(blocked=(fault,))
    status = build(Facts(snapshot=snapshot, frame=None, verdicts={}, state=DONE))
    assert _told(status)["Degraded"] == ("True", "SpecRejected")
    assert _told(status)["RedisReady"][0] == "Unknown"
    assert "observedGeneration" not in status


@pytest.mark.parametrize(
    ("peers", "expected"),
    [
        ({"state": "alive", "age_s": 16.0}, ("False", "PeersSilent")),
        ({"state": "suspect", "age_s": 3.0}, ("False", "PeersSilent")),
        ({"state": "alive", "age_s": None}, ("False", "PeersSilent")),
        ({"state": "alive", "age_s": 3.0}, ("True", "AllHeard")),
    ],
)
def test_messaging_is_what_pads_hears(snapshot_of, peers, expected) -> None:
    """A silent agent makes messaging false and the system not ready."""
    told = msgspec.structs.replace(HEARD, peers=HEARD.peers | {"quasar": peers})
    status = build(_facts(snapshot_of, statusz=told))
    assert _told(status)["MessagingReady"] == expected
    assert _told(status)["Ready"][0] == expected[0]


def test_pads_out_of_reach_is_unknown_and_blocks_nothing(snapshot_of) -> None:
    """What cannot be asked is not called broken."""
    status = build(_facts(snapshot_of, statusz=None))
    assert _told(status)["MessagingReady"] == ("Unknown", "StatusUnreachable")
    assert _told(status)["Ready"][0] == "True"


def test_external_redis_is_what_pads_reaches(snapshot_of) -> None:
    """Without a Redis of ours, PADS says whether it is there."""
    spec = {"redis": {"mode": "External", "url": "redis://cache"}}
    away = msgspec.structs.replace(HEARD, redis_reached=False)
    assert _told(build(_facts(snapshot_of, spec)))["RedisReady"] == ("True", "Reached")
    status = build(_facts(snapshot_of, spec, statusz=away))
    assert _told(status)["Ready"] == ("False", "RedisNotReady")


@pytest.mark.parametrize("without", [(), ("quasar",), ("pads", "qbmia", "market")])
def test_an_external_redis_with_shared_logins_is_said_to_prove_nothing(snapshot_of, without) -> None:
    """The condition names who has no login of its own, as PADS hears it from each."""
    held = {w.wire: {} if w.wire in without else {"redis": 1} for w in ROSTER}
    peers = {name: {"age_s": 1.0, "state": "alive", "credentials": held[name]} for name in held}
    told = msgspec.structs.replace(HEARD, peers=peers, credentials=held["pads"])
    status = build(_facts(snapshot_of, {"redis": {"mode": "External", "url": "redis://cache"}}, statusz=told))
    (condition,) = [c for c in status["conditions"] if c["type"] == "RedisReady"]
    words = f"; it does not prove who speaks where one login is shared: {', '.join(without)}"
    assert condition["message"] == "PADS reaches Redis" + (words if without else "")


def test_suspended_only_when_everything_has_stopped(snapshot_of) -> None:
    """Suspending until the last pod is gone."""
    spec = {"suspend": True}
    assert _told(build(_facts(snapshot_of, spec)))["Suspended"] == ("True", "Suspended")
    status = build(_facts(snapshot_of, spec, changes={"amos": {"current": 1}}))
    assert _told(status)["Suspended"] == ("False", "Suspending")
    assert _told(status)["Ready"] == ("False", "Suspended")


def test_required_without_a_device_says_why_in_ready(snapshot_of) -> None:
    """The GPU reason is in the message that `kubectl get qts -o wide` shows."""
    spec = {"agents": {"quasar": {"gpu": {"mode": "Required"}}}}
    frame, verdicts = resolve(snapshot_of(spec, nodes=()), Defaults())
    facts = _facts(snapshot_of, spec, changes={"quasar": {"available": 0, "ready": 0}})
    status = build(msgspec.structs.replace(facts, frame=frame, verdicts=verdicts))
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert ready["message"] == "quasar: NoGPUNodes: quasar needs 1 nvidia.com/gpu; none of 0 nodes offers it"
    assert _told(status)["GPUAvailable"] == ("False", "NoGPUNodes")
    assert status["gpus"] == "0/1"


def test_an_agent_that_fell_back_does_not_hide_one_that_cannot_start(snapshot_of) -> None:
    """Of two agents without a device the one that has to have it is told, whoever comes first."""
    agents = {"qbmia": {"gpu": {"mode": "Preferred"}}, "quasar": {"gpu": {"mode": "Required"}}}
    spec = {"agents": agents}
    frame, verdicts = resolve(snapshot_of(spec, nodes=()), Defaults())
    assert (verdicts["qbmia"].reason, verdicts["qbmia"].status) == ("FallbackToCPU", "False")
    for order in (verdicts, dict(reversed(verdicts.items()))):
        facts = _facts(snapshot_of, spec)
        status = build(msgspec.structs.replace(facts, frame=frame, verdicts=order))
        told = next(c for c in status["conditions"] if c["type"] == "GPUAvailable")
        assert told["reason"] == "NoGPUNodes"
        assert told["message"] == verdicts["quasar"].message


def test_times_move_only_with_the_status_of_a_condition(snapshot_of) -> None:
    """The same facts later give the same status; a transition is dated anew."""
    first = build(_facts(snapshot_of))
    later = {"now": 2e9, "status": first}
    assert differs(build(_facts(snapshot_of, snapshot=later)), first) == ""
    moved = build(_facts(snapshot_of, changes={"amos": {"available": 0}}, snapshot=later))
    assert differs(moved, first) == "conditions"
    dates = {c["type"]: c["lastTransitionTime"] for c in moved["conditions"]}
    assert dates["Ready"] == "2033-05-18T03:33:20Z"
    assert dates["RedisReady"] == "2001-09-09T01:46:40Z"


def test_numbers_alone_are_counters(snapshot_of) -> None:
    """A moved count without a moved condition may wait."""
    first = build(_facts(snapshot_of))
    second = first | {"agents": "3/4"}
    assert differs(second, first) == "counters"
