"""Replicas that an autoscaler writes: left to it, taken back while the operator holds the agent, handed back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.loops import until
from tests.unit.control_plane.engines import NAME, NS, condition, quiet, running

from qts_core import names
from qts_operator.digests import child
from qts_operator.explain import lines
from qts_operator.fields import owned
from qts_operator.middleware import ApiError
from qts_operator.objects import BY_KIND, desired
from qts_operator.objects.frame import Defaults
from qts_operator.plan import Apply, HandOver, plan
from qts_operator.resolve import resolve
from qts_operator.snapshot import Snapshot
from qts_operator.testing import FakeCluster

AGENT = f"{NAME}-qbmia"
KEY = ("Deployment", NS, AGENT)
PARKED = names.ANNOTATION_REPLICAS_BEFORE_SUSPEND


#: what a real server answers to a template with an affinity that it does not know, and to one that it refuses
MISTYPED = ApiError(
    500,
    "",
    f"failed to create typed patch object ({NS}/{AGENT}; apps/v1, Kind=Deployment): errors:\n"
    "  .spec.template.spec.affinity.podAffinity: expected map, got &{no}\n"
    "  .spec.template.spec.affinity.x: field not declared in schema",
)
INVALID = ApiError(422, "Invalid", "no", field="spec.template.spec.affinity")


class Refusing(FakeCluster):
    """A server that takes no template of one agent while it is told so, though its number of replicas."""

    refusal: ApiError | None = None

    async def apply(self, manifest: dict, *, uid: str | None, manager: str = names.FIELD_MANAGER) -> dict:
        if self.refusal and manifest["metadata"]["name"] == AGENT and "template" in manifest.get("spec", {}):
            raise self.refusal
        return await super().apply(manifest, uid=uid, manager=manager)


def spec(by: str = "External", **more) -> dict:
    return {"agents": {"qbmia": {"replicas": 2, "replicasManagedBy": by}}} | more


def scale(api: FakeCluster, count: int) -> None:
    api.change(*KEY, lambda o: o["spec"].update(replicas=count))


def replicas(api: FakeCluster) -> int:
    return api.objects[KEY]["spec"]["replicas"]


def ours(api: FakeCluster) -> bool:
    """Tell whether the number of replicas is one of the operator's fields."""
    return "replicas" in owned(api.objects[KEY])["spec"]


async def test_it_begins_with_the_resources_number_and_is_the_autoscalers_from_then_on() -> None:
    """Two at first, then whatever is written; another hundred writes of a stranger bring none of ours."""
    api = FakeCluster()
    api.system(NS, NAME, spec())
    async with running(api):
        await until(lambda: KEY in api.objects and not ours(api))
        assert replicas(api) == 2
        api.settle(NS)
        await quiet(api)
        before = len([c for c in api.calls if c[1] == "Deployment"])
        for count in range(3, 103):
            scale(api, count % 5 + 1)
        scale(api, 4)
        await quiet(api)
        api.settle(NS)
        await until(lambda: condition(api, "Ready")[0] == "True")
        assert replicas(api) == 4
        assert len([c for c in api.calls if c[1] == "Deployment"]) == before
        status = api.objects[(names.KIND, NS, NAME)]["status"]
        assert {e["name"]: e["desired"] for e in status["agentStatuses"]}["qbmia"] == 4


async def test_one_replica_that_answers_is_enough_while_others_come_and_go() -> None:
    """A scale-up that is not through yet is no reason to call the system not ready."""
    api = FakeCluster()
    api.system(NS, NAME, spec())
    async with running(api):
        await until(lambda: KEY in api.objects and not ours(api))
        api.settle(NS)
        await until(lambda: condition(api, "Ready")[0] == "True")
        scale(api, 5)
        seen = {"observedGeneration": api.objects[KEY]["metadata"]["generation"]}
        api.change(*KEY, lambda o: o["status"].update(seen | {"availableReplicas": 2, "updatedReplicas": 5}))
        await until(lambda: condition(api, "Progressing") == ("True", "RollingOut"))
        assert condition(api, "Ready")[0] == "True"


@pytest.mark.parametrize("crash_at", [None, "before the number", "before the rest"])
async def test_suspend_takes_the_number_and_resume_hands_it_back(crash_at: str | None) -> None:
    """0 while suspended, whoever scales; the former number afterwards, also when a write gets lost on the way."""
    api = FakeCluster()
    api.system(NS, NAME, spec())
    async with running(api):
        await until(lambda: KEY in api.objects and not ours(api))
        scale(api, 3)
        await quiet(api)
        api.system(NS, NAME, spec(suspend=True))
        await until(lambda: replicas(api) == 0)
        assert api.objects[KEY]["metadata"]["annotations"][PARKED] == "3"
        scale(api, 4)
        await until(lambda: replicas(api) == 0)
        left = {"before the number": 1, "before the rest": 2}.get(crash_at or "", 0)

        def lost(verb: str, kind: str, name: str) -> None:
            nonlocal left
            if (verb, kind, name) == ("apply", "Deployment", AGENT) and left:
                left -= 1
                if left == 0:
                    raise ApiError(503, "ServiceUnavailable", "cut")

        api.fault = lost
        api.system(NS, NAME, spec())
        await until(lambda: replicas(api) == 3 and not ours(api) and PARKED not in _notes(api))
        scale(api, 5)
        await quiet(api)
        assert replicas(api) == 5


@pytest.mark.parametrize("refusal", [MISTYPED, INVALID], ids=["mistyped", "invalid"])
@pytest.mark.parametrize("by", ["Operator", "External"])
async def test_a_template_that_is_refused_holds_up_neither_suspend_nor_others(
    by: str, refusal: ApiError
) -> None:
    """Its agent stops and starts with the template that it has; once the new one is taken the number is as ever."""
    api = Refusing()
    api.system(NS, NAME, spec(by))
    other = ("Deployment", NS, f"{NAME}-amos")  # is written after the refused one
    async with running(api):
        await until(
            lambda: condition(api, "Ready")[0] and KEY in api.objects and ours(api) == (by == "Operator")
        )
        await quiet(api)
        api.refusal = refusal
        api.system(NS, NAME, spec(by, suspend=True, observability={"logLevel": "debug"}))
        await until(lambda: condition(api, "Degraded") == ("True", "ObjectRejected"))
        await until(lambda: (replicas(api), api.objects[other]["spec"]["replicas"]) == (0, 0))
        told = api.objects[(names.KIND, NS, NAME)]["status"]["conditions"]
        (message,) = {c["message"] for c in told if c["type"] == "Degraded"}
        assert message.startswith(f"Deployment/{AGENT}: spec.template.spec.affinity")
        assert "\n" not in message
        api.system(NS, NAME, spec(by, observability={"logLevel": "debug"}))
        await until(lambda: replicas(api) == 2)
        api.refusal = None
        api.system(NS, NAME, spec(by))
        await until(lambda: condition(api, "Degraded") == ("False", "Healthy"))
        await quiet(api)
        assert (replicas(api), ours(api), PARKED in _notes(api)) == (2, by == "Operator", False)


def _notes(api: FakeCluster) -> dict:
    return api.objects[KEY]["metadata"]["annotations"]


async def test_the_number_never_falls_when_the_master_changes() -> None:
    """From the operator to the autoscaler at the live number; back to the resource's number in one write."""
    api, counts = FakeCluster(), []
    api.system(NS, NAME, spec("Operator"))
    async with running(api):
        await until(lambda: KEY in api.objects)
        api.fault = lambda *_: counts.append(replicas(api))
        api.system(NS, NAME, spec())
        await until(lambda: not ours(api))
        scale(api, 4)
        await quiet(api)
        api.system(NS, NAME, spec("Operator"))
        await until(lambda: replicas(api) == 2 and ours(api))
    assert min(counts) == 2


@given(live=st.integers(0, 6), parked=st.sampled_from(["", "0", "3", "x"]), counts=st.booleans())
def test_without_a_number_the_object_is_never_applied_while_it_is_ours(
    live: int, parked: str, counts: bool
) -> None:
    """By property: an apply that leaves the number out comes after a hand-over, exactly while it is ours or noted."""
    seen = Snapshot(namespace=NS, name=NAME, uid="u", generation=1, now=1e9, spec=spec())
    manifest = next(m for m in desired(resolve(seen, Defaults())[0]) if m["metadata"]["name"] == AGENT)
    metadata = {
        "uid": "1",
        "resourceVersion": "1",
        "ownerReferences": manifest["metadata"]["ownerReferences"],
    }
    entry = {
        "manager": names.FIELD_MANAGER,
        "operation": "Apply",
        "fieldsV1": {"f:spec": {"f:replicas": {}} if counts else {"f:strategy": {}}},
    }
    there = child(
        {
            "metadata": manifest["metadata"]
            | metadata
            | {"managedFields": [entry], "annotations": {PARKED: parked}},
            "spec": manifest["spec"] | {"replicas": live},
        },
        "Deployment",
    )
    seen = Snapshot(
        namespace=NS,
        name=NAME,
        uid="u",
        generation=1,
        now=1e9,
        spec=spec(),
        children={("Deployment", AGENT): there},
    )
    frame = resolve(seen, Defaults())[0]
    actions = plan(desired(frame), seen.children, "u")
    mine = [a for a in actions if isinstance(a, HandOver) or (isinstance(a, Apply) and a.uid)]
    wanted = int(parked) if parked.isdecimal() else live
    assert [type(a) for a in mine] == ([HandOver, Apply] if counts or parked else [Apply])
    assert [a.replicas for a in mine if isinstance(a, HandOver)] == ([wanted] if counts or parked else [])
    (applied,) = [a for a in mine if isinstance(a, Apply)]
    assert "replicas" not in applied.manifest["spec"]


def test_the_plan_of_a_paused_system_says_it() -> None:
    """One line in plain words."""
    told = lines([HandOver(namespace=NS, name=AGENT, uid="1", replicas=2)], {})
    assert told == [f"Leave the replicas of Deployment/{AGENT}, now 2, to its autoscaler"]
    assert BY_KIND["Deployment"].api_version == "apps/v1"
