"""When a system rests, what ends a rest, what counts as a roll-out, and who plays which plan next."""

from __future__ import annotations

from collections import deque
from copy import deepcopy
from typing import Any

from qts_core import names
from qts_operator.view import View

from .campaign import next_tour
from .journal import Journal, roll_outs
from .judge import NAME
from .rest import Asked, at_rest, caught_up, excused
from .workloads import Cycle, Plan

KIND = names.KIND
DONE = {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1}


def _object(kind: str, name: str, version: int = 1, **more: Any) -> dict[str, Any]:
    labels = {names.LABEL_SYSTEM: NAME, names.LABEL_MANAGED_BY: names.MANAGED_BY}
    metadata = {"name": name, "namespace": "n", "uid": f"u-{kind}-{name}", "labels": labels, "generation": 1}
    return {"kind": kind, "metadata": metadata | {"resourceVersion": str(version)}} | more


def _workload(
    version: int = 1, template: int = 1, kind: str = "StatefulSet", **status: int
) -> dict[str, Any]:
    spec = {"replicas": 1, "template": {"a": template}}
    return _object(kind, "desk-redis", version, spec=spec, status=DONE | status)


def _system(observed: int = 1, progressing: str = "False", version: int = 1) -> dict[str, Any]:
    conditions = [
        {"type": "Ready", "status": "True", "observedGeneration": observed},
        {"type": "Progressing", "status": progressing, "observedGeneration": observed},
    ]
    return _object(
        KIND, NAME, version, spec={}, status={"observedGeneration": observed, "conditions": conditions}
    )


def _items(*objects: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in objects}


def test_rest_needs_a_current_status_and_settled_workloads() -> None:
    assert at_rest(_items(_system(), _workload()), NAME, applied=True)
    assert not at_rest(_items(_system(), _workload(readyReplicas=0)), NAME, applied=True)
    assert not at_rest(_items(_system(), _workload(observedGeneration=0)), NAME, applied=True)
    assert not at_rest(_items(_system(observed=0)), NAME, applied=True)
    assert not at_rest(_items(_workload()), NAME, applied=True)
    assert not at_rest(
        _items(_system(), _workload(), _object("Pod", "a", status={"phase": "Failed"})), NAME, applied=True
    )
    assert at_rest(
        _items(_system(), _workload(), _object("Pod", "a", status={"phase": "Running"})), NAME, applied=True
    )
    assert at_rest({}, NAME, applied=True)
    assert not at_rest(_items(_system(progressing="True")), NAME, applied=True)
    assert at_rest(_items(_system(progressing="True")), NAME, applied=False)


def _noted(*events: tuple[str, dict[str, Any]], first: tuple[dict[str, Any], ...] = ()) -> Journal:
    journal = Journal()
    for live in first:
        journal.note("ADDED", live["kind"], live)
    journal.begin("n")
    for event, live in events:
        journal.note(event, live["kind"], live)
    return journal


def _rolled(*events: tuple[str, dict[str, Any]], first: tuple[dict[str, Any], ...] = ()) -> dict[str, int]:
    journal = _noted(*events, first=first)
    return roll_outs(journal.first["n"], journal.versions["n"])


def test_a_roll_out_is_another_template_and_not_another_status() -> None:
    """A pod whose node falls silent makes a StatefulSet say so: nobody rolled anything."""
    item, there = "StatefulSet/desk-redis", (_workload(),)
    assert _rolled(("MODIFIED", _workload(2, readyReplicas=0)), first=there) == {}
    assert _rolled(("MODIFIED", _workload(2, template=2)), first=there) == {item: 1}
    to_and_fro = (("MODIFIED", _workload(2, template=2)), ("MODIFIED", _workload(3)))
    assert _rolled(*to_and_fro, first=there) == {item: 2}
    assert _rolled(("ADDED", _workload()), ("MODIFIED", _workload(2, readyReplicas=0))) == {}
    assert _rolled(("DELETED", _workload(2)), ("ADDED", _workload(3, template=2)), first=there) == {}


def test_the_world_moves_with_pods_and_with_what_controllers_say() -> None:
    there = (_workload(), _object("Pod", "desk-redis-0"), _object("Service", "desk-redis"))
    ours = [_workload(2, template=2), _object("Service", "desk-redis", 2), _system(version=2)]
    assert (
        _noted(*(("MODIFIED", live) for live in ours), first=there).moves["n"] == 1
    )  # the pod, when it was made
    theirs = [_workload(2, readyReplicas=0), _object("Pod", "desk-redis-0", 2)]
    assert _noted(*(("MODIFIED", live) for live in theirs), first=there).moves["n"] == 3


def test_only_a_status_may_follow_a_world_that_moves() -> None:
    assert excused(f"PATCH quantumtradingsystems/{NAME}/status")
    assert not excused("PATCH statefulsets/desk-redis")
    assert not excused("DELETE pods/desk-amos-1")


def test_what_was_asked_for_is_shown_at_its_version_or_was_there_for_a_moment() -> None:
    pod = _object("Pod", "desk-amos-1", 5)
    asked, gone = (
        Asked("Pod/desk-amos-1", pod["metadata"]["uid"], 5),
        Asked("Pod/desk-amos-1", "u-Pod-desk-amos-1", None),
    )
    older = _object("Pod", "desk-amos-1", 4)
    assert asked.shown(_items(pod), ())
    assert not asked.shown(_items(older), ())
    assert not asked.shown({}, ())
    assert asked.shown({}, _noted(("DELETED", pod), first=(older,)).versions["n"])
    assert not gone.shown(_items(pod), ())
    assert gone.shown({}, _noted(("DELETED", pod), first=(older,)).versions["n"])


def test_an_engine_has_caught_up_when_it_knows_what_the_journal_knows() -> None:
    view = View(lambda _: None)
    view.sink_systems().put(_system())
    view.sink_children("StatefulSet").put(_workload())
    view.sink_pods().put(_object("Pod", "desk-redis-0"))
    live = _items(_system(), _workload(), _object("Pod", "desk-redis-0"))
    assert caught_up(view, "n", NAME, live)
    assert caught_up(view, "n", NAME, live | _items(_object("Secret", "desk-curve")))  # never watched
    for newer in (_system(version=2), _workload(2), _object("Pod", "desk-redis-0", 2)):
        assert not caught_up(view, "n", NAME, live | _items(newer))
    another = deepcopy(_workload())
    another["metadata"]["uid"] = "u-another"
    assert not caught_up(view, "n", NAME, live | _items(another))
    assert not caught_up(
        view, "n", NAME, _items(_system(), _workload())
    )  # the journal knows that the pod is gone
    assert not caught_up(view, "n", NAME, live | _items(_object("Service", "desk-redis")))


def test_a_system_goes_where_the_largest_share_of_plans_waits() -> None:
    """Plans that somebody is on the way to are not counted twice; nothing to do is no tour."""
    cycles = [Cycle("suspended", ("a", "back")), Cycle("suspended", ("b",))]
    whole = {"a": 8, "back": 8, "b": 2}

    def tour(*ahead: list[str], **counts: int) -> list[str]:
        todo = {n: deque([Plan(workload=n)] * counts.get(n, 0)) for n in whole}
        return next_tour(cycles, todo, list(ahead), whole)

    assert tour(a=8, b=1) == ["a", "back"]
    assert tour(a=7, b=2) == ["b"]
    assert tour(back=7, b=1) == ["a", "back"]
    assert tour(["back"], ["back"], back=2, b=1) == ["b"]
    assert tour(["back"], ["back"], back=2) == []
