"""What a status counts and remembers: agents, devices, images, restarts, and since when something moves."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.control_plane.systems import DOWN, GPU, HEARD, OUTSIDE, REACHED, pods, seen

from qts_operator import circuit, gpu, status, writes
from qts_operator.objects.revisions import Made
from qts_operator.snapshot import Finding
from qts_operator.status import build, differs

BOTH = {"agents": {n: {"gpu": {"mode": "Required", "count": 2}} for n in ("quasar", "amos")}}


def entry(told: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what a status says of one workload."""
    return next(e for e in told["agentStatuses"] if e["name"] == name)


@pytest.mark.parametrize(
    "hindrance",
    [
        {"state": writes.State(todo=(), stale=True)},
        {"blocked": (Finding(reason="CRDOutdated", message="m"),)},
        {"plan": ("one change",), "spec": {"paused": True}},
        {"amos": {"revision": 99}},
    ],
    ids=["not written", "blocked", "paused", "of an unknown revision"],
)
def test_a_generation_is_observed_when_all_of_it_is_applied(hindrance: dict[str, Any]) -> None:
    """Anything that is left keeps the one before, and each alone is enough."""
    assert build(seen(generation=7))["observedGeneration"] == 7
    assert build(seen(generation=7, status={"observedGeneration": 6}, **hindrance))["observedGeneration"] == 6


def test_what_was_counted_stays_while_the_spec_cannot_be_read() -> None:
    """And nothing is made up where nothing was counted."""
    former = build(seen()) | {"plan": ["x"], "gang": {"state": "Started"}}
    unread = msgspec.structs.replace(
        seen(status=former, blocked=(Finding(reason="SpecRejected", message="m"),)), frame=None
    )
    told = build(unread)
    assert {k: told[k] for k in ("agents", "gpus", "images", "agentStatuses", "observedGeneration")} == {
        k: former[k] for k in ("agents", "gpus", "images", "agentStatuses", "observedGeneration")
    }
    assert "plan" not in told
    first = seen(blocked=(Finding(reason="SpecRejected", message="m"),))
    assert set(build(msgspec.structs.replace(first, frame=None))) == {"conditions"}


def test_a_plan_is_told_up_to_twenty_lines() -> None:
    """And none when there is none."""
    told = build(seen({"paused": True}, plan=tuple(str(n) for n in range(30))))
    assert told["plan"] == [str(n) for n in range(20)]
    assert "plan" not in build(seen())


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "0/0"),
        ({"spec": BOTH}, "0/4"),
        ({"spec": BOTH | {"suspend": True}}, "0/0"),
        ({"spec": {"agents": {"quasar": {"replicas": 3, "gpu": {"mode": "Preferred"}}}}}, "0/3"),
        ({"spec": BOTH, "pods": pods(limits={"nvidia.com/gpu": 2})}, "2/4"),
        ({"spec": BOTH, "pods": pods(limits={"amd.com/gpu": 2})}, "0/4"),
        ({"spec": BOTH, "pods": pods(limits={"nvidia.com/gpu": 2}, node="")}, "0/4"),
        ({"spec": BOTH, "pods": pods(limits={"nvidia.com/gpu": 2}, deleting=True)}, "0/4"),
        ({"spec": BOTH, "pods": pods(limits={"nvidia.com/gpu": 2}, phase="Failed")}, "0/4"),
        ({"spec": BOTH, "pods": pods(limits={"nvidia.com/gpu": 2}, phase="Succeeded")}, "0/4"),
        ({"spec": BOTH, "pods": pods(claims=("template",))}, "2/4"),
        ({"pods": pods(limits={"nvidia.com/gpu": 2})}, "0/0"),
        ({"spec": BOTH | {"agents": {"quasar": {"enabled": False}}}}, "0/0"),
    ],
)
def test_devices_that_are_held_of_those_that_are_asked_for(more: dict[str, Any], expected: str) -> None:
    """Held by pods that have a node and have not ended; asked for by agents that are to run."""
    facts = seen(**more)
    assert build(facts)["gpus"] == expected
    assert facts.frame is not None
    assert sum(status.held(facts.snapshot, facts.frame).values()) == int(expected[0])


def test_a_device_is_told_of_the_agent_that_holds_it() -> None:
    """Whoever asks for one is listed, and nobody else."""
    facts = seen(BOTH, pods=pods(limits={"nvidia.com/gpu": 2}))
    assert facts.frame is not None
    assert status.held(facts.snapshot, facts.frame) == {"quasar": 2, "amos": 0}


def test_a_device_of_an_agent_that_may_have_none_is_not_counted() -> None:
    """The definition has no such field; an older server may let it through."""
    assert build(seen({"agents": {"pads": {"gpu": {"mode": "Required"}}}}))["gpus"] == "0/0"


def test_each_workload_has_its_entry() -> None:
    """What is wanted, what is there, and what its pods were made with; nothing is said of what is not so."""
    told = build(
        seen({"agents": {"amos": {"enabled": False}}}, gone=["pads"], quasar={"ready": 0, "revision": 0})
    )
    assert [e["name"] for e in told["agentStatuses"]] == ["pads", "qbmia", "quasar", "market"]
    assert entry(told, "pads") == {"name": "pads", "desired": 1, "ready": 0, "restarts": 0}
    assert entry(told, "quasar") == {"name": "quasar", "desired": 1, "ready": 0, "restarts": 0}
    assert entry(told, "qbmia") | {"templateRevision": 1} == entry(told, "qbmia")
    assert told["templateRevision"] == 1
    oldest = build(seen(amos={"revision": 3}, pads={"revision": 2}, qbmia={"revision": 2}))
    assert (oldest["templateRevision"], entry(oldest, "amos")["templateRevision"]) == (1, 3)
    assert "templateRevision" not in build(seen(gone=["pads", "qbmia", "quasar", "amos", "market", "redis"]))


def test_where_an_agent_with_a_device_runs_is_told() -> None:
    """Of agents that asked for one."""
    told = build(seen({"agents": {"quasar": {"gpu": {"mode": "Preferred"}}}}, nodes=()))
    assert {e["name"]: e.get("placement") for e in told["agentStatuses"]} == {
        "pads": None,
        "qbmia": None,
        "quasar": "CPU",
        "amos": None,
        "market": None,
    }


def test_a_restart_is_told_before_it_happens_and_kept_after() -> None:
    """What the pass is about to do wins over what the status said."""
    kept = {"restarts": 2, "lastRestart": {"podUID": "a"}, "recentRestarts": {"generation": 1, "at": ["t"]}}
    former = {"agentStatuses": [{"name": "amos"} | kept]}
    assert entry(build(seen(status=former)), "amos").items() >= kept.items()
    new = {"restarts": 3, "lastRestart": {"podUID": "b"}, "recentRestarts": {}}
    told = entry(build(seen(status=former, restarts={"amos": new})), "amos")
    assert (told["restarts"], told["lastRestart"]) == (3, {"podUID": "b"})
    assert "recentRestarts" not in told


def test_an_open_circuit_is_kept_in_the_status() -> None:
    """A new leader must know of it; of a closed one nothing is left."""
    opened = circuit.Circuit(at=1e9, tries=2, node="n", reason="r", count=3)
    held = gpu.Verdict(device="GPU", status="False", reason="GPUUnhealthy", message="m", circuit=opened)
    well = msgspec.structs.replace(held, circuit=None)
    told = build(seen(GPU, verdicts={"quasar": held, "qbmia": well}))
    assert entry(told, "quasar")["circuit"] == opened.told()
    assert [e["name"] for e in told["agentStatuses"] if "circuit" in e] == ["quasar"]


def test_an_image_is_told_that_its_oldest_user_has() -> None:
    """Of workloads that rolled on different days; of the GPU image those that may have a device."""
    facts = seen()
    new, old = ({"agent": f"a:{n}", "agentGPU": f"g:{n}", "redis": f"r:{n}"} for n in (2, 1))
    made = {p: Made(revision=3, images=new) for p in ("pads", "qbmia", "quasar", "amos", "market", "redis")}

    def images(facts: status.Facts, *parts: str) -> dict[str, str]:
        changed = made | {p: Made(revision=2, images=old) for p in parts}
        frame = msgspec.structs.replace(facts.frame, made=changed)
        return dict(build(msgspec.structs.replace(facts, frame=frame))["images"])

    assert images(facts) == new
    assert images(facts, "pads") == new | {"agent": "a:1"}
    assert images(facts, "amos") == new | {"agent": "a:1", "agentGPU": "g:1"}
    assert images(facts, "redis") == new | {"agent": "a:1", "redis": "r:1"}
    off = seen({"agents": {n: {"enabled": False} for n in ("qbmia", "quasar", "amos")}})
    assert images(off, "amos") == new
    assert images(off, "pads") == new | {"agent": "a:1", "agentGPU": "g:1"}


def test_only_what_moved_decides_how_urgent_a_status_is() -> None:
    """A condition or the generation at once; words, numbers and how far a roll-out is when there is time."""
    first = build(seen())
    ready, *rest = first["conditions"]
    assert differs(first, dict(first)) == ""
    for field, value, expected in (
        ("message", "x", "counters"),
        ("reason", "X", "conditions"),
        ("status", "False", "conditions"),
        ("lastTransitionTime", "x", "counters"),
    ):
        assert differs(first | {"conditions": [ready | {field: value}, *rest]}, first) == expected
    moving = {"conditions": [{"type": "Progressing", "status": "True", "reason": "Creating"}]}
    stage = {"conditions": [{"type": "Progressing", "status": "True", "reason": "RollingOut"}]}
    stuck = {"conditions": [{"type": "Progressing", "status": "False", "reason": "RolloutStuck"}]}
    settled = {"conditions": [{"type": "Progressing", "status": "False", "reason": "Complete"}]}
    assert differs(stage, moving) == "counters"
    assert [differs(a, b) for a, b in ((stuck, moving), (settled, stage), (settled, stuck))] == [
        "conditions"
    ] * 3
    assert differs(first | {"observedGeneration": 2}, first) == "conditions"
    assert differs(first, {}) == "conditions"
    assert differs({"agents": "1/4"}, {"agents": "2/4"}) == "counters"


@pytest.mark.parametrize(
    ("more", "moving"),
    [
        ({}, False),
        ({"amos": DOWN}, True),
        ({"amos": {"stuck": True}}, True),
        ({"spec": {"paused": True}}, False),
    ],
)
def test_a_roll_out_moves_until_it_is_settled(more: dict[str, Any], moving: bool) -> None:
    """What the alert on slow roll-outs is made from; stuck is not settled."""
    told = build(seen(now=1e9, **more))
    assert status.moving_since(told) == (1e9 if moving else None)
    assert status.moving_since({}) is None
    assert status.moving_since({"conditions": told["conditions"][:1]}) is None


def _peers(*unknown: str, **silent: float) -> dict[str, Any]:
    """Return what PADS says that was not told of some agents, and has not heard others for so many seconds."""
    heard = {k: v for k, v in HEARD.peers.items() if k not in unknown}
    lost = {k: {"age_s": age, "state": "dead"} for k, age in silent.items()}
    return {"statusz": msgspec.structs.replace(HEARD, peers=heard | {"market": heard["qbmia"]} | lost)}


@pytest.mark.parametrize(
    ("more", "rests"),
    [
        (_peers(), True),
        ({"gone": ["amos"]} | _peers("quantum_amos"), True),  # it is switched on in the pause
        ({"gone": ["market"]} | {"statusz": HEARD}, True),
        ({"gone": ["amos"]} | _peers(quantum_amos=99.0), False),  # somebody deleted what ran
        ({"gone": ["amos"], "statusz": None}, False),
        ({"gone": ["amos"]} | _peers("quantum_amos", quasar=99.0), False),
        (_peers("quantum_amos"), False),
        ({"gone": ["amos"], "quasar": DOWN} | _peers("quantum_amos"), False),
        ({"gone": ["pads"]} | _peers(), False),
        ({"gone": ["amos"], "redis": DOWN} | _peers("quantum_amos"), False),
        ({"plan": ()} | _peers(), False),
    ],
)
def test_a_pause_is_at_rest_while_all_that_was_made_before_it_runs(more: dict[str, Any], rests: bool) -> None:
    """What is made when it ends is not missed; PADS knows what ran, and Redis is asked as ever."""
    facts = seen({"paused": True}, **({"plan": ("a",), "status": REACHED} | more))
    assert status.rests(build(facts), facts.snapshot, facts.frame) is rests


def test_a_condition_without_a_date_is_dated_now() -> None:
    """Somebody wrote it without; one whose status is the same keeps its date, whatever its reason."""
    first = build(seen(OUTSIDE, now=1e9))
    bare = [{k: v for k, v in c.items() if k != "lastTransitionTime"} for c in first["conditions"]]
    later = build(seen(OUTSIDE, now=2e9, status=first | {"conditions": bare}))
    assert {c["lastTransitionTime"] for c in later["conditions"]} == {"2033-05-18T03:33:20Z"}
    other = build(seen(OUTSIDE, now=2e9, status=first, quasar=DOWN))
    dates = {c["type"]: c["lastTransitionTime"][:4] for c in other["conditions"]}
    assert [kind for kind, year in dates.items() if year == "2033"] == ["Ready", "Progressing"]
