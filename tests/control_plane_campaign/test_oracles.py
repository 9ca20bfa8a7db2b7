"""Every law of the campaign sees the evidence that breaks it, and only that one; the tables hold together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from .journal import Journal, counts
from .judge import ACTORS, NAME, end_of, orphans_of, secrets_of
from .oracles import ORACLES, Evidence, Reference, broken, reference_of
from .workloads import CYCLES, WAYS, WORKLOADS, Crash, Plan, Write, longer, numbered, parsed, singles

PLAN = Plan(workload="create", crashes=(Crash(Write("PATCH a", 2), "sent"),))
ROOT = Path(__file__).parents[2]
#: a system that runs, as its conditions say it
WELL = {
    "Ready": ("True", "AllReady"),
    "Progressing": ("False", "Complete"),
    "Degraded": ("False", "Healthy"),
    "Scheduled": ("True", "Scheduled"),
    "GPUAvailable": ("True", "NotRequested"),
    "RedisReady": ("True", "Ready"),
    "MessagingReady": ("True", "AllHeard"),
    "Suspended": ("False", "NotSuspended"),
}
BEHIND = WELL | {"Ready": ("False", "AgentsNotReady")}
FAULTY = WELL | {"Ready": ("False", "NameTaken"), "Degraded": ("True", "NameTaken")}


def _told(
    rows: dict[str, tuple[str, str]] = WELL, observed: int = 1, at: str = "2026-01-01T00:00:00Z", **more: Any
) -> dict:
    conditions = [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": "",
            "lastTransitionTime": at,
            "observedGeneration": observed,
        }
        for kind, (status, reason) in rows.items()
    ]
    return {"observedGeneration": observed, "agents": "4/4", "conditions": conditions} | more


GOOD: dict[str, Any] = {
    "end": "the same",
    "counts": {"ADDED Service/desk-pads": 1},
    "rolled": {"Deployment/desk-pads": 1},
    "pods_deleted": 1,
    "statuses": [(1, _told(BEHIND)), (1, _told())],
    "rested": True,
    "seconds": 3.0,
}
REFERENCE = Reference(
    end="the same",
    writes=frozenset(),
    always=frozenset(),
    counts={"ADDED Service/desk-pads": 1},
    rolled={"Deployment/desk-pads": 1},
    pods_deleted=1,
    seconds=3.0,
)
BROKEN: tuple[tuple[str, dict[str, Any]], ...] = (
    ("O1", {"end": "another"}),
    ("O2", {"counts": {"ADDED Service/desk-pads": 2}}),
    ("O2", {"counts": {"DELETED Service/desk-pads": 1}}),
    ("O3", {"orphans": ("Service/desk-pads",)}),
    ("O4", {"after_rest": ("PATCH services/desk-pads",)}),
    ("O5", {"by_second_pass": ("PATCH services/desk-pads",)}),
    ("O9", {"faults": ("pass failed: KeyError",)}),
    ("O10", {"rolled": {"Deployment/desk-pads": 2}}),
    ("O10", {"pods_deleted": 2}),
    ("O11", {"statuses": [(1, _told(observed=2))]}),
    ("O11", {"statuses": [(2, _told() | {"observedGeneration": 2})]}),
    ("O11", {"statuses": [(1, _told(agents="3/4"))]}),
    ("O11", {"statuses": [(2, _told(observed=2)), (2, _told(BEHIND))]}),
    ("O11", {"statuses": [(1, _told()), (1, _told(at="2026-01-01T00:00:09Z"))]}),
    ("O11", {"statuses": [(1, _told()), (1, _told() | {"conditions": []})]}),
    ("O11", {"statuses": [(1, _told(WELL | {"Degraded": ("True", "NameTaken")}))]}),
    ("O11", {"statuses": [(1, _told(FAULTY))]}),
    ("O13", {"rested": False}),
    ("O13", {"seconds": 1000.0}),
    ("O13", {"seconds": 1000.0, "others_s": 909.0}),
    ("O14", {"leaks": ("ConfigMap/desk-config",)}),
)


def test_good_evidence_breaks_nothing() -> None:
    assert broken(Evidence(plan=PLAN, **GOOD), REFERENCE) == []
    slow: dict[str, Any] = {"seconds": 1000.0, "others_s": 990.0}  # as everybody else at that time
    assert broken(Evidence(plan=PLAN, **(GOOD | slow)), REFERENCE) == []


@pytest.mark.parametrize(("number", "change"), BROKEN)
def test_a_law_sees_what_breaks_it(number: str, change: dict[str, Any]) -> None:
    found = broken(Evidence(plan=PLAN, **(GOOD | change)), REFERENCE)
    assert {text.split()[0] for text in found} == {number}


def test_every_law_is_judged_or_names_what_shows_it() -> None:
    """The table has the design's fourteen; each judged one is broken above, each other names a file."""
    assert [oracle.number for oracle in ORACLES] == [f"O{n}" for n in range(1, 15)]
    judged = {oracle.number for oracle in ORACLES if oracle.judge is not None}
    assert judged == {number for number, _ in BROKEN}
    for oracle in ORACLES:
        if oracle.judge is None and oracle.shown_by.startswith("tests/"):
            assert (ROOT / oracle.shown_by).is_file()


def test_a_reference_takes_the_largest_of_its_clean_runs_and_the_writes_of_any() -> None:
    """One run may need a status write more than another; each is as clean. None counts that comes after its rest."""
    runs = [
        Evidence(
            plan=PLAN, **(GOOD | {"writes": ("PATCH a",) * 9, "rested_at": n, "counts": {f"ADDED {n}": 1}})
        )
        for n in (1, 2, 1)
    ]
    found = reference_of(runs)
    assert (found.always, found.writes) == ({("PATCH a", 1)}, {("PATCH a", 1), ("PATCH a", 2)})
    assert found.counts == {"ADDED 1": 1, "ADDED 2": 1}


def test_the_recovery_of_a_plan_is_what_came_after_its_last_death_until_it_rested() -> None:
    assert Evidence(plan=PLAN, writes=("a", "b"), rested_at=2).recovery == ()
    seen = Evidence(plan=PLAN, writes=("a", "b", "c", "d"), died=1, died_at=1, rested_at=3)
    assert (seen.way, seen.recovery) == (("a", "b", "c"), ("b", "c"))


def test_cycles_lead_from_state_to_state_through_known_workloads() -> None:
    played = [name for cycle in CYCLES for name in cycle.workloads]
    assert sorted(played) == sorted(WORKLOADS)
    assert set(WAYS.values()) <= WORKLOADS.keys()
    assert {w.actor for w in WORKLOADS.values()} - {""} == ACTORS.keys()


def test_plans_cover_each_side_of_each_write_and_read_back() -> None:
    writes = list(numbered(("PATCH a", "PATCH b", "PATCH a")))
    assert writes == [("PATCH a", 1), ("PATCH b", 1), ("PATCH a", 2)]
    plans = singles("gpu", writes)
    assert len(set(plans)) == 9
    assert len(set(longer(plans[0], ("PATCH b", "PATCH b")))) == 6
    assert all(parsed(msgspec.json.encode(plan).decode()) == plan for plan in plans)
    for wrong in ("{", '{"workload": "nothing"}', '{"workload": "gpu", "crashes": [[1, "late"]]}'):
        with pytest.raises(ValueError, match="--plan: "):
            parsed(wrong)


def _deployment(**status: int) -> dict[str, Any]:
    metadata = {"name": "desk-pads", "namespace": "n", "uid": "u-1", "resourceVersion": "1", "generation": 1}
    return {"metadata": metadata, "spec": {"replicas": 1, "template": {"a": 1}}, "status": status}


def _system(**told: Any) -> dict[str, Any]:
    metadata = {"name": NAME, "namespace": "n", "uid": "u-0", "resourceVersion": "1", "generation": 2}
    return {"metadata": metadata, "spec": {}, "status": told}


def test_the_journal_counts_creations_once() -> None:
    journal = Journal()
    first = _deployment()
    rolled = msgspec.json.decode(msgspec.json.encode(first))
    rolled["metadata"]["resourceVersion"], rolled["spec"]["template"] = "2", {"a": 2}
    for event, live in (("ADDED", first), ("ADDED", first), ("MODIFIED", rolled), ("DELETED", rolled)):
        journal.note(event, "Deployment", live)
    versions = journal.versions["n"]
    assert counts(versions) == {"ADDED Deployment/desk-pads": 1, "DELETED Deployment/desk-pads": 1}
    assert journal.live["n"] == {}


def test_the_end_state_masks_what_no_two_runs_share_and_nothing_else() -> None:
    """Another uid, namespace or node is the same end; another spec or another restart is not."""

    def end(namespace: str, uid: str, *, replicas: int = 1, restarts: int = 3, before: int = 3) -> str:
        child = _deployment()
        child["metadata"] |= {"namespace": namespace, "uid": uid}
        child["spec"]["replicas"] = replicas
        agent = {"name": "amos", "restarts": restarts}
        told = _told(observed=2) | {"agentStatuses": [agent]}
        told["conditions"][0]["message"] = f"in {namespace} on fake-{uid}"
        live = {f"QuantumTradingSystem/{NAME}": _system(**told), "Deployment/desk-pads": child}
        return end_of(namespace, live, {"amos": before})

    assert end("n-1", "1") == end("n-2", "2")
    assert end("n-1", "1", restarts=4) == end("n-1", "1", restarts=1, before=0)
    assert end("n-1", "1") != end("n-1", "1", replicas=2)
    assert end("n-1", "1") != end("n-1", "1", restarts=4)


def test_orphans_and_secret_values_are_found() -> None:
    owned = _deployment()
    owned["metadata"]["ownerReferences"] = [{"uid": "u-0"}]
    live = {f"QuantumTradingSystem/{NAME}": _system(), "Deployment/desk-pads": owned}
    assert orphans_of(live) == []
    assert orphans_of({"Deployment/desk-pads": owned}) == ["Deployment/desk-pads"]
    secret = {"data": {"a.key": "c2VjcmV0LXNlY3JldC1zZWNyZXQ=", "a.pub": "cHVibGljLXB1YmxpYy1wdWJsaWM="}}
    assert secrets_of({"Secret/desk-curve": secret}) == ["secret-secret-secret"]
