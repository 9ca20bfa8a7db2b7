"""Where an operator dies: at the write that its plan names, whatever else it writes, and nowhere before."""

from __future__ import annotations

from typing import Any

import pytest

from qts_operator.middleware import ApiError, Call, Point, SimulatedCrash, crashing
from qts_operator.session import Access

from .judge import Judge
from .oracles import Evidence
from .rest import Rest
from .stage import Stage, Wire
from .workloads import POINTS, Crash, Plan, Write

STATUS = "PATCH quantumtradingsystems/desk/status"


def _call(text: str, kind: str = "Any") -> Call:
    verb, _, path = text.partition(" ")
    return Call(verb=verb, path=f"/apis/x/namespaces/n/{path}", kind=kind)


def _deaths(wire: Wire, *texts: str) -> list[tuple[int, Point]]:
    """Return at which of these writes, and on which side, the operator dies."""
    return [(n, point) for n, text in enumerate(texts) for point in POINTS if wire.crash(point, _call(text))]


@pytest.mark.parametrize("point", POINTS)
def test_it_dies_once_at_the_named_write_however_many_others_come_between(point: Point) -> None:
    wire = Wire()
    wire.arm("n", Crash(Write(STATUS, 2), point))
    assert _deaths(wire, STATUS, "PATCH services/desk-pads", STATUS, STATUS) == [(2, point)]
    assert wire.died == {"n"}


def test_writes_count_from_where_the_death_is_planned() -> None:
    """The next death counts what the next operator writes; without one it lives."""
    wire = Wire()
    wire.arm("n", None)
    assert _deaths(wire, STATUS, STATUS) == []
    wire.arm("n", Crash(Write(STATUS, 1), "sent"))
    assert _deaths(wire, STATUS) == [(0, "sent")]


def test_leases_events_and_reads_are_no_writes() -> None:
    wire = Wire()
    for call in (_call("PUT leases/a", "Lease"), _call("POST events", "Event"), _call("GET services/a")):
        wire.crash("before", call)
    assert wire.writes["n"] == []


TAKEN = "PATCH poddisruptionbudgets/desk-amos"


async def _refused(_: Call) -> Any:
    raise ApiError(409, "Conflict")


async def test_what_the_server_refuses_is_written_and_not_made() -> None:
    wire = Wire()
    with pytest.raises(ApiError):
        await crashing(wire.crash)(_call(TAKEN), _refused)
    _deaths(wire, STATUS)
    assert wire.writes["n"] == [TAKEN, STATUS]
    assert wire.made["n"] == [STATUS]


@pytest.mark.parametrize("point", POINTS)
async def test_it_dies_on_each_side_of_a_write_that_the_server_refuses(point: Point) -> None:
    """A refusal is an answer."""
    wire = Wire()
    wire.arm("n", Crash(Write(TAKEN, 1), point))
    with pytest.raises(SimulatedCrash):
        await crashing(wire.crash)(_call(TAKEN), _refused)
    assert wire.died == {"n"}


async def test_a_system_that_dies_after_its_rest_must_rest_anew(monkeypatch) -> None:
    """What is written from then on, up to the new rest, is its recovery; nothing of it is on the way to the old one."""
    access = Access(server="http://localhost:1")
    stage = Stage(access, Judge(access), ["n"], "n")
    monkeypatch.setattr(stage, "_rests", lambda *_: True)

    async def start() -> None:
        _deaths(stage.wire, STATUS)

    monkeypatch.setattr(stage, "start", start)
    seen, rests = {"n": Evidence(plan=Plan(workload="name-taken"))}, dict[str, Rest]()
    _deaths(stage.wire, STATUS)
    await stage._settle(seen, rests)
    stage.wire.arm("n", Crash(Write(TAKEN, 1), "before"))
    _deaths(stage.wire, TAKEN)
    assert seen["n"].rested_at == 1
    await stage._next_life(seen)
    await stage._settle(seen, rests)
    _deaths(stage.wire, TAKEN)
    seen["n"].writes = tuple(stage.wire.writes["n"])
    assert seen["n"].way == (STATUS, TAKEN, STATUS)
    assert seen["n"].recovery == (STATUS,)


def test_pods_are_named_without_what_is_drawn_and_one_that_is_asked_twice_is_one() -> None:
    wire = Wire()
    one, other = "DELETE pods/desk-amos-565f8d9ddf-tfm9j", "DELETE pods/desk-amos-75f4564668-zth4h"
    _deaths(wire, one, one)
    assert wire.writes["n"] == ["DELETE pods/desk-amos-…"] * 2
    assert len(wire.deleted["n"]) == 1
    _deaths(wire, other, "DELETE pods/desk-redis-0")
    assert wire.writes["n"][-1] == "DELETE pods/desk-redis-0"
    assert len(wire.deleted["n"]) == 3
