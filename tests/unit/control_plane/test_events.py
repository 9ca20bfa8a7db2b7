"""Events: what happens again counts on the first one; whatever cannot be continued is a new one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.loops import until
from tests.unit.control_plane.engines import NAME, NS, condition, running

from qts_core import names
from qts_operator import writes
from qts_operator.events import LIMIT, WITHIN_S, Series, transitions
from qts_operator.middleware import ApiError
from qts_operator.plan import Delete
from qts_operator.testing import FakeCluster

GPU = {"agents": {"quasar": {"gpu": {"mode": "Required"}}}}
NONE: dict[str, Any] = {"agents": {}}


def event(note: str = "x", uid: str = "u") -> dict[str, Any]:
    return {"regarding": {"uid": uid}, "type": "Warning", "reason": "NoGPUNodes", "note": note}


def answer(count: int = 1) -> dict[str, Any]:
    told: dict[str, Any] = {"metadata": {"name": "desk-1.x", "resourceVersion": str(count)}}
    return told | ({"series": {"count": count}} if count > 1 else {})


def test_the_same_news_continues_and_other_news_does_not() -> None:
    """Resource, type, reason and note are what must agree: the server lets no other field change."""
    series = Series()
    assert series.of(event(), 0.0) is None
    series.written(event(), answer(), 0.0)
    known = series.of(event(), 1.0)
    assert known is not None
    assert series.next(known, 1.0)["series"]["count"] == 2
    series.written(event(), answer(2), 1.0)
    again = series.of(event(), 2.0)
    assert again is not None
    assert (series.next(again, 2.0)["series"]["count"], again.version) == (3, "2")
    assert series.of(event(note="y"), 2.0) is None
    assert series.of(event(uid="v"), 2.0) is None


def test_a_series_ends_after_ten_minutes_of_silence_and_the_memory_is_bounded() -> None:
    """Counted from when it last happened."""
    series = Series()
    series.written(event(), answer(), 0.0)
    series.written(event(), answer(2), 500.0)
    assert series.of(event(), 500.0 + WITHIN_S - 1.0) is not None
    assert series.of(event(), 500.0 + WITHIN_S) is None
    for number in range(LIMIT):
        assert series.of(event(), 502.0) is not None
        series.written(event(uid=f"v{number}"), answer(), 501.0)
    assert series.of(event(), 502.0) is None


def test_what_went_on_last_is_kept_longest() -> None:
    """An old Event that continues is younger than a new one that does not."""
    series = Series()
    series.written(event(), answer(), 0.0)
    for number in range(LIMIT - 1):
        series.written(event(uid=f"v{number}"), answer(), 1.0)
    series.written(event(), answer(2), 2.0)
    series.written(event(uid="new"), answer(), 3.0)
    assert series.of(event(), 4.0) is not None
    assert series.of(event(uid="v0"), 4.0) is None


def test_an_event_that_is_gone_is_not_continued() -> None:
    """And one that was never known cannot be lost."""
    series = Series()
    series.lost(event())
    series.written(event(), answer(), 0.0)
    series.lost(event(note="y"))
    assert series.of(event(), 1.0) is not None
    series.lost(event())
    assert series.of(event(), 1.0) is None


def told(api: FakeCluster) -> list[tuple[str, int]]:
    """Return reason and count of the Events about a missing device."""
    found = [live for (kind, _, _), live in api.objects.items() if kind == "Event"]
    return [
        (e["reason"], (e.get("series") or {}).get("count", 1)) for e in found if e["reason"] == "NoGPUNodes"
    ]


async def flap(api: FakeCluster) -> None:
    """Ask for a device that nobody has, and no more."""
    api.system(NS, NAME, GPU)
    await until(lambda: condition(api, "GPUAvailable")[1] == "NoGPUNodes")
    api.system(NS, NAME, NONE)
    await until(lambda: condition(api, "GPUAvailable")[1] == "NotRequested")


async def test_what_happens_three_times_is_one_event_of_three() -> None:
    """Between them the condition was good again, so each is news."""
    api = FakeCluster()
    api.system(NS, NAME, NONE)
    async with running(api):
        for _ in range(3):
            await flap(api)
        await until(lambda: told(api) == [("NoGPUNodes", 3)])


@pytest.mark.parametrize("code", [404, 409])
async def test_an_event_that_cannot_be_continued_is_written_anew(code: int) -> None:
    """It has expired, or somebody changed it."""
    api = FakeCluster()
    api.system(NS, NAME, NONE)

    def fault(verb: str, kind: str, _: str) -> None:
        if (verb, kind) == ("amend", "Event"):
            raise ApiError(code, "NotFound" if code == 404 else "Conflict")

    api.fault = fault
    async with running(api):
        for _ in range(2):
            await flap(api)
        await until(lambda: told(api) == [("NoGPUNodes", 1)] * 2)


FIELD = "terminationGracePeriodSeconds"


class Dropping(FakeCluster):
    """Keeps no such field of one Deployment, as an older schema or a webhook would."""

    async def apply(self, manifest: Any, *, uid: str | None, manager: str = names.FIELD_MANAGER) -> Any:
        if manifest["metadata"]["name"] == f"{NAME}-amos" and manifest["kind"] == "Deployment":
            manifest = copy.deepcopy(manifest)
            del manifest["spec"]["template"]["spec"][FIELD]
        return await super().apply(manifest, uid=uid, manager=manager)


async def test_a_field_that_the_server_does_not_keep_is_told_once() -> None:
    """As a warning that names it; when the object is written again, as somebody touched it, that is no news."""
    api = Dropping()
    api.system(NS, NAME, NONE)
    lost = 'qts_fields_not_kept_total{kind="Deployment"}'

    def warned() -> list[tuple[str, str, int]]:
        found = [live for (kind, _, _), live in api.objects.items() if kind == "Event"]
        found = [e for e in found if e["reason"] == "FieldsNotKept"]
        return [(e["type"], e["note"], (e.get("series") or {}).get("count", 1)) for e in found]

    async with running(api) as engine:
        await until(lambda: warned())
        api.change("Deployment", NS, f"{NAME}-amos", lambda o: o["metadata"]["labels"].update(team="x"))
        await until(lambda: f"{lost} 2.0" in engine.metrics.text().decode())
        api.settle(NS)
        await until(lambda: condition(api, "Ready")[0] == "True")
    text = f"Deployment/{NAME}-amos: the server did not keep spec.template.spec.{FIELD}; it is left so until"
    assert [(kind, note.startswith(text), count) for kind, note, count in warned()] == [("Warning", True, 1)]


def test_of_many_fields_that_are_not_kept_three_are_named() -> None:
    """And the rest is counted."""
    state = writes.State(todo=(Delete(kind="Service", namespace="n", name="x", uid="u"),))
    done = writes.Done(altered=("a", "b", "c", "d", "e"))
    assert "keep a, b, c and 2 more;" in writes.step(state, done).altered[0]
    assert writes.step(state, writes.Done()).altered == ()


def _told(kind: str, status: str, reason: str, message: str = "m") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


READY, DOWN = _told("Ready", "True", "AllReady"), _told("Ready", "False", "AgentsNotReady")
STARTS = DOWN | {"reason": "StartingUp"}


@pytest.mark.parametrize(
    ("before", "now", "news"),
    [
        (None, READY, None),
        (None, DOWN, "Warning"),  # something holds it: what merely starts has a reason of its own
        (None, STARTS, None),
        (None, DOWN | {"reason": "SpecNotApplied"}, None),
        (None, DOWN | {"reason": "Suspended"}, None),
        (None, DOWN | {"reason": "NameTaken"}, None),  # Degraded tells it
        (None, _told("Degraded", "False", "Healthy"), None),
        (None, _told("Degraded", "True", "NameTaken"), "Warning"),
        (None, _told("Progressing", "True", "Creating"), None),
        (DOWN, READY, "Normal"),
        (READY, STARTS, None),
        (STARTS, READY, "Normal"),
        (STARTS, DOWN, "Warning"),
        (None, _told("GPUAvailable", "Unknown", "Scheduling"), None),
        (_told("GPUAvailable", "True", "Allocated"), _told("GPUAvailable", "Unknown", "Scheduling"), None),
        (READY, DOWN, "Warning"),
        (READY, DOWN | {"reason": "Suspended"}, "Normal"),  # who suspends a system means it
        (DOWN, DOWN | {"message": "another"}, None),
        (DOWN, DOWN | {"reason": "RedisNotReady"}, "Warning"),
        (READY | {"status": "Unknown"}, READY, "Normal"),
        (_told("Progressing", "True", "Creating"), _told("Progressing", "False", "RolloutStuck"), None),
    ],
)
def test_a_condition_that_changed_is_news(snapshot_of, before: Any, now: Any, news: str | None) -> None:
    """By its status or its reason; a first status only where something is wrong; progress never."""
    snapshot = snapshot_of(status={"conditions": [before]} if before else {}, now=1785574800.25)
    found = transitions(snapshot, {"conditions": [now]})
    assert [(e["type"], e["reason"], e["note"]) for e in found] == (
        [(news, now["reason"], now["message"])] if news else []
    )
    assert all(e["eventTime"] == "2026-08-01T09:00:00.250000Z" for e in found)


@pytest.mark.parametrize(("paused", "kind"), [(True, "Normal"), (False, "Warning")])
def test_who_pauses_a_system_means_it(snapshot_of, paused: bool, kind: str) -> None:
    """That the newest spec is not applied is a warning of any other."""
    behind = DOWN | {"reason": "SpecNotApplied"}
    stage = _told("Progressing", "False", "Paused") if paused else _told("Progressing", "True", "RollingOut")
    found = transitions(snapshot_of(status={"conditions": [READY]}), {"conditions": [behind, stage]})
    assert [(e["type"], e["reason"]) for e in found] == [(kind, "SpecNotApplied")]


def test_an_event_says_at_least_the_reason_and_never_too_much(snapshot_of) -> None:
    """The server takes 1,024 characters; every change of one status is told, in its order."""
    long = _told("GPUAvailable", "False", "NoGPUNodes", "x" * 2000)
    silent = DOWN | {"message": ""}
    found = transitions(
        snapshot_of(status={"conditions": [READY, _told("GPUAvailable", "True", "Allocated")]}),
        {"conditions": [silent, long]},
    )
    assert [e["note"] for e in found] == ["AgentsNotReady", "x" * 1000]
    assert {e["metadata"]["generateName"] for e in found} == {"desk-1-"}
    fault = _told("Degraded", "True", "NameTaken")
    mended = _told("Degraded", "False", "Healthy", "")
    (over,) = transitions(snapshot_of(status={"conditions": [fault]}), {"conditions": [mended]})
    assert over["note"] == "nothing needs a person any more"
