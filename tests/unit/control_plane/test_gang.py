"""All-or-nothing start: who may claim devices, when it gives them back, and that two never claim at once."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qts_operator.gang import Facts, Gang, decide, fits, read
from qts_operator.objects import desired
from qts_operator.objects.frame import Defaults
from qts_operator.resolve import resolve
from qts_operator.snapshot import Need, Node, Other

GPU = "nvidia.com/gpu"
THREE = (Node(name="n1", allocatable={GPU: 2}), Node(name="n2", allocatable={GPU: 1}))
BOTH = frozenset({"n1", "n2"})


def _need(count: int = 1, agent: str = "quasar") -> Need:
    return Need(agent=agent, resource=GPU, count=count, nodes=BOTH)


def _facts(*needs: Need, **more) -> Facts:
    given = {"key": "t/b", "created": 2.0, "live": False, "placed": False, "timeout_s": 300.0, "nodes": THREE}
    used = {"n1": {}, "n2": {}} | more.pop("used", {})
    return Facts(**(given | {"needs": needs or (_need(), _need()), "used": used} | more))


def _other(**more) -> Other:
    given = {"key": "t/a", "created": 1.0, "claiming": False, "waiting": True, "needs": (_need(), _need())}
    return Other(**(given | more))


def test_it_starts_when_all_fit() -> None:
    """Two of three are free: claim; of one free: wait, and say for what."""
    assert decide(_facts(), None, 0.0).state == "Claiming"
    told = decide(_facts(used={"n1": {GPU: 2}}), None, 0.0)
    assert told.state == "Waiting"
    assert told.message == "2 nvidia.com/gpu must be free at once for an all-or-nothing start"


def test_one_system_claims_at_a_time_and_the_oldest_first() -> None:
    """A claiming system holds back all others; an older one that fits goes before."""
    told = decide(_facts(others=(_other(claiming=True, waiting=False),)), None, 0.0)
    assert told.message == "2 nvidia.com/gpu wait until t/a has started"
    assert "which is older" in decide(_facts(others=(_other(),)), None, 0.0).message
    assert decide(_facts(others=(_other(created=3.0),)), None, 0.0).state == "Claiming"
    too_large = _other(needs=tuple(_need() for _ in range(4)))
    assert decide(_facts(others=(too_large,)), None, 0.0).state == "Claiming"


def test_what_is_not_placed_in_time_is_given_back() -> None:
    """After gangTimeout all go to 0; the next try comes after a pause that doubles."""
    claiming = Gang(state="Claiming", at=100.0)
    assert decide(_facts(live=True), claiming, 400.0) == claiming
    back = decide(_facts(live=True), claiming, 401.0)
    assert (back.state, back.tries) == ("Waiting", 1)
    assert "were not placed within gangTimeout; next try at" in back.message
    assert decide(_facts(), back, 430.0).state == "Waiting"
    assert decide(_facts(), back, 431.0) == Gang(state="Claiming", at=431.0, tries=1)


def test_a_started_system_is_never_held_again() -> None:
    """A lost pod of a running system is the scheduler's business; a lost status claims nothing twice."""
    started = Gang(state="Started", at=1.0)
    assert decide(_facts(used={"n1": {GPU: 2}}), started, 9.0) == started
    assert decide(_facts(live=True, placed=True), None, 9.0).state == "Started"
    assert decide(_facts(live=True), None, 9.0).state == "Claiming"
    assert decide(Facts(**{**_as_dict(_facts()), "needs": ()}), None, 0.0) is None
    assert read({"gang": started.told()}) == started


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"state": "Claiming"},
        {"at": "1970-01-01T00:01:40Z"},
        {"state": "Lost", "at": "1970-01-01T00:01:40Z"},
        {"state": "Claiming", "at": "soon"},
    ],
)
def test_what_somebody_broke_in_the_status_counts_as_not_written(told: dict) -> None:
    """Nothing is decided from half an entry."""
    assert read({"gang": told}) is None
    assert read({"gang": {"state": "Claiming", "at": "1970-01-01T00:01:40Z"}}) == Gang(
        state="Claiming", at=100.0
    )


def test_no_system_waits_for_itself_or_for_what_will_not_start() -> None:
    """Older is earlier, and by name at the same time; one that does not wait is not waited for."""
    told = {
        name: decide(_facts(others=(_other(**more),)), None, 0.0).state
        for name, more in {
            "itself": {"key": "t/b", "created": 2.0},
            "as old, its name first": {"created": 2.0},
            "as old, its name last": {"key": "t/c", "created": 2.0},
            "older, and at rest": {"waiting": False},
        }.items()
    }
    waiting = [name for name, state in told.items() if state == "Waiting"]
    assert waiting == ["as old, its name first"]


def test_the_next_try_is_told_to_the_second_and_later_each_time() -> None:
    """30 s, then a minute, two, … after the start was given back."""
    for tries, at in ((1, "00:02:10Z"), (2, "00:02:40Z"), (3, "00:03:40Z")):
        held = decide(_facts(), Gang(state="Waiting", at=100.0, tries=tries), 101.0)
        text = f"2 nvidia.com/gpu were not placed within gangTimeout; next try at {at}"
        assert (held.message, held.held) == (text, True)


def test_tries_are_counted_until_the_system_has_started() -> None:
    """A claim that follows a failed one, and a status that lost which it was, begin no new count."""
    once = Gang(state="Claiming", at=500.0, tries=1)
    assert decide(_facts(live=True), once, 801.0).tries == 2
    assert decide(_facts(live=True), Gang(state="Waiting", at=1.0, tries=2), 800.0).tries == 2
    assert decide(_facts(live=True), None, 800.0) == Gang(state="Claiming", at=800.0)
    assert decide(_facts(placed=True), once, 801.0) == Gang(state="Started", at=801.0)


def test_different_devices_are_told_apart() -> None:
    """Each kind with its sum, and each must fit."""
    mig = Need(agent="amos", resource="nvidia.com/mig-1g.10gb", count=2, nodes=BOTH)
    told = decide(_facts(_need(2), mig, mig), None, 0.0)
    words = "2 nvidia.com/gpu and 4 nvidia.com/mig-1g.10gb"
    assert told.message == f"{words} must be free at once for an all-or-nothing start"


def _as_dict(facts: Facts) -> dict:
    return {name: getattr(facts, name) for name in facts.__struct_fields__}


def test_without_a_view_of_nodes_only_the_timeout_counts() -> None:
    """Namespaced mode."""
    assert decide(_facts(nodes=None), None, 0.0).state == "Claiming"


NEEDS = st.lists(st.integers(1, 4), min_size=1, max_size=4)


ROOM = st.lists(st.integers(0, 4), min_size=1, max_size=3)


@given(NEEDS, ROOM, ROOM, st.lists(st.sets(st.integers(0, 2), min_size=1), min_size=4, max_size=4))
def test_what_is_said_to_fit_does_fit(
    counts: list[int], room: list[int], taken: list[int], where: list[set[int]]
) -> None:
    """Against all assignments: never a claim that cannot be placed, and one pod alone is never refused."""
    used = {f"n{i}": {GPU: n} for i, n in enumerate([*taken, 0, 0, 0][: len(room)])}
    free = [max(0, n - used.get(f"n{i}", {}).get(GPU, 0)) for i, n in enumerate(room)]
    nodes = tuple(Node(name=f"n{i}", allocatable={GPU: n}) for i, n in enumerate(room))
    allowed = [{i for i in may if i < len(room)} for may in where[: len(counts)]]
    needs = [
        Need(agent="a", resource=GPU, count=c, nodes=frozenset(f"n{i}" for i in may))
        for c, may in zip(counts, allowed, strict=True)
    ]
    possible = any(
        all(sum(c for c, at in zip(counts, chosen, strict=True) if at == i) <= n for i, n in enumerate(free))
        for chosen in itertools.product(*allowed)
    )
    if fits(needs, nodes, used):
        assert possible
    if len(needs) == 1:
        assert fits(needs, nodes, used) == possible


def test_large_pods_are_placed_first_and_each_where_it_leaves_least_behind() -> None:
    """So that what fits is mostly found; a claim of devices that nobody can count never stands in the way."""
    nodes = (Node(name="n1", allocatable={GPU: 4}), Node(name="n2", allocatable={GPU: 3}))
    free: dict[str, dict[str, int]] = {"n1": {}, "n2": {}}
    assert fits([_need(1), _need(3), _need(3)], nodes, free)
    assert fits([_need(3), _need(4)], nodes, free)
    assert not fits([_need(4), _need(4)], nodes, free)
    narrow = Need(agent="b", resource=GPU, count=3, nodes=frozenset({"n1"}))
    assert fits([_need(3), narrow], nodes, free)
    claimed = Need(agent="b", resource="gpu.nvidia.com", count=9, nodes=frozenset(), counted=False)
    assert fits([claimed, _need(4)], nodes, free)
    assert not fits([_need(3), _need(4)], nodes, {"n1": {}}), "n2 was not asked for, so nobody knows"


SPEC = {
    "startup": "AllOrNothing",
    "agents": {"quasar": {"gpu": {"mode": "Required"}}, "amos": {"gpu": {"mode": "Required"}}},
}


@pytest.mark.parametrize(("free", "replicas"), [(2, 1), (1, 0)])
def test_replicas_are_all_or_nothing(snapshot_of, free: int, replicas: int) -> None:
    """Either both GPU agents are asked for or neither; the others run in any case."""
    nodes = (Node(name="n", allocatable={GPU: free}),)
    frame, verdicts = resolve(snapshot_of(SPEC, nodes=nodes, used={"n": {}}), Defaults())
    told = {
        m["metadata"]["name"].removeprefix("desk-1-"): m["spec"]["replicas"]
        for m in desired(frame)
        if m["kind"] == "Deployment"
    }
    assert (told["quasar"], told["amos"]) == (replicas, replicas)
    assert (told["pads"], told["qbmia"]) == (1, 1)
    assert verdicts["quasar"].recheck_s is not None
