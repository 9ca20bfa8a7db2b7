"""The whole engine against the cluster in memory: statuses that a change overtakes, or whose answer is lost."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from structlog.contextvars import merge_contextvars
from tests.loops import until
from tests.unit.control_plane.engines import NAME, NS, condition, quiet, running

from qts_core.telemetry import open_logs
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


async def _line_and_counts(
    api: FakeCluster, event: str, said: tuple[str, str, str]
) -> tuple[MutableMapping[str, Any], list[str]]:
    """Return the first line of a kind once a condition of a new system says so, and how passes are counted then."""
    api.system(NS, NAME, {})
    with structlog.testing.capture_logs([merge_contextvars]) as logs:
        async with running(api) as engine:
            await until(lambda: (said[0], *condition(api, said[0])) == said)
            await until(lambda: any(line["event"] == event for line in logs))
            text = engine.metrics.text().decode()
    counted = [line for line in text.splitlines() if line.startswith("qts_reconcile_total{")]
    return next(line for line in logs if line["event"] == event), counted


async def test_a_refused_object_is_logged_and_counted_under_one_word() -> None:
    """That of condition and Event."""
    api = FakeCluster()

    def refuse(verb: str, kind: str, name: str) -> None:
        if (verb, kind, name) == ("apply", "Deployment", f"{NAME}-pads"):
            raise ApiError(422, "Invalid", "spec.x: no", field="spec.x")

    api.fault = refuse
    told, counted = await _line_and_counts(api, "refused", ("Degraded", "True", "ObjectRejected"))
    assert (told["namespace"], told["system"], told["generation"]) == (NS, NAME, 1)
    assert (told["reason"], "spec.x" in told["error"]) == ("ObjectRejected", True)
    assert any('reason="ObjectRejected"' in line and 'result="refused"' in line for line in counted)
    assert not any('reason=""' in line and 'result="refused"' in line for line in counted)


async def test_a_server_that_is_unwell_is_told_in_the_log_as_in_the_status() -> None:
    """A write that comes to nothing has one word in the log, the metric and the condition, and its object."""
    api = FakeCluster()

    def unwell(verb: str, kind: str, name: str) -> None:
        if (verb, kind, name) == ("apply", "Deployment", f"{NAME}-pads"):
            raise ApiError(503, "ServiceUnavailable", "etcd is away")

    api.fault = unwell
    told, counted = await _line_and_counts(api, "pass failed", ("Ready", "False", "SpecNotApplied"))
    assert (told["namespace"], told["system"], told["reason"]) == (NS, NAME, "SpecNotApplied")
    assert "etcd is away" in told["error"]
    assert any('reason="SpecNotApplied"' in line and 'result="error"' in line for line in counted)


async def test_the_lines_of_a_pass_have_its_id_and_no_other_line_has_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As they are written, of two systems whose passes go on side by side."""
    api = FakeCluster()

    def fault(verb: str, kind: str, name: str) -> None:
        if (verb, kind, name) == ("apply", "Deployment", f"{NAME}-pads"):
            raise ApiError(422, "Invalid", "no")
        if (verb, name) == ("status", "desk-2"):
            raise ApiError(500, "Unwell", "no")

    api.fault = fault
    for name in (NAME, "desk-2"):
        api.system(NS, name, {})
    open_logs("operator", "operator")
    async with running(api) as engine:
        await until(lambda: engine.metrics.registry.get_sample_value("qts_queue_retries_total") >= 4)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    passes: dict[str, set[tuple[str, str, int]]] = {}
    for line in lines:
        if line["event"] in ("refused", "pass failed"):
            passes.setdefault(line["reconcile_id"], set()).add(
                (line["namespace"], line["system"], line["generation"])
            )
            assert line["reason"]
        else:
            assert "reconcile_id" not in line
    assert {facts for found in passes.values() for facts in found} == {(NS, NAME, 1), (NS, "desk-2", 1)}
    assert [found for found in passes.values() if len(found) > 1] == []
    assert len(passes) >= 4
