"""Every wrong answer to every kind of call: the end is that of a run without it, and nothing is made or ended twice."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import aiohttp
import msgspec
import pytest
from tests.unit.control_plane.engines import running
from tests.unit.control_plane.weather import Live, Weather, play

from qts_core import names
from qts_operator.cluster import PODS, Read
from qts_operator.main import Options
from qts_operator.middleware import ApiError
from qts_operator.objects import Kind
from qts_operator.session import WRITE_TIMEOUT_S, Access
from qts_operator.testing import FakeCluster

NS, NAME = "trading", "desk"
OPTIONS = Options(access=Access(server="http://nowhere"), identity="one", http_port=0, metrics_port=0)
REASONS = {401: "Unauthorized", 403: "Forbidden", 409: "Conflict", 422: "Invalid", 429: "TooManyRequests"}
REASONS |= {500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}
#: "lost": it never arrives; "unanswered": it is done, and nobody hears; "late": the same after 20 s;
#: "twice": something on the way sends it again, and the second answer is what comes back
ANSWERS = (*map(str, REASONS), "lost", "unanswered", "late", "twice")
CALLS = ("list", "watch", "get", "apply", "create", "amend", "update", "delete", "status")
#: which calls of the kind go wrong: the first that makes something, one on the way, two in a row
WRONG = (0, 2, 6, 7)
BACK_S = 1200.0  # of the engine's time: what a server calls invalid is tried again in five minutes
ACL = re.compile(r'(?<="quantumtrading.io/acl": ")[0-9a-f]{16}(?=")')
T = TypeVar("T")


class Answers(Weather):
    """Answers the calls of one kind wrongly, `WRONG` of them; counts what is made and what ends."""

    def __init__(self, call: str = "", answer: str = "") -> None:
        super().__init__(0)
        self._call, self._answer = call, answer
        self.asked: Counter[str] = Counter()
        self.made: Counter[tuple[str, str, str]] = Counter()
        self.ended: Counter[tuple[str, str, str]] = Counter()

    async def _through(self, name: str, limit_s: float, call: Callable[[], Awaitable[T]]) -> T:
        number = self.asked[name]
        self.asked[name] += 1
        do = partial(super()._through, name, limit_s, call)
        if name != self._call or number not in WRONG:
            return await do()
        if self._answer.isdigit():
            raise ApiError(int(self._answer), REASONS[int(self._answer)], "played")
        if self._answer != "lost":
            done = await do()
            if self._answer == "twice":
                return await do()
            del done
        await asyncio.sleep(limit_s if self._answer == "late" else 0.0)
        raise ApiError(0, "NoAnswer", "played")

    async def amend(self, kind: Kind, namespace: str, name: str, version: str, change: Live) -> Live:
        call = super().amend
        return await self._through(
            "amend", WRITE_TIMEOUT_S, lambda: call(kind, namespace, name, version, change)
        )

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        call = super().delete
        return await self._through("delete", WRITE_TIMEOUT_S, lambda: call(kind, namespace, name, uid))

    @asynccontextmanager
    async def watch(
        self, kind: Kind, namespace: str | None, params: dict[str, str], *read: Read
    ) -> AsyncIterator[AsyncIterator[Live]]:
        number = self.asked["watch"]
        self.asked["watch"] += 1
        wrong = self._call == "watch" and number in WRONG
        if wrong and self._answer.isdigit():
            raise ApiError(int(self._answer), REASONS[int(self._answer)], "played")
        if wrong and self._answer == "lost":
            raise aiohttp.ClientConnectionError("played")
        async with super().watch(kind, namespace, params, *read) as events:
            yield self._spoilt(events) if wrong else events

    async def _spoilt(self, events: AsyncIterator[Live]) -> AsyncIterator[Live]:
        """Show events late, twice, or break off where one should come."""
        async for event in events:
            if self._answer == "unanswered":
                raise aiohttp.ClientPayloadError("cut")
            await asyncio.sleep(20.0 if self._answer == "late" else 0.0)
            yield event
            if self._answer == "twice":
                yield event

    def _store(self, key: tuple[str, str, str], fresh: Live, known: Live | None) -> None:
        self.made[key] += known is None
        super()._store(key, fresh, known)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        self.ended[kind, namespace, name] += 1
        super().remove(kind, namespace, name)

    def counts(self) -> list[Counter[tuple[str, str, str]]]:
        """Return how often each object was made and ended, but for what is told in passing."""
        passing = ("Event", "Lease")
        return [
            Counter({k: n for k, n in each.items() if k[0] not in passing})
            for each in (self.made, self.ended)
        ]


def failed(name: str) -> Live:
    """Return a pod of AMOS that has ended for good."""
    labels = {
        "app.kubernetes.io/managed-by": "qts-operator",
        "app.kubernetes.io/component": "amos",
        "quantumtrading.io/system": NAME,
    }
    metadata = {"name": name, "namespace": NS, "labels": labels}
    return {"metadata": metadata, "spec": {}, "status": {"phase": "Failed"}}


def told(api: Answers) -> Live:
    """Return the status of the system."""
    return api.objects[names.KIND, NS, NAME].get("status") or {}


def at_rest(api: Answers) -> bool:
    """Tell whether the newest generation is applied and everything is Ready."""
    states = {c["type"]: c["status"] for c in told(api).get("conditions", ())}
    generation = api.objects[names.KIND, NS, NAME]["metadata"]["generation"]
    return told(api).get("observedGeneration") == generation and states.get("Ready") == "True"


async def story(api: Answers) -> str:
    """Make a system, take an agent out and back, let a pod fail; return how all ends."""

    async def until(check: Callable[[], bool]) -> None:
        async with asyncio.timeout(BACK_S):
            while not check():
                await asyncio.sleep(0.5)
                api.settle(NS)

    api.system(NS, NAME, {})
    async with running(api, OPTIONS):
        await until(lambda: at_rest(api))
        api.system(NS, NAME, {"agents": {"amos": {"enabled": False}}})
        await until(lambda: at_rest(api) and ("Deployment", NS, f"{NAME}-amos") not in api.objects)
        api.system(NS, NAME, {"config": {"systemSeed": 7}})
        await until(lambda: at_rest(api) and ("Deployment", NS, f"{NAME}-amos") in api.objects)
        await FakeCluster.create(api, PODS, failed("amos-1"))
        await until(lambda: at_rest(api) and ("Pod", NS, "amos-1") not in api.objects)
        await asyncio.sleep(60.0)
        assert at_rest(api)
    return end_of(api)


def end_of(api: Answers) -> str:
    """Return every object without what no two runs have in common: uids, times, and the hash of drawn passwords."""
    text = msgspec.json.format(msgspec.json.encode(dict(_kept(api)), order="deterministic"), indent=1)
    return ACL.sub("drawn", text.decode())


def _kept(api: Answers) -> Iterator[tuple[str, Any]]:
    for (kind, _, name), live in api.objects.items():
        if kind in ("Event", "Lease"):
            continue
        metadata = {k: live["metadata"].get(k) for k in ("labels", "annotations")}
        body = {k: v for k, v in live.items() if k not in ("metadata", "data", "status")}
        yield f"{kind}/{name}", body | metadata | {"files": sorted(live.get("data") or ())}
    yield "conditions", {c["type"]: [c["status"], c["reason"]] for c in told(api)["conditions"]}
    yield "restarts", {a["name"]: a.get("restarts") for a in told(api).get("agentStatuses", ())}


@pytest.fixture(scope="module")
def clean() -> tuple[Answers, str]:
    """Play the story without a fault."""
    api = Answers()
    return api, play(story(api))


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_answer_changes_no_end(clean: tuple[Answers, str], call: str, answer: str) -> None:
    """Nothing is made twice, no pod but the failed one ends, and every object and condition is as without it."""
    reference, end = clean
    assert reference.asked[call] > WRONG[0], f"the story makes no call {call}"
    api = Answers(call, answer)
    assert play(story(api)) == end
    assert api.counts() == reference.counts()
