"""What is remembered is what the function would say, and no more than LIMIT of it."""

from __future__ import annotations

import msgspec
import pytest

from qts_operator import memo, objects
from qts_operator.objects import desired
from qts_operator.plan import due, plan, wants
from qts_operator.snapshot import Child


class Point(msgspec.Struct, frozen=True):
    """Two numbers."""

    x: int
    y: int = 0


@pytest.fixture
def counted():
    """Return a remembered function and the list of what it was asked."""
    asked: list[Point] = []

    @memo.remembered
    def double(point: Point) -> int:
        asked.append(point)
        return 2 * point.x

    return double, asked


def test_equal_values_are_asked_once_and_others_each(counted) -> None:
    double, asked = counted
    assert [double(Point(1)), double(Point(1)), double(Point(2))] == [2, 2, 4]
    assert asked == [Point(1), Point(2)]


def test_an_error_is_not_remembered() -> None:
    tries = []

    @memo.remembered
    def fails(number: int) -> int:
        tries.append(number)
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError):
            fails(1)
    assert tries == [1, 1]


def test_the_longest_unused_goes_first(counted, monkeypatch) -> None:
    double, asked = counted
    monkeypatch.setattr(memo, "LIMIT", 2)
    for x in (1, 2, 1, 3, 1, 2):
        double(Point(x))
    assert [p.x for p in asked] == [1, 2, 3, 2]


def test_what_is_fleeting_is_let_go_and_all_else_stays(counted) -> None:
    double, asked = counted
    passing: list[int] = []
    fleeting = memo.remembered(lambda x: passing.append(x) or [x], fleeting=True)
    for _ in range(2):
        assert (double(Point(1)), fleeting(1)) == (2, [1])
    memo.let_go()
    assert (double(Point(1)), fleeting(1)) == (2, [1])
    assert (len(asked), passing) == (1, [1, 1])


def test_recent_results_are_never_more_than_the_limit() -> None:
    """Who is asked for in every other step is never forgotten, however many come between."""
    recent: memo.Recent[int] = memo.Recent(10)
    recent.put(b"often", -1)
    for number in range(100):
        recent.put(b"%d" % number, number)
        assert recent.get(b"%d" % number) == number
        assert recent.get(b"often") == -1
        assert len(recent) <= 11
    assert recent.get(b"0") is None
    recent.clear()
    assert recent.get(b"often") is None


def _observed(frame) -> dict[tuple[str, str], Child]:
    return {
        (w.kind, w.name): Child(
            kind=w.kind, namespace="n", name=w.name, uid="x", version="1", owner_uid=frame.uid,
            digest=w.digest, credentials=w.credentials,
        )
        for w in wants(frame)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "open_"),
    [
        ({}, False),
        ({"digest": "another"}, True),
        ({"owner_uid": "another"}, True),
        ({"deleting": True}, True),
        ({"credentials": "2 Accepting"}, False),  # what stands on a Deployment says nothing
    ],
)
def test_nothing_is_rendered_exactly_when_the_plan_is_empty(frame_of, change, open_) -> None:
    """The short way of a pass at rest and the plan say the same."""
    frame = frame_of()
    observed = _observed(frame)
    key = ("Deployment", "desk-1-amos")
    observed[key] = msgspec.structs.replace(observed[key], **change)
    assert bool(due(frame, observed, {})) is open_
    assert due(frame, observed, {}) == plan(desired(frame), observed, frame.uid)


def test_a_missing_object_a_stray_and_a_stage_are_seen(frame_of) -> None:
    frame = frame_of()
    whole = _observed(frame)
    assert due(frame, whole, {}) == []
    missing = {k: v for k, v in whole.items() if k != ("Service", "desk-1-amos")}
    stray = whole | {("Service", "old"): msgspec.structs.replace(whole["Service", "desk-1-amos"], name="old")}
    curve = ("Secret", "desk-1-curve")
    staged = whole | {curve: msgspec.structs.replace(whole[curve], credentials="7 Using")}
    for observed in (missing, stray, staged):
        told = due(frame, observed, {})
        assert len(told) == 1
        assert told == plan(desired(frame), observed, frame.uid)


def test_a_limit_of_its_own_and_large_values_that_differ_late() -> None:
    asked = []
    half = memo.remembered(lambda text: asked.append(text[-1]) or text[-1], limit=1)
    large = "x" * 100_000
    assert [half(large + end) for end in "aabba"] == list("aabba")
    assert asked == list("aba")


def test_a_change_renders_every_object_once(frame_of, monkeypatch) -> None:
    """Its digest, the plan and the manifests to send come from one rendering."""
    built: list[str] = []

    def counting(build):
        return lambda frame: built.append(build.__module__) or build(frame)

    monkeypatch.setattr(objects, "BUILDERS", tuple(counting(build) for build in objects.BUILDERS))
    frame = frame_of()
    assert len(due(frame, {}, {})) == len(desired(frame)) > 0
    assert sorted(set(built)) == sorted(built[: len(built) // 2])  # once by the plan, once by this test
