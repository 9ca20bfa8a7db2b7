"""What a change of keys is judged by, one fact at a time: whom to ask, who is behind, what may not be made anew."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.control_plane.test_rotation import AGENTS, RAISED, SECRETS, Stand

from qts_core import names
from qts_core.acl import RELOADER
from qts_operator import rotation
from qts_operator.resolve import spec_of
from qts_operator.rotation import Step
from qts_operator.snapshot import Child, Heard
from qts_operator.stages import REMEDY, Stage

CURVE, REDIS = SECRETS[names.CURVE_SECRET], SECRETS[names.REDIS_SECRET]


def _secret(name: str, credentials: str) -> dict[tuple[str, str], Child]:
    given = {"kind": "Secret", "namespace": "trading", "name": name, "uid": "u", "version": "1"}
    return {("Secret", name): Child(**given, credentials=credentials)}


@pytest.mark.parametrize(
    ("spec", "curve", "redis", "asks"),
    [
        ({}, "1", "1", False),
        ({}, "1 Accepting", "1", True),
        ({}, "1", "2 Dropping", True),
        ({}, "3", "3", False),  # somebody took the number back: nothing changes
        (RAISED, "1", "2", True),
        (RAISED, "2", "2", False),
    ],
)
def test_pods_are_asked_while_a_change_is_under_way_or_begins(
    spec: dict[str, Any], curve: str, redis: str, asks: bool
) -> None:
    """And never else: it is a request to each of them."""
    secrets = _secret(CURVE, curve) | _secret(REDIS, redis)
    assert rotation.asks(spec_of(spec), "desk-1", secrets) == asks


def test_nobody_is_asked_about_secrets_that_are_not_there() -> None:
    """New ones have the generation that is asked for."""
    assert not rotation.asks(spec_of(RAISED), "desk-1", {})
    assert not rotation.asks(spec_of(RAISED), "another", _secret(CURVE, "1"))


def _step(stand: Stand, generation: int = 2) -> Step:
    snapshot = stand.snapshot()
    return Step(stand.frame(), snapshot, snapshot.children[("Secret", REDIS)], Stage(generation, "Using"))


def _with(stand: Stand, **changes: Any) -> Stand:
    """Return the stand with the pod of amos changed."""
    stand.pods = tuple(msgspec.structs.replace(p, **changes) if p.agent == "amos" else p for p in stand.pods)
    return stand


@pytest.mark.parametrize(
    ("changes", "waits"),
    [
        ({}, "desk-1-amos-0"),
        ({"node": ""}, ""),  # it mounts what is there when it starts
        ({"phase": "Failed"}, "desk-1-amos (no pod yet)"),
        ({"phase": "Succeeded"}, "desk-1-amos (no pod yet)"),
    ],
)
def test_a_pod_is_waited_for_until_it_says_that_it_has_the_new(changes: dict[str, Any], waits: str) -> None:
    """All others have; one that has ended uses nothing, and its successor is still to come."""
    stand = _with(Stand(), **changes)
    stand.heard = lambda pod: Heard(credentials={"curve": 1 if pod.agent == "amos" else 2})  # type: ignore[method-assign]
    assert _step(stand).waits_for_pods("curve") == waits
    assert _step(stand, generation=1).waits_for_pods("curve") == ("" if "no pod" not in waits else waits)


def test_at_most_five_are_named() -> None:
    """The status has room for a sentence."""
    stand = Stand()
    stand.heard = lambda _: Heard()  # type: ignore[method-assign]
    named = _step(stand).waits_for_pods("curve").split(", ")
    assert named == [f"desk-1-{w.name}-0" for w in AGENTS][:5]


def test_redis_is_waited_for_until_every_pod_of_it_has_loaded_the_list() -> None:
    """One on its way out does not count, and without any nobody has loaded it."""
    stand = Stand()
    assert _step(stand).waits_for_redis() == ""
    stand.loaded += "user another off\n"
    assert _step(stand).waits_for_redis() == "desk-1-redis-0 to load the access list"
    redis = next(p for p in stand.pods if p.agent == names.REDIS_PART)
    others = [p for p in stand.pods if p is not redis]
    stand.pods = (*others, msgspec.structs.replace(redis, deleting=True))
    assert _step(stand).waits_for_redis() == "desk-1-redis to load the access list"


def _lacking(stand: Stand, unread: dict[str, str] | None = None) -> dict[str, str]:
    snapshot = msgspec.structs.replace(stand.snapshot(), unread=unread or {})
    return rotation.lacking(snapshot, stand.frame())


def _only(stand: Stand, *parts: str, **changes: Any) -> Stand:
    stand.pods = tuple(msgspec.structs.replace(p, **changes) for p in stand.pods if p.agent in parts)
    return stand


GONE = "is gone while pods use what was in it"


@pytest.mark.parametrize(
    ("secret", "pods", "changes", "gone"),
    [
        (CURVE, ["amos"], {}, True),
        (CURVE, ["market"], {}, True),
        (CURVE, [names.REDIS_PART], {}, False),  # it mounts no key
        (REDIS, [names.REDIS_PART], {}, True),
        (REDIS, ["amos"], {}, True),
        (REDIS, ["amos"], {"phase": "Pending"}, False),
        (REDIS, ["amos"], {"deleting": True}, False),
        (REDIS, [], {}, False),
    ],
)
def test_what_a_running_pod_uses_is_not_made_anew(
    secret: str, pods: list[str], changes: dict[str, Any], gone: bool
) -> None:
    """It would be made different from what the pod holds."""
    stand = _only(Stand(), *pods, **changes)
    del stand.secrets[secret]
    assert _lacking(stand) == ({secret: f"Secret {secret} {GONE}"} if gone else {})


def test_a_secret_that_may_not_be_read_says_so_first() -> None:
    """Whether it is gone nobody can tell then."""
    stand = Stand()
    del stand.secrets[CURVE]
    assert _lacking(stand, {CURVE: "the server said no"}) == {CURVE: "the server said no"}


@pytest.mark.parametrize("part", [names.CURVE_SECRET, names.REDIS_SECRET])
def test_every_file_that_pods_mount_must_be_there(part: str) -> None:
    """The first three that are missing are named; without a list of files nothing is known of them."""
    stand = Stand()
    secret = stand.secrets[SECRETS[part]]
    secret["metadata"]["ownerReferences"] = [{"uid": "u-1", "controller": True}]
    files = sorted(secret["data"])

    def told(present: list[str]) -> str:
        managed = [{"fieldsV1": {"f:data": {f"f:{name}": {} for name in present}}}] if present else []
        secret["metadata"]["managedFields"] = managed
        return _lacking(stand).get(SECRETS[part], "")

    assert told(files) == told([]) == ""
    assert told(files[1:]) == f"Secret {SECRETS[part]} lacks {files[0]}"
    assert told(["other"]).count(",") == 2
    secret["metadata"]["ownerReferences"] = [{"uid": "u-9", "controller": True}]
    assert told(["other"]) == ""


@pytest.mark.parametrize("older", [False, True])
def test_the_password_that_reloads_is_missed_only_where_the_secret_promises_it(older: bool) -> None:
    """The side container of Redis mounts it; a Secret from before there was one runs without that."""
    stand = Stand(older=older)
    secret = stand.secrets[REDIS]
    secret["metadata"]["ownerReferences"] = [{"uid": "u-1", "controller": True}]
    present = {f"f:{name}": {} for name in secret["data"] if name != f"{RELOADER}.password"}
    secret["metadata"]["managedFields"] = [{"fieldsV1": {"f:data": present}}]
    told = [] if older else [f"Secret {REDIS} lacks {RELOADER}.password; {REMEDY}"]
    assert [f.message for f in stand.frame().faults] == told
    assert [f.reason for f in stand.frame().faults] == ["CredentialsMissing"] * len(told)


def test_a_pod_without_an_answer_is_behind() -> None:
    """Silence is no consent."""
    stand = Stand()
    snapshot = msgspec.structs.replace(stand.snapshot(), heard={})
    step = Step(stand.frame(), snapshot, snapshot.children[("Secret", REDIS)], Stage(1, "Using"))
    assert "desk-1-amos-0" in step.waits_for_pods("curve")
    assert step.waits_for_redis() == "desk-1-redis-0 to load the access list"
