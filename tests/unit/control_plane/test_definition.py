"""An older definition: it is named, nothing that it lacks is written, and everything else goes on."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.loops import until
from tests.unit.control_plane import passes
from tests.unit.control_plane.conftest import make_snapshot
from tests.unit.control_plane.engines import running
from tests.unit.control_plane.guarded import Guarded
from tests.unit.control_plane.test_least_privilege import CLUSTER, NAMESPACED, granted

from qts_core import names
from qts_core.crd import ANNOTATION_SCHEMA, crd
from qts_operator import steps
from qts_operator.cluster import DEFINITIONS
from qts_operator.definition import schema_of
from qts_operator.main import Options
from qts_operator.pruning import EACH, lacking, paths, without
from qts_operator.restarts import Restart
from qts_operator.snapshot import Snapshot
from qts_operator.testing import FakeCluster, strangers

NS, NAME = "trading", "desk-1"
OURS = schema_of(crd()) or {}
RECORD = ("status", "agentStatuses", EACH, "lastRestart")
GANG = ("status", "gang")
Path = tuple[str, ...]


def older(*gone: Path) -> dict[str, Any]:
    """Return our schema without these fields."""
    schema = copy.deepcopy(OURS)
    for path in gone:
        node = schema
        for step in path[:-1]:
            node = (
                (node.get("items") or node["additionalProperties"])
                if step == EACH
                else node["properties"][step]
            )
        del node["properties"][path[-1]]
    return schema


def fields(schema: dict[str, Any], at: Path = ()) -> Iterator[Path]:
    """Return the paths of all fields of a schema."""
    for name, node in schema.get("properties", {}).items():
        yield (*at, name)
        yield from fields(node, (*at, name))
    for each in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(each, dict):
            yield from fields(each, (*at, EACH))


EVERY = sorted(p for p in fields(OURS) if p[0] in ("spec", "status"))


def full(schema: dict[str, Any]) -> Any:
    """Return a value with every field of a schema."""
    if "properties" in schema:
        return {name: full(node) for name, node in schema["properties"].items()}
    if isinstance(schema.get("additionalProperties"), dict):
        return {"any": full(schema["additionalProperties"])}
    return [full(schema["items"])] if "items" in schema else "value"


def test_what_is_lacking_is_named_and_our_own_definition_lacks_nothing() -> None:
    assert lacking(OURS, OURS) == {}
    gone = lacking(OURS, older(RECORD, GANG, ("spec", "upgradePolicy")))
    assert sorted(paths(gone)) == ["spec.upgradePolicy", "status.agentStatuses[].lastRestart", "status.gang"]
    assert lacking(OURS, older() | {"x-kubernetes-preserve-unknown-fields": True, "properties": {}}) == {}


@given(st.lists(st.sampled_from(EVERY), min_size=1, max_size=4))
def test_what_is_left_is_all_that_the_server_declares_and_nothing_else(gone: list[Path]) -> None:
    """Whatever is lacking, at any depth, also under something that is lacking itself."""
    apart = [p for p in set(gone) if not any(p != q and p[: len(q)] == q for q in gone)]
    schema, value = older(*apart), {k: full(OURS["properties"][k]) for k in ("spec", "status")}
    left = without(value, lacking(OURS, schema))
    assert strangers(value, schema) != []
    assert strangers(left, schema) == []
    there = schema["properties"]
    assert left == {k: full(there[k]) for k in ("spec", "status") if k in there}


def serve(api: FakeCluster, schema: dict[str, Any], mark: str | None = None) -> None:
    """Let the server have a definition with this schema."""
    definition = crd()
    if mark is not None:
        definition["metadata"]["annotations"][ANNOTATION_SCHEMA] = mark
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema
    api.served = schema
    api.objects[DEFINITIONS.name, "", names.CRD_NAME] = definition


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qts_operator.definition.AGAIN_S", 0.05)


def outdated(engine: Any) -> bool:
    return b"qts_crd_outdated 1.0" in engine.metrics.text()


@pytest.mark.parametrize("mode", [CLUSTER, NAMESPACED], ids=["cluster", "namespaced"])
async def test_an_older_definition_is_named_and_only_what_it_lacks_is_not_written(mode: Options) -> None:
    """In both modes with the rights of the charts, until somebody puts it right; then all of it is written."""
    api = Guarded(granted(mode))
    serve(api, older(("status", "gpus"), RECORD), "older")
    api.system(NS, NAME, {})
    async with running(api, mode) as engine:
        await until(lambda: api.degraded(NS, NAME)[0] == "CRDOutdated")
        assert "does not keep status.gpus, status.agentStatuses[].lastRestart" in api.degraded(NS, NAME)[1]
        await until(lambda: len(api.names("Deployment", NS)) == 5)
        assert outdated(engine)
        await until(lambda: len(api.objects[names.KIND, NS, NAME]["status"].get("agentStatuses", ())) == 5)
        system = api.objects[names.KIND, NS, NAME]
        assert "gpus" not in system["status"]
        serve(api, OURS)
        await until(lambda: api.degraded(NS, NAME)[0] == "Healthy")
        await until(lambda: "gpus" in api.objects[names.KIND, NS, NAME]["status"])
        assert not outdated(engine)
    assert "customresourcedefinitions" not in api.refused


def test_what_is_not_written_is_no_difference_that_is_written_again() -> None:
    """The status that is told is compared as it is told: at rest nothing is written."""
    pruned = lacking(OURS, older(("status", "gpus"), RECORD))
    rest = passes.at_rest(pruned=pruned)
    assert "gpus" in rest.status
    told = msgspec.structs.replace(rest, status=without({"status": rest.status}, pruned)["status"])
    assert passes.kinds(passes.played([told])[1]) == ["Look"]


async def test_where_the_definition_may_not_be_read_the_published_schema_tells() -> None:
    """The right is optional, and its want is counted."""
    rules = granted(CLUSTER)
    fewer = {k: [r for r in v if "customresourcedefinitions" not in r["resources"]] for k, v in rules.items()}
    api = Guarded(fewer)
    serve(api, older(GANG))
    api.system(NS, NAME, {})
    async with running(api, CLUSTER) as engine:
        await until(lambda: api.degraded(NS, NAME)[0] == "CRDOutdated")
        assert b"qts_reflector_denied_total{kind=" in engine.metrics.text()


async def test_another_hash_alone_is_another_definition() -> None:
    """A bound or a rule may differ, of which no field tells; without a definition nothing is said."""
    api = FakeCluster()
    serve(api, OURS, "another")
    api.system(NS, NAME, {})
    async with running(api, CLUSTER) as engine:
        await until(lambda: outdated(engine))
        del api.objects[DEFINITIONS.name, "", names.CRD_NAME]
        await until(lambda: not outdated(engine))


@pytest.mark.parametrize("field", ["lastRestart", "recentRestarts", "restarts"])
def test_a_restart_that_cannot_be_recorded_is_not_made(field: str) -> None:
    """Nobody would count it, so nothing would end them; a pod that is only left over needs no record."""
    lost = passes.pods(phase="Failed", ready=False)
    whole = passes.at_rest(pods=lost)
    assert [r.agent for r in passes.played([whole])[1] if isinstance(r, Restart)] == ["amos"]
    pruned = lacking(OURS, older(("status", "agentStatuses", EACH, field)))
    state, asked = passes.played([msgspec.structs.replace(whole, pruned=pruned)])
    assert [r for r in asked if isinstance(r, Restart)] == []
    assert [field in str(r.status) for r in asked if isinstance(r, steps.Report)] == [False]
    assert state.due == ()


def test_an_all_or_nothing_start_waits_for_a_definition_that_keeps_it() -> None:
    """Nobody would know since when it claims; one that runs goes on."""
    spec = {"startup": "AllOrNothing", "agents": {"quasar": {"gpu": {"mode": "Required"}}}}
    pruned = lacking(OURS, older(GANG))

    def stands(snapshot: Snapshot) -> str:
        return passes.played([snapshot])[0].status["gang"]["state"]

    assert stands(make_snapshot(spec)) == "Claiming"
    assert stands(make_snapshot(spec, pruned=pruned)) == "Waiting"
    assert stands(passes.at_rest(spec, pruned=pruned)) == "Claiming"
