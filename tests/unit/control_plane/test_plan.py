"""Desired minus observed, and what a pass makes of the server's answers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.control_plane.conftest import make_frame

from qts_operator import writes
from qts_operator.fields import applied, digest
from qts_operator.objects import desired
from qts_operator.plan import Apply, Create, Delete, HandOver, Refuse, Rotate, Wait, due, plan
from qts_operator.snapshot import Child, Finding
from qts_operator.writes import Done, Failed, Taken


def _child(manifest, **more):
    metadata = manifest["metadata"]
    given = {
        "kind": manifest["kind"],
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": f"uid-{manifest['kind']}-{metadata['name']}",
        "version": "1",
        "owner_uid": "u-1",
        "owner_kind": "QuantumTradingSystem",
        "digest": digest(applied(manifest)),
    }
    return Child(**(given | more))


def _observed(manifests):
    return {(m["kind"], m["metadata"]["name"]): _child(m) for m in manifests}


@pytest.mark.parametrize(
    ("code", "message", "lacking"),
    [
        (403, 'events is forbidden: User "op" cannot create resource "events" in API group ""', True),
        (404, 'events is forbidden: User "op" cannot create resource "events" in API group ""', False),
        (403, 'events "a" is forbidden: unable to create new content: it is being terminated', False),
        (403, 'pods "p" is forbidden: exceeded quota: q, requested: pods=1', False),
        (403, 'admission webhook "x" denied the request: no', False),
    ],
)
def test_a_missing_right_is_not_any_403(code: int, message: str, lacking: bool) -> None:
    assert writes.lacks_right(Failed(code=code, message=message)) is lacking


def test_everything_is_created_in_the_order_of_the_table(frame_of) -> None:
    """Accounts and Secrets first, Deployments last; Secrets are created, the rest applied."""
    wanted = desired(frame_of())
    actions = plan(wanted, {}, "u-1")
    assert [a.manifest for a in actions] == list(wanted)
    assert {type(a) for a in actions if a.manifest["kind"] == "Secret"} == {Create}
    assert {type(a) for a in actions if a.manifest["kind"] != "Secret"} == {Apply}


def test_nothing_is_done_at_rest(frame_of) -> None:
    """Equal digests give no action."""
    wanted = desired(frame_of())
    assert plan(wanted, _observed(wanted), "u-1") == []


def test_only_what_differs_is_applied_to_that_very_object(frame_of) -> None:
    """One changed digest gives one apply with the object's uid."""
    wanted = desired(frame_of())
    observed = _observed(wanted)
    key = ("Deployment", "desk-1-quasar")
    observed[key] = msgspec.structs.replace(observed[key], digest="other")
    (action,) = plan(wanted, observed, "u-1")
    assert (action.manifest["metadata"]["name"], action.uid) == ("desk-1-quasar", observed[key].uid)


def test_what_is_no_longer_desired_is_deleted_by_uid(frame_of) -> None:
    """An agent that is switched off leaves, and nothing else does."""
    before, after = desired(frame_of()), desired(frame_of({"agents": {"amos": {"enabled": False}}}))
    gone = [a for a in plan(after, _observed(before), "u-1") if isinstance(a, Delete)]
    assert {(a.kind, a.name) for a in gone} == {("Deployment", "desk-1-amos"), ("Service", "desk-1-amos")}
    assert all(a.uid for a in gone)


def test_strangers_and_leavers_are_left_alone(frame_of) -> None:
    """A stranger's object is refused, one that is going or of an earlier resource is waited for."""
    wanted = desired(frame_of())
    observed = _observed(wanted)
    change = msgspec.structs.replace
    stranger, leaver, former = (
        ("Service", "desk-1-pads"),
        ("ConfigMap", "desk-1-config"),
        ("Service", "desk-1-amos"),
    )
    observed[stranger] = change(observed[stranger], owner_uid="", owner_kind="")
    observed[leaver] = change(observed[leaver], deleting=True)
    observed[former] = change(observed[former], owner_uid="u-0")
    actions = plan(wanted, observed, "u-1")
    assert {type(a).__name__: a.name for a in actions if isinstance(a, Refuse)} == {"Refuse": "desk-1-pads"}
    assert {a.name for a in actions if isinstance(a, Wait)} == {"desk-1-config", "desk-1-amos"}
    assert len(actions) == 3
    (found,) = writes.begin(actions).findings
    assert found.message.endswith(
        "; rename one of them; or, if an earlier one left it (--cascade=orphan): delete this resource, "
        "then what has the label quantumtrading.io/system=desk-1, and make it again"
    )
    observed[stranger] = change(observed[stranger], owner_uid="x", owner_kind="Deployment")
    (found,) = writes.begin(plan(wanted, observed, "u-1")).findings
    assert found.message.endswith("; rename one of them")


def test_what_the_server_altered_is_not_sent_again_until_it_changes(frame_of) -> None:
    """A pruned or mutated object is left until its version moves."""
    wanted = desired(frame_of())
    observed = _observed(wanted)
    key = ("Service", "desk-1-pads")
    observed[key] = msgspec.structs.replace(observed[key], digest="altered")
    told = digest(applied(next(m for m in wanted if m["metadata"]["name"] == "desk-1-pads")))
    kept = {observed[key].uid: ("1", told)}
    assert plan(wanted, observed, "u-1", kept) == []
    observed[key] = msgspec.structs.replace(observed[key], version="2")
    assert len(plan(wanted, observed, "u-1", kept)) == 1


#: what may have become of an object since it was written
CHANGES = {
    "nothing": {},
    "edited": {"digest": "other"},
    "a stranger's": {"owner_uid": "", "owner_kind": ""},
    "another system's": {"owner_uid": "u-0"},
    "going": {"deleting": True},
    "a stranger's, and going": {"owner_uid": "", "owner_kind": "", "deleting": True},
    "in a change of credentials": {"credentials": "2 Accepting"},
    "counted by us": {"counts": True},
    "edited and counted by us": {"counts": True, "digest": "other"},
    "edited and held back": {"parked": "4", "digest": "other"},
}
FATES = st.dictionaries(st.integers(0, 40), st.sampled_from([*CHANGES, "gone", "kept"]), max_size=6)
EXTERNAL = {"agents": {"amos": {"replicasManagedBy": "External"}}}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FATES, st.sampled_from([{}, EXTERNAL]), st.booleans())
def test_what_is_due_is_the_plan(fates: dict[int, str], spec: dict[str, Any], left: bool) -> None:
    """The short way, which renders nothing at rest, comes to what the long one does, whatever has happened."""
    frame = msgspec.structs.replace(make_frame(spec), external={"amos": 3} if spec else {})
    wanted = desired(frame)
    observed, kept = _observed(wanted), {}
    if left:
        stray = _child({"kind": "Service", "metadata": {"name": "desk-1-gone", "namespace": "t"}})
        observed["Service", "desk-1-gone"] = stray
    for number, fate in fates.items():
        key = list(observed)[number % len(observed)]
        child = observed[key]
        if fate == "kept":
            told = digest(applied(wanted[number % len(wanted)])) if number < len(wanted) else ""
            observed[key] = msgspec.structs.replace(child, digest="altered")
            kept[child.uid] = (child.version, told)
        elif fate != "gone":
            observed[key] = msgspec.structs.replace(child, **CHANGES[fate])
    for number, fate in fates.items():
        if fate == "gone":
            observed.pop(list(observed)[number % len(observed)])
    assert due(frame, observed, kept) == plan(wanted, observed, frame.uid, kept)


@pytest.mark.parametrize(
    ("key", "change", "expected"),
    [
        (("Service", "desk-1-pads"), "edited", [Apply]),
        (("Service", "desk-1-pads"), "a stranger's", [Refuse]),
        (("Service", "desk-1-pads"), "a stranger's, and going", [Wait]),
        (("Service", "desk-1-pads"), "another system's", [Wait]),
        (("Service", "desk-1-pads"), "going", [Wait]),
        (("Secret", "desk-1-curve"), "edited", []),
        (("Secret", "desk-1-curve"), "going", [Wait]),
        (("Secret", "desk-1-curve"), "in a change of credentials", [Rotate]),
        (("Deployment", "desk-1-qbmia"), "edited and counted by us", [Apply]),
        (("Deployment", "desk-1-qbmia"), "edited and held back", [Apply]),
        (("Deployment", "desk-1-amos"), "edited", [Apply]),
        (("Deployment", "desk-1-amos"), "counted by us", []),
        (("Deployment", "desk-1-amos"), "edited and counted by us", [HandOver, Apply]),
        (("Deployment", "desk-1-amos"), "edited and held back", [HandOver, Apply]),
        (("Service", "desk-1-gone"), "nothing", [Delete]),
        (("Service", "desk-1-gone"), "going", []),
        (("Service", "desk-1-gone"), "a stranger's", []),
        (("Secret", "desk-1-gone"), "nothing", []),
    ],
)
def test_one_object_has_one_fate(frame_of, key: Any, change: str, expected: list[type]) -> None:
    """Of an agent whose replicas are an autoscaler's (amos) the number is left first; strays of ours go."""
    frame = msgspec.structs.replace(frame_of(EXTERNAL), external={"amos": 3})
    observed = _observed(desired(frame))
    found = observed.get(key) or _child({"kind": key[0], "metadata": {"name": key[1], "namespace": "t"}})
    observed[key] = msgspec.structs.replace(found, **{"replicas": 7} | CHANGES[change])
    actions = due(frame, observed, {})
    assert [type(a) for a in actions] == expected
    for action in actions:
        assert writes.identity(action) == key
        if isinstance(action, HandOver):
            assert action.replicas == (4 if change == "edited and held back" else 7)
        if isinstance(action, Apply | Delete | HandOver | Rotate):
            assert action.uid == found.uid


def _state(frame_of):
    return writes.begin(plan(desired(frame_of()), {}, "u-1"))


def test_a_pass_ends_complete_when_all_is_done(frame_of) -> None:
    """Every action is asked for once, in order."""
    state, asked = _state(frame_of), 0
    while writes.request(state) is not None:
        state, asked = writes.step(state, Done()), asked + 1
    assert state.complete
    assert state.writes == asked == len(desired(frame_of()))


def test_a_refused_object_is_named_and_holds_nobody_back(frame_of) -> None:
    """422 becomes a finding with the field; the next action follows."""
    state = _state(frame_of)
    after = writes.step(state, Failed(code=422, reason="Invalid", message="bad", field="spec.x"))
    assert after.findings[0].reason == "ObjectRejected"
    assert after.findings[0].message == "ServiceAccount/desk-1-agents: spec.x: bad"
    assert writes.request(after) == state.todo[1]
    assert not after.complete


ACTIONS = {
    "apply": Apply(manifest={"kind": "Service", "metadata": {"name": "x"}}),
    "create": Create(manifest={"kind": "Secret", "metadata": {"name": "x"}}),
    "delete": Delete(kind="Service", namespace="n", name="x", uid="u"),
}


@pytest.mark.parametrize("verb", ACTIONS)
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Done(), "written"),
        (Taken(), "refused"),
        *((Failed(code=code), "stale") for code in (404, 409, 410)),
        (Failed(code=422, reason="Conflict"), "stale"),
        *((Failed(code=code, reason="Invalid", message="m"), "refused") for code in (400, 403, 422)),
        *((Failed(code=code, retry_after=7.0), "unwell") for code in (0, 401, 429, 500, 503, 504)),
    ],
)
def test_each_answer_has_one_consequence(verb: str, answer: Any, outcome: str) -> None:
    """Written and refused go on, a stale view and an unwell server end the writes; what is gone is deleted."""
    if verb == "delete" and answer == Failed(code=404):
        outcome = "gone"
    first, second = ACTIONS[verb], ACTIONS["apply"]
    before = writes.State(todo=(first, second))
    after = writes.step(before, answer)
    goes_on = outcome in ("written", "refused", "gone")
    assert writes.request(before) is first
    assert writes.request(after) is (second if goes_on else None)
    assert after.todo == ((second,) if goes_on else (first, second))
    assert after.writes == (1 if outcome == "written" else 0)
    assert [f.condition for f in after.findings] == (["Degraded"] if outcome == "refused" else [])
    assert after.stale is (outcome == "stale")
    assert bool(after.unwell) is (outcome == "unwell")
    assert after.retry_after == (7.0 if outcome == "unwell" else None)
    assert not after.waiting


def test_complete_is_what_left_nothing_behind() -> None:
    """Any of it alone is enough to look again."""
    finding = Finding(reason="x", message="y")
    assert writes.State(todo=()).complete
    assert writes.begin([]).complete
    left = {
        "todo": (ACTIONS["apply"],),
        "findings": (finding,),
        "stale": True,
        "unwell": "no answer",
        "waiting": True,
    }
    for field, value in left.items():
        assert not writes.State(**{"todo": ()} | {field: value}).complete
    assert writes.begin([Wait(kind="Service", name="x")]).waiting
    (told,) = writes.begin([Refuse(kind="Service", name="x"), ACTIONS["apply"]]).findings
    assert (told.reason, told.message.split(";")[0]) == (
        "NameTaken",
        "Service/x exists and does not belong to this resource",
    )


@pytest.mark.parametrize(
    ("failed", "reason", "message"),
    [
        (Failed(code=403), "AccessDenied", "Service/x: forbidden"),
        (Failed(code=403, message="no"), "AccessDenied", "no"),
        (Failed(code=403, message="exceeded quota: q"), "QuotaExceeded", "exceeded quota: q"),
        (Failed(code=422, message="exceeded quota: q"), "ObjectRejected", "Service/x: exceeded quota: q"),
        (
            Failed(code=403, message="it is being terminated"),
            "NamespaceTerminating",
            "it is being terminated",
        ),
        (
            Failed(code=400, message="it is being terminated"),
            "ObjectRejected",
            "Service/x: it is being terminated",
        ),
        (Failed(code=422, reason="CredentialsMissing", message="m"), "CredentialsMissing", "m"),
        (Failed(code=422, message="m", field="spec.x"), "ObjectRejected", "Service/x: spec.x: m"),
        (Failed(code=400, message="m" * 2000), "ObjectRejected", f"Service/x: {'m' * 989}"),
    ],
)
def test_a_refusal_has_its_reason_and_its_words(failed: Failed, reason: str, message: str) -> None:
    """The words of a right, a quota or a namespace count in a 403 alone."""
    (told,) = writes.step(writes.State(todo=(ACTIONS["apply"],)), failed).findings
    assert (told.reason, told.message) == (reason, message)


@pytest.mark.parametrize(
    ("kind", "name", "path", "field"),
    [
        ("Deployment", "amos", "template.spec.affinity.nodeAffinity.wrong", "agents.amos.affinity"),
        ("Deployment", "market", "template.spec.containers[0].resources.limits[foo]", "market.resources"),
        ("Deployment", "amos", "template.annotations", "agents.amos.podAnnotations"),
        ("Deployment", "amos", "template.labels", "agents.amos.podLabels"),
        ("StatefulSet", "redis", "template.spec.containers[0].resources.requests", "redis.resources"),
        ("StatefulSet", "redis", "template.spec.containers[1].resources.requests", "redis.acl.resources"),
        ("StatefulSet", "redis", "volumeClaimTemplates[0].spec.resources[storage]", "redis.storage"),
        (
            "NetworkPolicy",
            "agents",
            "ingress[2].from[0].namespaceSelector.matchLabels",
            "networkPolicy.metricsFrom",
        ),
    ],
)
def test_a_refused_object_names_the_field_of_the_resource_too(
    frame_of, kind: str, name: str, path: str, field: str
) -> None:
    """Whoever wrote the resource never saw the object; the words of a field that is not in the schema too."""
    manifest = next(
        m for m in desired(frame_of()) if (m["kind"], m["metadata"]["name"]) == (kind, f"desk-1-{name}")
    )
    state = writes.State(todo=(Apply(manifest=manifest, uid="u"),))
    told = f'{kind} "x" is invalid: spec.{path}: Invalid value: "0": {"no " * 500}'
    for failed in (
        Failed(code=422, message=told, field=f"spec.{path}"),
        Failed(code=500, message=f"{writes.UNTYPED}x): .spec.{path}: field not declared in schema"),
    ):
        message = writes.step(state, failed).findings[0].message
        assert message.startswith(f"{kind}/desk-1-{name}: ")
        assert message.endswith(f"; correct spec.{field}")
        assert message.count(f"spec.{path}") == 1
        assert len(message) <= 1000
    both = f"[spec.{path}: a, spec.{path}: b, spec.replicas: c]"
    assert writes.step(state, Failed(code=422, message=both)).findings[0].message.count("correct") == 1


@pytest.mark.parametrize(("message", "tried"), [("it is being terminated", 1), ("no", 2)])
def test_a_namespace_on_its_way_out_ends_the_writes(message: str, tried: int) -> None:
    """It would refuse each of them; any other refusal concerns one object."""
    state, asked = writes.State(todo=(ACTIONS["apply"], ACTIONS["create"])), 0
    while writes.request(state) is not None:
        state, asked = writes.step(state, Failed(code=403, message=message)), asked + 1
    assert asked == tried == len(state.findings)
    assert not state.complete


def test_an_unwell_server_is_quoted() -> None:
    """Or it is said what it did not answer."""
    state = writes.State(todo=(ACTIONS["apply"],))
    assert writes.step(state, Failed(code=500, message="etcd is away")).unwell == "etcd is away"
    assert writes.step(state, Failed(code=0)).unwell == "no answer to Service/x (0)"


def test_rights_quota_and_names_have_their_own_reasons(frame_of) -> None:
    """403 is a right or a quota, a stranger's object is a taken name."""
    state = _state(frame_of)
    assert writes.step(state, Failed(code=403, message="no")).findings[0].reason == "AccessDenied"
    quota = writes.step(state, Failed(code=403, message="exceeded quota: q")).findings[0]
    leaving = (
        "secrets is forbidden: unable to create new content in namespace x because it is being terminated"
    )
    assert writes.step(state, Failed(code=403, message=leaving)).findings[0].reason == "NamespaceTerminating"
    assert (quota.reason, quota.condition) == ("QuotaExceeded", "Scheduled")
    assert writes.step(state, Taken()).findings[0].reason == "NameTaken"
