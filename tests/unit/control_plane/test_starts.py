"""What an all-or-nothing start looks at: another system as its place in the queue, and our own pods' needs."""

from __future__ import annotations

from typing import Any

import pytest

from qts_operator.objects.frame import Defaults
from qts_operator.resolve import resolve, spec_of
from qts_operator.snapshot import Child, Node
from qts_operator.starts import needs, other

GPU = "nvidia.com/gpu"
NODES = (Node(name="n1", allocatable={GPU: 4}), Node(name="n2", allocatable={"amd.com/gpu": 4}))
#: quasar twice with one device, amos with two; qbmia asks for none
AGENTS: dict[str, Any] = {
    "quasar": {"replicas": 2, "gpu": {"mode": "Required"}},
    "amos": {"gpu": {"mode": "Preferred", "count": 2}},
}
SPEC: dict[str, Any] = {"startup": "AllOrNothing", "agents": AGENTS}
AT = "2026-08-01T09:00:00Z"


def _deployment(name: str, replicas: int) -> Child:
    return Child(kind="Deployment", namespace="t", name=name, uid="u", version="1", replicas=replicas)


def _gang(state: str, tries: int = 0) -> dict[str, Any]:
    return {"gang": {"state": state, "at": AT, "tries": tries}}


def _other(spec: dict[str, Any], status: dict[str, Any], *live: Child) -> tuple[bool, bool]:
    told = other("t/desk", 5.0, spec_of(SPEC | spec), status, list(live), NODES)
    assert (told.key, told.created) == ("t/desk", 5.0)
    return told.claiming, told.waiting


UP, ELSE = _deployment("desk-quasar", 1), _deployment("desk-pads", 1)
DOWN = _deployment("desk-quasar", 0)


@pytest.mark.parametrize(
    ("spec", "status", "live", "claiming", "waiting"),
    [
        ({}, {}, (), False, True),
        ({}, {}, (DOWN, ELSE), False, True),  # agents without devices run in any case
        ({}, _gang("Claiming"), (UP,), True, False),
        ({}, _gang("Waiting"), (UP,), True, False),  # what it holds counts, not what it last said
        ({}, _gang("Claiming"), (DOWN,), False, True),
        ({}, _gang("Started"), (UP,), False, False),
        ({}, _gang("Started"), (DOWN,), False, False),
        ({}, _gang("Waiting", tries=1), (DOWN,), False, False),  # it gave its start back and pauses
        ({"suspend": True}, {}, (DOWN,), False, False),
        ({"paused": True}, {}, (DOWN,), False, False),
        ({"paused": True}, {}, (UP,), True, False),
    ],
)
def test_a_system_claims_waits_or_is_in_nobodys_way(
    spec: dict[str, Any], status: dict[str, Any], live: tuple[Child, ...], claiming: bool, waiting: bool
) -> None:
    assert _other(spec, status, *live) == (claiming, waiting)


@pytest.mark.parametrize(
    ("agents", "status", "asking"),
    [
        ({}, {}, ["quasar", "quasar", "amos"]),
        ({"amos": AGENTS["amos"] | {"enabled": False}}, {}, ["quasar", "quasar"]),
        ({"quasar": {"gpu": {"mode": "None"}}}, {}, ["amos"]),
        ({}, {"agentStatuses": [{"name": "amos", "placement": "CPU"}]}, ["quasar", "quasar"]),
        ({}, {"agentStatuses": [{"name": "amos", "placement": "GPU"}]}, ["quasar", "quasar", "amos"]),
    ],
)
def test_only_agents_that_may_hold_a_device_count(
    agents: dict[str, Any], status: dict[str, Any], asking: list[str]
) -> None:
    """Not those that are off, ask for none, or fell back to the CPU: neither their needs nor their pods."""
    spec = spec_of(SPEC | {"agents": AGENTS | agents})
    told = other("t/desk", 5.0, spec, status, [_deployment("desk-amos", 1)], NODES)
    assert [n.agent for n in told.needs] == asking
    assert told.claiming == ("amos" in asking)


def test_a_need_is_one_pod_and_knows_where_it_may_go() -> None:
    """Claims are for the scheduler to count, and without a view of nodes nobody counts."""
    spec = spec_of({"agents": AGENTS | {"qbmia": {"gpu": {"mode": "Required", "deviceClassName": "c"}}}})
    told = needs(spec, ["quasar", "amos", "qbmia"], NODES)
    assert [(n.agent, n.resource, n.count, sorted(n.nodes), n.counted) for n in told] == [
        ("quasar", GPU, 1, ["n1"], True),
        ("quasar", GPU, 1, ["n1"], True),
        ("amos", GPU, 2, ["n1"], True),
        ("qbmia", "c", 1, [], False),
    ]
    assert [(n.counted, n.nodes) for n in needs(spec, ["amos"], None)] == [(False, frozenset())]


ROOM = (Node(name="n1", allocatable={GPU: 4}),)
FULL = {"n1": {GPU: 4}}


def _held(snapshot_of, spec: dict[str, Any], **more: Any) -> tuple[dict[str, int], str]:
    given = {"nodes": ROOM, "used": {"n1": {}}} | more
    frame, _ = resolve(snapshot_of(SPEC | spec, **given), Defaults())
    return dict(frame.caps), frame.gang.state if frame.gang is not None else ""


def test_agents_are_held_at_zero_while_the_start_waits(snapshot_of) -> None:
    """Only those with devices, only where it is asked for, and not while the system is suspended."""
    assert _held(snapshot_of, {}, used=FULL) == ({"quasar": 0, "amos": 0}, "Waiting")
    assert _held(snapshot_of, {}) == ({}, "Claiming")
    assert _held(snapshot_of, {"startup": "Independent"}, used=FULL) == ({}, "")
    assert _held(snapshot_of, {"suspend": True}, used=FULL) == ({}, "")
    assert _held(snapshot_of, {"agents": {}}, used=FULL) == ({}, "")


def _live(**replicas: int) -> dict[tuple[str, str], Child]:
    return {("Deployment", f"desk-1-{n}"): _deployment(f"desk-1-{n}", r) for n, r in replicas.items()}


def test_what_runs_already_claims(snapshot_of) -> None:
    """One GPU agent with replicas is enough; others' are not, and 0 are none."""
    assert _held(snapshot_of, {}, used=FULL, children=_live(amos=1))[1] == "Claiming"
    assert _held(snapshot_of, {}, used=FULL, children=_live(amos=0, quasar=0, pads=1))[1] == "Waiting"


@pytest.mark.parametrize(
    ("state", "later_s", "recheck_s"),
    [("Waiting", 0.0, 5.0), ("Claiming", 0.0, 301.0), ("Claiming", 100.0, 201.0), ("Claiming", 300.95, 0.1)],
)
def test_the_next_look_comes_when_something_may_have_changed(
    snapshot_of, state: str, later_s: float, recheck_s: float
) -> None:
    """A waiting start looks every few seconds, a claiming one just after its time is over."""
    began = 1785574800.0
    more = {"used": FULL, "children": _live(quasar=1, amos=1)} if state == "Claiming" else {"used": FULL}
    spec = SPEC | {"gangTimeout": "300s"}
    snapshot = snapshot_of(spec, status=_gang(state), nodes=ROOM, now=began + later_s, **more)
    frame, verdicts = resolve(snapshot, Defaults())
    assert frame.gang is not None
    assert frame.gang.state == state
    assert [verdicts[n].recheck_s for n in ("quasar", "amos")] == [pytest.approx(recheck_s, abs=1e-3)] * 2
