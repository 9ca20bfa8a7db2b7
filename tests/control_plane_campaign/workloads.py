"""What a user or the world does to a running system while the operator is killed: WORKLOADS, and their plans. Pure.

Workloads stand in cycles: each begins where the one before it ended and the last one ends where the first began,
so one set of systems plays a plan after the other, and A → B → A is compared with A on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from qts_operator.middleware import Point

Tree = dict[str, Any]
POINTS: tuple[Point, ...] = ("before", "sent", "answered")
#: pods go to the nodes that kwok plays
PLACE: Tree = {
    "nodeSelector": {"type": "kwok"},
    "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists", "effect": "NoSchedule"}],
}
AGENTS = ("pads", "qbmia", "quasar", "amos")
SMALL: Tree = {"requests": {"cpu": "10m", "memory": "16Mi"}}
BOARD = {"qar": 0.25, "qstar": 0.3, "antifragility": 0.2, "consensus": 0.15, "adaptability": 0.1}
GPU = {"mode": "Required", "count": 1}
#: an affinity that the definition takes and the API server refuses where the Deployment is written
REFUSED: Tree = {
    "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
}


def spec(**more: Any) -> Tree:
    """Return the spec of a system whose pods all start on kwok's nodes."""
    placed = PLACE | {"resources": SMALL}
    return {
        "agents": dict.fromkeys(AGENTS, placed),
        "market": placed,
        "redis": {"resources": SMALL},
    } | more


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One change: what an actor does first, then a merge patch of the spec; neither: the resource goes."""

    spec: Tree | None = None
    actor: str = ""
    applied: bool = True  # False: at rest the generation is not applied, and the status says why


WORKLOADS: dict[str, Workload] = {
    "create": Workload(spec=spec()),
    "create-gpu": Workload(
        spec=spec(
            agents={n: PLACE | {"resources": SMALL} | ({"gpu": GPU} if n == "quasar" else {}) for n in AGENTS}
        )
    ),
    "create-suspended": Workload(spec=spec(suspend=True)),
    "delete": Workload(),
    "delete-suspended": Workload(),
    "delete-gpu": Workload(),
    "settings": Workload(
        spec={
            "config": {"boardMembers": BOARD},
            "agents": {"qbmia": {"replicas": 2, "terminationGracePeriodSeconds": 31}},
        }
    ),
    "settings-back": Workload(
        spec={
            "config": None,
            "agents": {"qbmia": {"replicas": None, "terminationGracePeriodSeconds": None}},
        }
    ),
    "gpu": Workload(spec={"agents": {"quasar": {"gpu": GPU}}}),
    "gpu-back": Workload(spec={"agents": {"quasar": {"gpu": None}}}),
    "disable": Workload(spec={"agents": {"amos": {"enabled": False}}}),
    "enable": Workload(spec={"agents": {"amos": {"enabled": None}}}),
    "suspend": Workload(spec={"suspend": True}),
    "resume": Workload(spec={"suspend": None}),
    "pause": Workload(spec={"paused": True, "networkPolicy": {"enabled": False}}, applied=False),
    "unpause": Workload(spec={"paused": None, "networkPolicy": None}),
    "policies": Workload(spec={"networkPolicy": {"enabled": False}}),
    "policies-back": Workload(spec={"networkPolicy": None}),
    "pod-fails": Workload(actor="pod-fails"),
    "board": Workload(
        spec={
            "agents": {"amos": {"restartPolicy": {"maxRestarts": 3}}},
            "config": {"boardMembers": BOARD},
        }
    ),
    "board-back": Workload(spec={"agents": {"amos": {"restartPolicy": None}}, "config": None}),
    "drift": Workload(actor="drift"),
    "name-taken": Workload(actor="name-taken", spec={"agents": {"amos": {"replicas": 2}}}, applied=False),
    "name-free": Workload(actor="name-free"),
    "one-amos": Workload(spec={"agents": {"amos": {"replicas": None}}}),
}


class Cycle(msgspec.Struct, frozen=True):
    """Workloads one after the other, and with which systems they begin: none, running ones or suspended ones.

    Suspended systems have every object but pods, so plans that are not about pods cost the cluster a third.
    Cycles with the same beginning are played side by side, but for those in which everybody would wait for a back-off.
    """

    begins: Literal["nothing", "running", "suspended"]
    workloads: tuple[str, ...]
    slow: bool = False


#: those that delete come last: the collector of a cluster learns of our kind up to 30 s after it is defined
CYCLES: tuple[Cycle, ...] = (
    Cycle("running", ("suspend", "resume")),
    Cycle("running", ("pod-fails", "board", "board-back")),
    Cycle("suspended", ("gpu", "gpu-back")),
    Cycle("suspended", ("settings", "settings-back")),
    Cycle("suspended", ("disable", "enable")),
    Cycle("suspended", ("pause", "unpause")),
    Cycle("suspended", ("policies", "policies-back")),
    Cycle("suspended", ("drift",)),
    Cycle("suspended", ("name-taken", "name-free", "one-amos"), slow=True),
    Cycle("nothing", ("create-gpu", "delete-gpu")),
    Cycle("nothing", ("create", "delete")),
    Cycle("nothing", ("create-suspended", "delete-suspended")),
)
#: every object but the agents' pods, and nobody who waits for a back-off
SHORT = (
    "create-suspended",
    *(n for c in CYCLES if c.begins == "suspended" and not c.slow for n in c.workloads),
)
#: options of the campaign for some of the workloads
FORMS = {"short": SHORT, "pods": tuple(name for name in WORKLOADS if name not in SHORT)}
#: how systems come from one state to another between cycles
WAYS: dict[tuple[str, str], str] = {
    ("nothing", "running"): "create",
    ("nothing", "suspended"): "create-suspended",
    ("running", "suspended"): "suspend",
    ("suspended", "running"): "resume",
    ("running", "nothing"): "delete",
    ("suspended", "nothing"): "delete-suspended",
}


class Write(NamedTuple):
    """A write by what is written, and the how manieth of this text it is since the change or the last start.

    By its text and not by its place among all: how often a status is written on the way is a matter of timing, and
    one more of it would be another write's place.
    """

    text: str
    nth: int


class Crash(msgspec.Struct, frozen=True):
    """Death on one side of a write."""

    write: Write
    point: Point


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A workload and when the operator dies: never, once, or a second time while it recovers."""

    workload: str
    crashes: tuple[Crash, ...] = ()


def numbered(texts: Iterable[str]) -> Iterator[Write]:
    """Yield the writes that these texts are, in their order."""
    so_far: Counter[str] = Counter()
    for text in texts:
        so_far[text] += 1
        yield Write(text, so_far[text])


def singles(workload: str, writes: Iterable[Write]) -> list[Plan]:
    """Return one plan for each side of each write."""
    return [Plan(workload=workload, crashes=(Crash(write, point),)) for write in writes for point in POINTS]


def longer(plan: Plan, recovery: Iterable[str]) -> Iterator[Plan]:
    """Yield the plan with one death more, at each side of each write of its recovery."""
    for write in numbered(recovery):
        for point in POINTS:
            yield Plan(workload=plan.workload, crashes=(*plan.crashes, Crash(write, point)))


def parsed(text: str) -> Plan:
    """Return the plan that a line of JSON tells; ValueError names what is wrong with it."""
    try:
        plan = msgspec.json.decode(text, type=Plan)
    except msgspec.DecodeError as error:
        raise ValueError(f"--plan: {error}") from None
    if plan.workload not in WORKLOADS:
        raise ValueError(f"--plan: unknown workload {plan.workload!r}; known: {', '.join(WORKLOADS)}")
    return plan
