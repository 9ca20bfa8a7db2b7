"""The whole engine against the cluster in memory: create, rest, drift, suspend, pause, delete, faults."""

from __future__ import annotations

import asyncio
import copy

import pytest
from tests.loops import until
from tests.unit.control_plane.engines import NAME, NS, condition, quiet, running

from qts_core import names
from qts_operator.session import ApiError
from qts_operator.testing import FakeCluster


async def test_a_resource_becomes_its_objects_and_then_nothing_is_written() -> None:
    """Create, settle, Ready; a second engine on the same cluster writes nothing at all."""
    api = FakeCluster()
    api.system(NS, NAME, {})
    async with running(api):
        await until(lambda: len(api.names("Deployment", NS)) == 5)
        api.settle(NS)
        await until(lambda: condition(api, "Ready")[0] == "True")
        await quiet(api)
    before = api.writes()
    async with running(api):
        await asyncio.sleep(1.5)
    assert api.writes() == before
    assert {("create", "Secret", f"{NAME}-curve"), ("create", "Secret", f"{NAME}-redis-auth")} <= set(before)


async def test_drift_is_repaired_and_foreign_fields_stay() -> None:
    """An edit of an owned field and a deleted child come back; a stranger's label stays unread."""
    api = FakeCluster()
    api.system(NS, NAME, {})
    async with running(api):
        await until(lambda: condition(api, "Ready")[0] != "")
        await quiet(api)
        api.change("Deployment", NS, f"{NAME}-amos", lambda o: o["spec"].update(replicas=7))
        await until(lambda: api.objects[("Deployment", NS, f"{NAME}-amos")]["spec"]["replicas"] == 1)
        api.remove("Service", NS, f"{NAME}-pads")
        await until(lambda: f"{NAME}-pads" in api.names("Service", NS))
        await quiet(api)
        before = len(api.writes())
        api.change("Service", NS, f"{NAME}-pads", lambda o: o["metadata"]["labels"].update(team="x"))
        await asyncio.sleep(0.5)
        assert len(api.writes()) == before


@pytest.mark.parametrize("label", [names.LABEL_MANAGED_BY, names.LABEL_SYSTEM])
@pytest.mark.parametrize("value", [None, "another"])
async def test_an_object_that_loses_the_label_we_see_it_by_comes_back(label: str, value: str | None) -> None:
    """No watch shows it any more, or it seems to be another system's; it is ours by its owner."""
    api = FakeCluster()
    api.system(NS, NAME, {"suspend": True})
    async with running(api):
        await until(lambda: condition(api, "Suspended") == ("True", "Suspended"))
        before = dict(api.objects["ConfigMap", NS, f"{NAME}-config"]["metadata"]["labels"])

        def edit(live: dict) -> None:
            live["metadata"]["labels"].pop(label)
            live["metadata"]["labels"] |= {} if value is None else {label: value}
            for entry in live["metadata"]["managedFields"]:
                entry["fieldsV1"]["f:metadata"]["f:labels"].pop(f"f:{label}")

        api.change("ConfigMap", NS, f"{NAME}-config", edit)
        await until(lambda: api.objects["ConfigMap", NS, f"{NAME}-config"]["metadata"]["labels"] == before)


async def test_another_form_of_a_field_gives_way_to_ours() -> None:
    """The server refuses ours beside it; it goes, nothing is Degraded, and then nothing is written."""
    api = FakeCluster()
    api.system(NS, NAME, {"suspend": True})
    key = ("Deployment", NS, f"{NAME}-pads")

    def refused(verb: str, kind: str, name: str) -> None:
        there = (api.objects.get(key) or {"spec": {"strategy": {}}})["spec"]["strategy"]
        if (verb, kind, name) == ("apply", *key[::2]) and "rollingUpdate" in there:
            raise ApiError(422, "Invalid", "may not be specified", field="spec.strategy.rollingUpdate")

    def edit(live: dict) -> None:
        live["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}}

    async with running(api):
        await until(lambda: condition(api, "Suspended") == ("True", "Suspended"))
        api.fault = refused
        api.change(*key, edit)
        await until(lambda: api.objects[key]["spec"]["strategy"] == {"type": "Recreate"})
        await quiet(api)
        assert condition(api, "Degraded")[0] == "False"
        assert [call[0] for call in api.writes() if call[1:] == key[::2]].count("amend") == 1


async def test_suspend_and_resume() -> None:
    """Suspend takes agents and feed to 0, says so when they are gone, and resume brings them back."""
    api = FakeCluster()
    api.system(NS, NAME, {"suspend": True})
    async with running(api):
        await until(lambda: len(api.names("Deployment", NS)) == 5)
        api.settle(NS)
        await until(lambda: condition(api, "Suspended") == ("True", "Suspended"))
        assert condition(api, "Ready") == ("False", "Suspended")
        api.system(NS, NAME, {})
        await until(lambda: api.objects[("Deployment", NS, f"{NAME}-pads")]["spec"]["replicas"] == 1)
        api.settle(NS)
        await until(lambda: condition(api, "Ready")[0] == "True")


async def test_paused_writes_nothing_but_the_plan() -> None:
    """A paused system is left alone; its status lists what would be done."""
    api = FakeCluster()
    api.system(NS, NAME, {"paused": True})
    async with running(api):
        await until(lambda: condition(api, "Progressing") == ("False", "Paused"))
        await quiet(api)
    assert {c[0] for c in api.writes()} == {"status"}
    plan = api.objects[("QuantumTradingSystem", NS, NAME)]["status"]["plan"]
    assert "Create Deployment/desk-1-pads" in plan
    assert "observedGeneration" not in api.objects[("QuantumTradingSystem", NS, NAME)]["status"]


async def test_a_paused_change_names_its_field() -> None:
    """The plan of a paused system says which field of which object would change."""
    api = FakeCluster()
    api.system(NS, NAME, {})
    async with running(api):
        await until(lambda: len(api.names("Deployment", NS)) == 5)
        await quiet(api)
        api.system(NS, NAME, {"paused": True, "agents": {"amos": {"replicas": 2}}})
        key = ("QuantumTradingSystem", NS, NAME)
        await until(lambda: "plan" in api.objects[key].get("status", {}))
        plan = api.objects[key]["status"]["plan"]
    assert "Apply Deployment/desk-1-amos: spec.replicas" in plan


async def test_what_the_collector_deletes_is_not_made_again() -> None:
    """The resource is gone, but its watch is late: what it owned is seen to go first."""
    api = FakeCluster()
    api.system(NS, NAME, {"suspend": True})
    async with running(api):
        await until(lambda: condition(api, "Suspended") == ("True", "Suspended"))
        await quiet(api)
        before = api.writes()
        del api.objects[names.KIND, NS, NAME]
        api.remove("NetworkPolicy", NS, f"{NAME}-agents")
        api.remove("Secret", NS, f"{NAME}-curve")
        await quiet(api, 1.5)
    assert api.writes() == before


async def test_deletion_needs_nobody() -> None:
    """Owner references take everything; the engine forgets the system and does not bring it back."""
    api = FakeCluster()
    api.system(NS, NAME, {})
    async with running(api):
        await until(lambda: len(api.names("Deployment", NS)) == 5)
        await quiet(api)
        api.remove("QuantumTradingSystem", NS, NAME)
        await asyncio.sleep(0.6)
    assert {k for k in api.objects if k[1] == NS and k[0] != "Event"} == set()


async def test_a_stranger_on_our_name_is_not_touched() -> None:
    """An object of that name that is not ours stays as it is; the status names it."""
    api = FakeCluster()
    stranger = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"{NAME}-pads", "namespace": NS},
        "spec": {"clusterIP": "1.2.3.4"},
    }
    from qts_operator.objects import BY_KIND

    await api.create(BY_KIND["Service"], stranger)
    api.system(NS, NAME, {})
    async with running(api):
        await until(lambda: condition(api, "Degraded") == ("True", "NameTaken"))
        assert len(api.names("Deployment", NS)) == 5
    assert api.objects[("Service", NS, f"{NAME}-pads")]["spec"] == {"clusterIP": "1.2.3.4"}


async def test_a_stranger_that_comes_at_the_last_moment_is_not_touched() -> None:
    """It takes the name while our apply is on its way: what is refused is told, and nothing is merged."""
    api = FakeCluster()
    name, key = f"{NAME}-pads", ("Service", NS, f"{NAME}-pads")
    stranger = {"kind": "Service", "metadata": {"name": name, "namespace": NS, "uid": "theirs"}, "spec": {}}

    def overtake(verb: str, kind: str, about: str) -> None:
        if (verb, kind, about) == ("apply", "Service", name) and key not in api.objects:
            api._store(key, copy.deepcopy(stranger), None)

    api.fault = overtake
    api.system(NS, NAME, {})
    async with running(api):
        await until(lambda: condition(api, "Degraded") == ("True", "NameTaken"))
        await until(lambda: len(api.names("Deployment", NS)) == 5)
    assert {k: v for k, v in api.objects[key].items() if k != "metadata"} == {"kind": "Service", "spec": {}}
    assert api.objects[key]["metadata"]["uid"] == "theirs"


async def test_one_bad_system_does_not_hold_back_the_others() -> None:
    """A spec that cannot be rendered is Degraded with its field; its neighbour comes up."""
    api = FakeCluster()
    api.system(NS, "bad", {"config": {"boardMembers": {"qar": 2.0}}})
    api.system(NS, NAME, {})
    async with running(api):
        await until(lambda: len(api.names("Deployment", NS)) == 5)
        await until(lambda: condition(api, "Degraded", "bad")[0] == "True")
    told = api.objects[("QuantumTradingSystem", NS, "bad")]["status"]["conditions"]
    assert "boardMembers" in next(c["message"] for c in told if c["type"] == "Degraded")


async def test_a_standby_is_ready_and_writes_nothing() -> None:
    """With the Lease in other hands nothing is written."""
    api = FakeCluster()
    lease = {
        "metadata": {"name": "qts-operator", "namespace": "qts-system"},
        "spec": {"holderIdentity": "other", "leaseDurationSeconds": 3600},
    }
    from qts_operator.cluster import LEASES

    await api.create(LEASES, lease)
    api.system(NS, NAME, {})
    async with running(api) as engine:
        await until(lambda: engine.ready() == "")
        await asyncio.sleep(0.5)
    assert api.writes() == ()


async def test_auto_restart_failed_false_stops_an_agent_at_its_first_exit() -> None:
    """The Deployment goes to 0 and stays there until the spec changes."""
    api = FakeCluster()
    api.system(NS, NAME, {"config": {"autoRestartFailed": False}})
    pod = {
        "metadata": {
            "name": "p",
            "namespace": NS,
            "uid": "p1",
            "resourceVersion": "1",
            "labels": {
                "app.kubernetes.io/managed-by": "qts-operator",
                "app.kubernetes.io/component": "amos",
                "quantumtrading.io/system": NAME,
            },
        },
        "spec": {},
        "status": {"containerStatuses": [{"restartCount": 1}]},
    }
    from qts_operator.cluster import PODS

    amos = ("Deployment", NS, f"{NAME}-amos")
    async with running(api):
        await until(lambda: amos in api.objects)
        await api.create(PODS, pod)
        await until(lambda: api.objects[amos]["spec"]["replicas"] == 0)
        await until(lambda: condition(api, "Degraded") == ("True", "RestartDisabled"))
        api.remove("Pod", NS, "p")
        await asyncio.sleep(0.5)
        assert api.objects[amos]["spec"]["replicas"] == 0
        api.system(NS, NAME, {"config": {"autoRestartFailed": False, "systemSeed": 1}})
        await until(lambda: api.objects[amos]["spec"]["replicas"] == 1)


async def test_a_kind_that_comes_later_is_used_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PodMonitors nothing waits for them; once the cluster has them one is made, Never removes it."""
    monkeypatch.setattr("qts_operator.offers.CHECK_S", 0.2)
    api = FakeCluster()
    api.system(NS, NAME, {})
    async with running(api) as engine:
        await until(lambda: len(api.names("Deployment", NS)) == 5)
        assert engine.ready() == ""
        assert api.names("PodMonitor", NS) == set()
        api.unserved = set()
        await until(lambda: api.names("PodMonitor", NS) == {f"{NAME}-agents"})
        api.system(NS, NAME, {"observability": {"podMonitor": "Never"}})
        await until(lambda: api.names("PodMonitor", NS) == set())


def _claiming(count: int) -> dict:
    gpu = {"mode": "Required", "deviceClassName": "gpu.nvidia.com", "count": count}
    return {"agents": {"quasar": {"gpu": gpu}}}


async def test_a_claim_template_goes_with_the_last_pod_that_uses_it() -> None:
    """A changed request makes a new template; the old one stays while a pod claims by it."""
    from qts_operator.cluster import PODS

    api = FakeCluster()
    api.unserved = {"PodMonitor"}
    api.system(NS, NAME, _claiming(1))
    async with running(api) as engine:
        await until(lambda: len(api.names("ResourceClaimTemplate", NS)) == 1)
        (first,) = api.names("ResourceClaimTemplate", NS)
        labels = {
            "app.kubernetes.io/managed-by": "qts-operator",
            "app.kubernetes.io/component": "quasar",
            "quantumtrading.io/system": NAME,
        }
        metadata = {"name": "p", "namespace": NS, "labels": labels}
        claims = [{"name": "gpu", "resourceClaimTemplateName": first}]
        await api.create(PODS, {"metadata": metadata, "spec": {"resourceClaims": claims}})
        # pods and systems come by watches of their own: what is meant to be first must be seen first
        await until(lambda: engine.view.pods.get(NS, "p") is not None)
        api.system(NS, NAME, _claiming(2))
        await until(lambda: len(api.names("ResourceClaimTemplate", NS)) == 2)
        await quiet(api)
        assert first in api.names("ResourceClaimTemplate", NS)
        (second,) = api.names("ResourceClaimTemplate", NS) - {first}
        newer = [{"name": "gpu", "resourceClaimTemplateName": second}]
        named = metadata | {"name": "q"}
        await api.create(PODS, {"metadata": named, "spec": {"resourceClaims": newer}})
        await until(lambda: engine.view.pods.get(NS, "q") is not None)
        api.remove("Pod", NS, "p")
        await until(lambda: len(api.names("ResourceClaimTemplate", NS)) == 1)
        assert first not in api.names("ResourceClaimTemplate", NS)
