"""Plan = deed: what a paused system and `qts plan` tell of a change is what the pass then writes, and all it writes.

Real systems from A to B, over choices of the golden resources: objects, verbs, fields with both values.
"""

from __future__ import annotations

import time
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.golden.test_templates import AGENT_CHOICES, CHOICES, GPU_CHOICES
from tests.property.planned_systems import NAME, NS, Call, Objects, Tree, World

from qts_core import names
from qts_core.roster import AGENTS
from qts_operator.explain import changed, lines
from qts_operator.fields import applied, changes, differences, owned
from qts_operator.objects import KINDS
from qts_operator.objects.frame import Defaults
from qts_operator.plan import Action, Apply, Create, Delete, HandOver, Refuse, Wait
from qts_operator.times import stamp
from qts_operator.writes import identity

Changes = dict[tuple[str, str], list[tuple[str, Any, Any]]]
MOVING = ("managedFields", "resourceVersion", "generation")
SHOWN = 20  # lines of status.plan
FOR_GPU: list[Tree] = [*GPU_CHOICES, {"gpu": {"mode": "Preferred"}}]
SPARES: list[Tree] = [{}, {"replicas": 2}, {"replicas": 3}, {"replicasManagedBy": "External"}]
#: what decides how pods start, and what a change of the system is told by beside its agents
SYSTEM: dict[str, list[Any]] = {
    "suspend": [False, True],
    "startup": ["Independent", "AllOrNothing"],
    "upgradePolicy": ["OnChange", "Immediate"],
    "networkPolicy": [{}, {"enabled": False}, {"metricsFrom": {"team": "monitoring"}}],
}
#: generations of credentials that a resource may have later: (Redis, messaging)
LATER = st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 2), (2, 2)])
UPGRADED = Defaults(
    agent="localhost/qts-agent:next",
    redis="localhost/valkey:next",
    monitor_labels={"release": "prometheus", "example.com/team": ""},
)
IMAGES = st.sampled_from([Defaults(), UPGRADED])
#: what somebody does to an object between A and B: (which one, what)
MEDDLED = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from(["gone", "edited", "labelled", "a stranger's"])),
    max_size=3,
)
#: the first word of a line of the plan, and how such a write looks to the API server; the others write nothing
VERBS = {"Create": ("apply", "create"), "Apply": ("apply",), "Rotate": ("amend",), "Delete": ("delete",)}
VERBS |= {"Leave": ("apply",), "Wait": (), "Refuse": ()}


@st.composite
def agents(draw: st.DrawFn) -> Tree:
    """Draw the agents' sections."""
    found = {"pads": draw(st.sampled_from(AGENT_CHOICES[:-1]))}
    for name in (w.name for w in AGENTS if w.gpu):
        parts = (st.sampled_from(each) for each in (AGENT_CHOICES, FOR_GPU, SPARES))
        found[name] = {k: v for part in parts for k, v in draw(part).items()}
    return found


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tree, Tree]:
    """Draw two valid specs, A and one that it may become: its Redis stays, its credentials only grow."""
    redis = draw(st.sampled_from(CHOICES["redis"]))
    table = SYSTEM | {k: v for k, v in CHOICES.items() if k not in ("redis", "messaging")}
    a, b = (
        {key: draw(st.sampled_from(options)) for key, options in table.items()}
        | {"agents": draw(agents()), "messaging": draw(st.sampled_from(CHOICES["messaging"])), "redis": redis}
        for _ in range(2)
    )
    for_redis, for_curve = draw(LATER)
    b["messaging"] = b["messaging"] | {"credentialsGeneration": for_curve}
    if redis.get("mode") != "External":
        b["redis"] = redis | {"credentialsGeneration": for_redis}
    return a, b


def _meddle(world: World, number: int, how: str) -> None:
    """Do to one of the objects what anybody with rights may do."""
    every = sorted(k for k in world.objects() if k[0] in {kind.name for kind in KINDS})
    kind, name = every[number % len(every)]

    def edit(live: Tree) -> None:
        metadata = live["metadata"]
        if how == "edited":  # as the server has it, the field is somebody else's from then on
            metadata["labels"]["app.kubernetes.io/component"] = "mine"
            for entry in metadata["managedFields"]:
                labels = entry["fieldsV1"].get("f:metadata", {}).get("f:labels", {})
                labels.pop("f:app.kubernetes.io/component", None)
        elif how == "labelled":
            metadata["labels"]["team"] = "desk"
            fields: Tree = {"f:metadata": {"f:labels": {"f:team": {}}}}
            metadata["managedFields"].append({"manager": "x", "operation": "Update", "fieldsV1": fields})
        else:
            metadata["ownerReferences"] = []

    if how == "gone":
        world.api.remove(kind, NS, name)
    elif kind != "Secret":  # nobody's hands are seen on one: it is never written but to change credentials
        world.api.change(kind, NS, name, edit)


def _bare(live: Tree) -> Tree:
    """Return an object without what moves with every write, whoever makes it."""
    metadata = {k: v for k, v in live["metadata"].items() if k not in MOVING}
    return live | {"metadata": metadata}


def _told(actions: list[Action], before: Objects) -> Changes:
    """Return by object what the plan says of the fields of those that are there: path, value now and then."""
    found: Changes = {}
    for action in actions:
        if isinstance(action, HandOver):
            now = before[identity(action)]["spec"]["replicas"]
            found[identity(action)] = [("spec.replicas", now, action.replicas)] * (now != action.replicas)
        elif isinstance(action, Apply) and action.uid is not None:
            found.setdefault(identity(action), []).extend(changed(action, before))
    return {key: sorted(each, key=itemgetter(0)) for key, each in found.items() if each}


def _deeds(before: Objects, after: Objects) -> Changes:
    """Return by object which fields are not what they were, of those that were there before and are now."""
    both = before.keys() & after.keys()
    found = {key: changes(_bare(before[key]), _bare(after[key])) for key in both if key[0] != "Secret"}
    return {key: sorted(each, key=itemgetter(0)) for key, each in found.items() if each}


def _untouched(actions: list[Action], before: Objects, after: Objects) -> None:
    """See that objects came and went as planned, and that what the plan leaves out is byte for byte as it was."""
    planned = {
        type_: {identity(a) for a in actions if isinstance(a, type_)} for type_ in (Delete, Create, Apply)
    }
    assert before.keys() - after.keys() == planned[Delete]
    made = {identity(a) for a in actions if isinstance(a, Apply) and a.uid is None} | planned[Create]
    assert after.keys() - before.keys() == made - before.keys()
    moved = {key for key in before.keys() & after.keys() if before[key] != after[key]}
    assert moved <= {identity(a) for a in actions if not isinstance(a, Wait | Refuse)}
    for action in actions:
        if isinstance(action, Apply):
            assert differences(owned(after[identity(action)]), applied(action.manifest)) == []


def _like(told: list[str], written: list[Call]) -> None:
    """See that lines of a plan and writes are one to one: verb, kind, name, in the same order."""
    due = [text for text in told if VERBS[text.partition(" ")[0]]]
    assert len(due) == len(written), (told, written)
    for text, (verb, kind, name) in zip(due, written, strict=True):
        word = text.partition(" ")[0]
        assert verb in VERBS[word], (text, verb)
        assert f"{kind}/{name}" in text.replace(",", " ").replace(":", " ").split(), (text, kind, name)


@settings(max_examples=100)
@given(pairs(), MEDDLED, IMAGES, st.booleans())
def test_a_change_is_written_as_it_was_told(
    pair: tuple[Tree, Tree], meddled: list[tuple[int, str]], images: Defaults, devices: bool
) -> None:
    """The paused plan, `qts plan` and the writes are the same; what the plan leaves out stays byte for byte."""
    first, second = pair
    world = World()
    if devices:
        world.node("gpu-a", {"nvidia.com/gpu": "8", "nvidia.com/mig-1g.10gb": "4"})
    world.ask(first)
    world.settled()
    world.images(images)
    for number, how in meddled:
        _meddle(world, number, how)
    before = world.objects()
    world.ask(second | {"paused": True})
    assert world.one_pass() == []
    assert world.objects() == before
    paused = world.status().get("plan", [])
    asked = world.planned(world.ask(second))
    told = lines(asked.actions, asked.live)
    assert paused == told[:SHOWN]
    written, after = world.one_pass(), world.objects()
    _like(told, written)
    deeds, words = _deeds(before, after), _told(asked.actions, before)
    for key in deeds.keys() | words.keys():
        did, said = deeds.get(key, []), words.get(key, [])
        assert ([c for c in did if c not in said], [c for c in said if c not in did]) == ([], []), key
    _untouched(asked.actions, before, after)


@pytest.mark.parametrize(("older_s", "made"), [(60.0, True), (-1.0, False)])
def test_a_plan_takes_no_pod_of_a_system_that_had_the_name_before_for_one_of_this(
    older_s: float, made: bool
) -> None:
    """Its Secrets are made; those that its own pods use would not be made anew."""
    world, now = World(), time.time()
    cr = world.ask({})
    cr["metadata"]["creationTimestamp"] = stamp(now)
    labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_SYSTEM: NAME}
    metadata = {"name": "p", "namespace": NS, "uid": "p", "creationTimestamp": stamp(now - older_s)}
    world.api.objects["Pod", NS, "p"] = {
        "metadata": metadata | {"labels": labels | {names.LABEL_COMPONENT: "amos"}},
        "spec": {"nodeName": "n"},
        "status": {"phase": "Running"},
    }
    told = lines(world.planned(cr).actions, {})
    assert ("Create Secret/desk-1-curve" in told) is made
