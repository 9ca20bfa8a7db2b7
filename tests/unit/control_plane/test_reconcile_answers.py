"""The whole engine against the cluster in memory: statuses that a change overtakes, or whose answer is lost."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import structlog
from tests.unit.control_plane.test_reconcile import NAME, NS, condition, quiet, running, until

from qts_operator.session import ApiError
from qts_operator.testing import FakeCluster
from qts_operator.times import stamp


class Hasty(FakeCluster):
    """A user changes the spec just before the operator's first status arrives."""

    async def put_status(self, namespace, name, uid, status):
        if not any(verb == "status" for verb, _, _ in self.writes()):
            self.change("QuantumTradingSystem", namespace, name, _without_amos)
        return await super().put_status(namespace, name, uid, status)


def _without_amos(live: dict) -> None:
    live["spec"] = {"agents": {"amos": {"enabled": False}}}


async def test_a_change_that_a_status_write_overtakes_is_not_lost() -> None:
    """The answer to the status shows the new spec first, so the watch brings nothing that is newer."""
    api = Hasty()
    api.system(NS, NAME, {})
    async with running(api):
        await until(lambda: len(api.names("Deployment", NS)) == 4)
        await quiet(api)
    assert f"{NAME}-amos" not in api.names("Deployment", NS)


class Mute(FakeCluster):
    """Writes the first status and does not answer; its watch never shows the resource again."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[dict] = []

    @asynccontextmanager
    async def watch(self, kind, namespace, params, *read):
        async with super().watch(kind, namespace, params, *read) as events:

            async def nothing():
                await asyncio.Event().wait()
                yield {}

            yield nothing() if kind.name == "QuantumTradingSystem" else events

    async def put_status(self, namespace, name, uid, status):
        answer = await super().put_status(namespace, name, uid, status)
        self.told.append(status)
        if len(self.told) == 1:
            raise ApiError(0, "NoAnswer", "the answer was lost")
        return answer


async def test_a_status_whose_answer_was_lost_is_not_dated_anew() -> None:
    """What was perhaps written is read before the next status is built on it."""
    api = Mute()
    api.system(NS, NAME, {})
    async with running(api):
        await until(lambda: api.told)
        first = api.told[0]["conditions"][0]["lastTransitionTime"]
        await until(lambda: stamp(time.time()) > first)  # dates are whole seconds
        api.settle(NS)
        await until(lambda: condition(api, "Ready")[0] == "True")
    dated: dict[tuple[str, str], str] = {}
    for told in api.told:
        for each in told["conditions"]:
            known = dated.setdefault((each["type"], each["status"]), each["lastTransitionTime"])
            assert each["lastTransitionTime"] == known, each["type"]
    assert len(api.told) >= 2


async def test_a_refused_object_is_logged_and_counted_under_one_word() -> None:
    """That of condition and Event."""
    api = FakeCluster()

    def refuse(verb: str, kind: str, name: str) -> None:
        if (verb, kind, name) == ("apply", "Deployment", f"{NAME}-pads"):
            raise ApiError(422, "Invalid", "spec.x: no", field="spec.x")

    api.fault = refuse
    api.system(NS, NAME, {})
    with structlog.testing.capture_logs() as logs:
        async with running(api) as engine:
            await until(lambda: condition(api, "Degraded") == ("True", "ObjectRejected"))
            await until(lambda: any(line["event"] == "refused" for line in logs))
            text = engine.metrics.exposition("")[0].decode()
    told = next(line for line in logs if line["event"] == "refused")
    assert (told["namespace"], told["name"], told["generation"]) == (NS, NAME, 1)
    assert (told["reason"], "spec.x" in told["error"]) == ("ObjectRejected", True)
    counted = [line for line in text.splitlines() if line.startswith("qts_reconcile_total{")]
    assert any('reason="ObjectRejected"' in line and 'result="refused"' in line for line in counted)
    assert not any('reason=""' in line and 'result="refused"' in line for line in counted)
