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
    return Facts(**(given | {"needs": needs or (_need(), _need())} | more))


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


def _as_dict(facts: Facts) -> dict:
    return {name: getattr(facts, name) for name in facts.__struct_fields__}


def test_without_a_view_of_nodes_only_the_timeout_counts() -> None:
    """Namespaced mode."""
    assert decide(_facts(nodes=None), None, 0.0).state == "Claiming"


NEEDS = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@given(NEEDS, st.lists(st.integers(0, 4), min_size=1, max_size=3))
def test_what_is_said_to_fit_does_fit(counts: list[int], room: list[int]) -> None:
    """Against all assignments: never a claim that cannot be placed."""
    nodes = tuple(Node(name=f"n{i}", allocatable={GPU: n}) for i, n in enumerate(room))
    names = frozenset(n.name for n in nodes)
    needs = [Need(agent="a", resource=GPU, count=c, nodes=names) for c in counts]
    possible = any(
        all(
            sum(c for c, at in zip(counts, where, strict=True) if at == i) <= room[i]
            for i in range(len(room))
        )
        for where in itertools.product(range(len(room)), repeat=len(counts))
    )
    if fits(needs, nodes, {}):
        assert possible


SPEC = {
    "startup": "AllOrNothing",
    "agents": {"quasar": {"gpu": {"mode": "Required"}}, "amos": {"gpu": {"mode": "Required"}}},
}


@pytest.mark.parametrize(("free", "replicas"), [(2, 1), (1, 0)])
def test_replicas_are_all_or_nothing(snapshot_of, free: int, replicas: int) -> None:
    """Either both GPU agents are asked for or neither; the others run in any case."""
    nodes = (Node(name="n", allocatable={GPU: free}),)
    frame, verdicts = resolve(snapshot_of(SPEC, nodes=nodes), Defaults())
    told = {
        m["metadata"]["name"].removeprefix("desk-1-"): m["spec"]["replicas"]
        for m in desired(frame)
        if m["kind"] == "Deployment"
    }
    assert (told["quasar"], told["amos"]) == (replicas, replicas)
    assert (told["pads"], told["qbmia"]) == (1, 1)
    assert verdicts["quasar"].recheck_s is not None
