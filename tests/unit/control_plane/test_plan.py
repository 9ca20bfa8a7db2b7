"""Desired minus observed, and what a pass makes of the server's answers."""

from __future__ import annotations

import msgspec
import pytest

from qts_operator import writes
from qts_operator.fields import applied, digest
from qts_operator.objects import desired
from qts_operator.plan import Apply, Create, Delete, Refuse, Wait, plan
from qts_operator.snapshot import Child
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


def test_a_stale_view_or_an_unwell_server_ends_the_writes(frame_of) -> None:
    """409 asks for a fresh look, 500 and silence for another try; neither is called complete."""
    for code in (409, 404):
        after = writes.step(_state(frame_of), Failed(code=code))
        assert after.stale
        assert writes.request(after) is None
    for code in (0, 429, 500, 503, 504):
        after = writes.step(_state(frame_of), Failed(code=code))
        assert after.unwell
        assert writes.request(after) is None
        assert not after.complete


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
