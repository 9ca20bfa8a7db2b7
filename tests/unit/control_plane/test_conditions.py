"""CONDITIONS: every status that a pass can write is in the table and follows from the one before."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.control_plane.conftest import make_snapshot
from tests.unit.control_plane.systems import GPU, HEARD, OUTSIDE, SECRETS, children_of, pods_of
from tests.unit.control_plane.test_runbooks import reasons

from qts_core.errors import ConfigError
from qts_core.roster import VOTERS
from qts_operator import writes
from qts_operator.conditions import CONDITIONS, broken
from qts_operator.objects.frame import Defaults
from qts_operator.resolve import resolve
from qts_operator.snapshot import Finding
from qts_operator.status import Facts, build

SPECS: list[dict[str, Any]] = [
    {},
    GPU,
    {"agents": {"quasar": {"gpu": {"mode": "Preferred"}}}},
    {"suspend": True},
    {"startup": "AllOrNothing"} | GPU,
    OUTSIDE,
    {"config": {"autoRestartFailed": False}},
    {"agents": {"amos": {"enabled": False}}},
]
STATES = [
    writes.begin([]),
    writes.State(todo=(), stale=True),
    writes.State(todo=(), unwell="no answer"),
    writes.State(todo=(), findings=(Finding(reason="NameTaken", message="x"),)),
    writes.State(todo=(), findings=(Finding(reason="QuotaExceeded", message="x", condition="Scheduled"),)),
]
MUTE = msgspec.structs.replace(HEARD, peers={VOTERS[0].wire: {"age_s": 40.0, "state": "dead"}})
STRAY = msgspec.structs.replace(HEARD, redis_reached=False, bus_mode="simulated")
REFUSING = [
    msgspec.structs.replace(HEARD, redis_refuses=dict.fromkeys(kinds, "OOM"))
    for kinds in (("memory", "disk"), ("password",), ("rights", "memory"))
]
#: what a look may find: (spec, state of the writes, what PADS says, what is wrong with the pods, blocked, plan)
LOOKS = st.tuples(
    st.sampled_from(SPECS),
    st.sampled_from(STATES),
    st.sampled_from([None, HEARD, MUTE, STRAY, *REFUSING]),
    st.sampled_from(["", "unready", "stuck", "gone", "no node", "zero", "exited", "refused"]),
    st.sampled_from(["", "AccessDenied", "CRDOutdated", "unreadable"]),
    st.sampled_from(["", "five restarts"]),
)
CHANGES: dict[str, dict[str, Any]] = {
    "unready": {"ready": 0, "available": 0},
    "stuck": {"stuck": True, "updated": 0},
    "refused": {"failure": "no such class", "failing_since": 1e9, "updated": 0},
    "zero": {"replicas": 0, "current": 0, "ready": 0, "updated": 0, "available": 0},
}


def told(look: Any, status: dict[str, Any], generation: int, now: float) -> dict[str, Any]:
    """Return the status that one look leads to."""
    spec, state, statusz, pods, blocked, exhausted = look
    faults = (Finding(reason=blocked, message="x"),) if blocked in ("AccessDenied", "CRDOutdated") else ()
    frame = resolve(make_snapshot(spec), Defaults())[0]
    changed = dict.fromkeys((w.name for w in frame.workloads()), CHANGES.get(pods, {}))
    seen = [] if pods == "gone" else list(pods_of(frame))
    if pods == "no node":
        seen[0] = msgspec.structs.replace(seen[0], node="", ready=False, unschedulable="0/1 nodes. more")
    if pods == "exited":
        seen[0] = msgspec.structs.replace(seen[0], exited=True)
    snapshot = make_snapshot(
        spec,
        children={} if pods == "gone" else children_of(frame, **changed) | SECRETS,
        pods=tuple(seen),
        statusz=statusz,
        blocked=faults,
        status=status,
        generation=generation,
        now=now,
        nodes=(),
    )
    if blocked == "unreadable":
        bad = msgspec.structs.replace(snapshot, blocked=(Finding(reason="SpecRejected", message="x"),))
        return build(Facts(snapshot=bad, frame=None, verdicts={}, state=writes.begin([])))
    try:
        frame, verdicts = resolve(snapshot, Defaults())
    except ConfigError:
        raise AssertionError("every spec of this test can be read") from None
    facts = Facts(snapshot=snapshot, frame=frame, verdicts=verdicts, state=state, exhausted=exhausted)
    return build(facts)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(LOOKS, st.integers(0, 1), st.integers(0, 90)), min_size=1, max_size=6))
def test_whatever_is_seen_the_status_is_in_the_table_and_follows(chain: Any) -> None:
    """A chain of looks, each on the status that the one before left."""
    status: dict[str, Any] = {}
    generation, now = 1, 1e9
    for look, newer, later_s in chain:
        generation, now = generation + newer, now + later_s
        after = told(look, status, generation, now)
        assert broken(status, after) == []
        status = after


def test_the_table_has_no_row_that_nothing_writes() -> None:
    """Of reasons of two words, which the source can be searched for."""
    rows = {r for k in CONDITIONS.values() for r in (*k.true, *k.false, *k.unknown)}
    assert {r for r in rows if sum(c.isupper() for c in r) > 1} - reasons() - {"QuotaExceeded"} == set()


def good() -> dict[str, Any]:
    """Return a status in which everything is well."""
    status = told((SPECS[0], STATES[0], HEARD, "", "", ""), {}, 2, 1e9)
    assert {c["type"]: c["status"] for c in status["conditions"]}["Ready"] == "True"
    return status


def _set(kind: str, **fields: Any) -> Any:
    def change(status: dict[str, Any]) -> None:
        next(c for c in status["conditions"] if c["type"] == kind).update(fields)

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_set("Ready", reason="Because"), "not in the table"),
        (_set("Ready", status="Unknown"), "not in the table"),
        (_set("Scheduled", lastTransitionTime="2030-01-01T00:00:00Z"), "dated anew"),
        (_set("Scheduled", observedGeneration=1), "older generation"),
        (_set("Suspended", status="True", reason="Suspended"), "Ready though suspended"),
        (_set("RedisReady", status="False", reason="StartingUp"), "Ready without Redis"),
        (_set("MessagingReady", status="False", reason="PeersSilent"), "peers are silent"),
        (_set("Degraded", status="True", reason="NameTaken"), "a person is needed"),
        (_set("Ready", status="False", reason="NameTaken"), "Degraded does not name"),
        (
            _set(
                "GPUAvailable",
                status="False",
                reason="FallbackToCPU",
                lastTransitionTime="2000-01-01T00:00:00Z",
            ),
            "before it last changed",
        ),
        (lambda s: s.update(observedGeneration=1), "went back"),
        (lambda s: s["conditions"].pop(), "conditions ["),
        (lambda s: s["conditions"].reverse(), "conditions ["),
    ],
)
def test_each_law_finds_its_break(change: Any, fault: str) -> None:
    """A law that nothing can break says nothing."""
    before, after = good(), copy.deepcopy(good())
    change(after)
    assert any(fault in text for text in broken(before, after)), broken(before, after)
