"""The whole engine against the cluster in memory: Secrets are made once, changed when asked, and named when unreadable."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tests.loops import until
from tests.unit.control_plane.engines import NAME, NS, condition, quiet, running

from qts_core import names
from qts_operator import rotation
from qts_operator.cluster import PODS
from qts_operator.look import Logins, belongs
from qts_operator.objects import BY_KIND
from qts_operator.session import ApiError
from qts_operator.snapshot import Pod
from qts_operator.testing import FakeCluster
from qts_operator.times import stamp


async def test_secrets_are_made_once_and_never_again() -> None:
    """An engine that starts later keeps what is there."""
    api = FakeCluster()
    api.system(NS, NAME, {})
    async with running(api):
        await until(lambda: len(api.names("Secret", NS)) == 2 and len(api.names("Deployment", NS)) == 5)
    data = api.objects[("Secret", NS, f"{NAME}-curve")]["data"]
    async with running(api):
        await asyncio.sleep(0.5)
    assert api.objects[("Secret", NS, f"{NAME}-curve")]["data"] == data


async def test_a_new_system_makes_its_secrets_without_asking_for_them() -> None:
    """What is there refuses: another engine that finds no status makes nothing anew, and goes on."""
    api, asked = FakeCluster(), []
    api.fault = lambda verb, kind, name: asked.append(name) if (verb, kind) == ("get", "Secret") else None
    api.system(NS, NAME, {})
    async with running(api):
        await until(lambda: condition(api, "Progressing")[0] != "")
    assert asked == []
    data = dict(_secret(api, "curve")["data"])
    api.change(names.KIND, NS, NAME, lambda live: live.update(status={}))
    async with running(api):
        await until(lambda: condition(api, "Progressing")[0] != "")
        assert condition(api, "Degraded") == ("False", "Healthy")
    assert _secret(api, "curve")["data"] == data
    assert sorted(asked) == [f"{NAME}-curve", f"{NAME}-redis-auth"], "read once they refused to be made"


class Telling(FakeCluster):
    """Keeps every status that is written."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[dict] = []

    async def put_status(self, namespace, name, uid, status):
        self.told.append(status)
        return await super().put_status(namespace, name, uid, status)


async def test_secrets_that_pods_use_already_are_asked_for_though_no_status_was_written_yet() -> None:
    """An operator died before its first status, and Redis was faster: its Secret is there, so nothing is missing."""
    api = Telling()
    api.system(NS, NAME, {})
    async with running(api):
        await until(lambda: condition(api, "Progressing")[0] != "")
    api.change(names.KIND, NS, NAME, lambda live: live.update(status={}))
    await api.create(PODS, _redis_pod())
    api.told.clear()
    async with running(api):
        await until(lambda: condition(api, "Progressing")[0] != "")
        await quiet(api)
    assert _degraded(api) == {"Healthy"}


def _redis_pod(**metadata: str) -> dict:
    """Return a running pod of the system's Redis."""
    labels = {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_SYSTEM: NAME,
        names.LABEL_COMPONENT: "redis",
    }
    return {
        "kind": "Pod",
        "metadata": {"namespace": NS, "name": f"{NAME}-redis-0", "uid": "p", "labels": labels} | metadata,
        "spec": {"nodeName": "n"},
        "status": {"phase": "Running"},
    }


def _degraded(api: Telling) -> set[str]:
    return {c["reason"] for told in api.told for c in told["conditions"] if c["type"] == "Degraded"}


async def test_pods_of_a_system_that_had_the_name_before_use_nothing_of_the_new_one() -> None:
    """Deleted and made again at once: the collector took the Secrets, and what is left of the pods is going to."""
    api = Telling()
    api.system(NS, NAME, {})
    async with running(api):
        await until(lambda: condition(api, "Progressing")[0] != "")
        await quiet(api)
        await api.create(PODS, _redis_pod(creationTimestamp="2026-08-01T09:00:00Z"))
        former, at = dict(_secret(api, "curve")["data"]), stamp(time.time())
        await quiet(api)
        api.told.clear()
        api.remove(names.KIND, NS, NAME)
        api.system(NS, NAME, {})
        api.change(names.KIND, NS, NAME, lambda live: live["metadata"].update(creationTimestamp=at))
        await until(lambda: ("Secret", NS, f"{NAME}-curve") in api.objects, 10.0)
        await quiet(api)
    assert _degraded(api) == {"Healthy"}
    assert _secret(api, "curve")["data"] != former


@pytest.mark.parametrize(
    ("started", "now", "ours"),
    [
        (1001.0, 1002.0, True),
        (991.0, 1002.0, True),
        (990.0, 1002.0, False),
        (990.0, 1600.0, False),
        (990.0, 1601.0, True),
    ],
)
def test_a_pod_that_is_older_than_its_system_is_of_one_before(started: float, now: float, ours: bool) -> None:
    """Made at 1000: clocks may differ by less than 10 s, and what is there after ten minutes stays."""
    pod = Pod(namespace=NS, name="p", uid="p", version="1", started=started)
    assert belongs(pod, 1000.0, now) is ours


OUTSIDE = {"redis": {"mode": "External", "urlSecretRef": {"name": "desk-redis"}}}


async def test_a_login_of_an_external_redis_that_is_missing_is_named_until_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No pod starts without it, and nobody else would say why; then nothing is written."""
    monkeypatch.setattr(rotation, "MENDED_S", 0.05)
    api = FakeCluster()
    api.system(NS, NAME, OUTSIDE)
    async with running(api):
        await until(lambda: condition(api, "RedisReady") == ("False", "CredentialsMissing"))
        assert condition(api, "Degraded") == ("True", "CredentialsMissing")
        told = api.objects[(names.KIND, NS, NAME)]["status"]["conditions"][2]["message"]
        assert "Secret desk-redis of spec.redis.urlSecretRef does not exist" in told
        assert told.endswith(f"make it in namespace {NS} with key url")
        api.settle(NS)
        await quiet(api)
        secret = {
            "kind": "Secret",
            "metadata": {"name": "desk-redis", "namespace": NS},
            "data": {"url": "eA=="},
        }
        await api.create(BY_KIND["Secret"], secret)
        await until(lambda: condition(api, "Degraded") == ("False", "Healthy"))
        assert condition(api, "RedisReady") == ("Unknown", "StatusUnreachable")


def _held(*files: str, of: str = "f:data") -> dict[str, Any]:
    """Return the metadata of a Secret somebody manages these files of."""
    return {
        "managedFields": [{"manager": "m", "fieldsV1": {of: {f"f:{file}": {} for file in (".", *files)}}}]
    }


@pytest.mark.parametrize(
    ("metadata", "there"),
    [
        (_held("address"), False),
        ({"managedFields": [{"manager": "m", "fieldsV1": {"f:type": {}}}]}, False),
        (_held("address", "url"), True),
        (_held("url", of="f:stringData"), True),
        (
            {
                "managedFields": [
                    {"manager": "other", "fieldsV1": {"f:type": {}}},
                    *_held("url")["managedFields"],
                ]
            },
            True,
        ),
        ({"managedFields": []}, True),
        ({"managedFields": [{}]}, True),
        ({}, True),
    ],
)
async def test_a_login_whose_secret_lacks_the_key_is_named(metadata: dict[str, Any], there: bool) -> None:
    """Nobody reads its content; of one that nobody manages nothing is known, so nothing is said."""
    api = FakeCluster()
    secret = {"kind": "Secret", "metadata": {"name": "desk-redis", "namespace": NS} | metadata}
    await api.create(BY_KIND["Secret"], secret)
    found = await Logins(api).of("k", NS, OUTSIDE, 1.0)
    if there:
        assert found is None
    else:
        assert found is not None
        assert found.message == (
            "Secret desk-redis of spec.redis.urlSecretRef has no key url, and no new pod starts without it; "
            "add it, or correct spec.redis.urlSecretRef.key"
        )


async def test_another_key_of_the_same_secret_is_looked_for_at_once() -> None:
    """What was there is remembered for ten minutes, by name and key."""
    api = FakeCluster()
    secret = {"kind": "Secret", "metadata": {"name": "desk-redis", "namespace": NS} | _held("url")}
    await api.create(BY_KIND["Secret"], secret)
    logins = Logins(api)
    other = {"redis": {"mode": "External", "urlSecretRef": {"name": "desk-redis", "key": "other"}}}
    assert await logins.of("k", NS, OUTSIDE, 1.0) is None
    assert (await logins.of("k", NS, other, 2.0)) is not None
    assert await logins.of("k", NS, OUTSIDE, 3.0) is None


async def test_a_login_that_may_not_be_seen_is_a_right_that_is_missing() -> None:
    """The server's own sentence."""
    api = FakeCluster()

    def forbid(verb: str, kind: str, name: str) -> None:
        if (verb, kind, name) == ("get", "Secret", "desk-redis"):
            raise ApiError(403, "Forbidden", 'cannot get resource "secrets"')

    api.fault = forbid
    api.system(NS, NAME, OUTSIDE)
    async with running(api):
        await until(lambda: condition(api, "Degraded") == ("True", "AccessDenied"))


def _secret(api: FakeCluster, part: str) -> dict:
    return api.objects[("Secret", NS, f"{NAME}-{part}")]


def _stage(api: FakeCluster) -> str:
    return str(_secret(api, "curve")["metadata"]["annotations"][names.ANNOTATION_CREDENTIALS])


async def test_keys_and_passwords_change_when_the_resource_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stage is one write; a write that gets lost, and a restart in between, change nothing of the end."""
    monkeypatch.setattr(rotation, "AGAIN_S", 0.05)
    api = FakeCluster()
    api.system(NS, NAME, {"suspend": True, "redis": {"mode": "External", "url": "redis://r:1"}})
    async with running(api):
        await until(lambda: condition(api, "Suspended")[0] != "")
        api.settle(NS)
    before = dict(_secret(api, "curve")["data"])
    lost = iter([True, False, True])

    def fault(verb: str, kind: str, _: str) -> None:
        if (verb, kind) == ("amend", "Secret") and next(lost, False):
            raise ApiError(503, "ServiceUnavailable", "later")

    api.fault = fault
    spec = {"suspend": True, "redis": {"mode": "External", "url": "redis://r:1"}}
    api.system(NS, NAME, spec | {"messaging": {"credentialsGeneration": 2}})
    for _ in range(2):
        async with running(api):
            await until(lambda: _stage(api) == "2")
            await until(lambda: condition(api, "Progressing") == ("False", "Complete"))
    after = _secret(api, "curve")["data"]
    assert set(after) == set(before)
    assert not set(after.values()) & set(before.values())
    assert len([c for c in api.writes() if c[0] == "amend"]) == 3


async def test_a_secret_that_may_not_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The condition holds the server's sentence, nothing is made anew, the pass goes on; mended, it goes."""
    api = FakeCluster()
    api.system(NS, NAME, {})
    async with running(api):
        await until(lambda: len(api.names("Deployment", NS)) == 5)
    made = len([c for c in api.writes() if c[:2] == ("create", "Secret")])

    def fault(verb: str, kind: str, name: str) -> None:
        if (verb, kind) == ("get", "Secret"):
            raise ApiError(403, "Forbidden", f'secrets "{name}" is forbidden: cannot get resource "secrets"')

    api.fault = fault
    monkeypatch.setattr(rotation, "MENDED_S", 0.2)
    async with running(api):
        await until(lambda: condition(api, "Degraded") == ("True", "AccessDenied"))
        assert len([c for c in api.writes() if c[:2] == ("create", "Secret")]) == made
        api.fault = lambda *_: None
        await until(lambda: condition(api, "Degraded") == ("False", "Healthy"))
