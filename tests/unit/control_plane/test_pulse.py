"""After a pause of the process nothing goes out before the Lease is read again, and no old connection is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import web
from tests.loops import until
from tests.unit.control_plane.engines import NAME, NS, condition, running
from tests.unit.control_plane.test_session import serving

from qts_operator import leader
from qts_operator.cluster import LEASES
from qts_operator.lease import Election
from qts_operator.middleware import ApiError
from qts_operator.pulse import BEAT_S, LAG_S, Pulse
from qts_operator.testing import FakeCluster


class Clock:
    """Time since boot, to which pauses of the machine are added."""

    def __init__(self) -> None:
        self._now, self.paused_s = leader.boot_s, 0.0

    def __call__(self) -> float:
        return self._now() + self.paused_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(leader, "boot_s", made)
    return made


async def test_a_loop_is_paused_until_somebody_has_dealt_with_it() -> None:
    """A lag is measured from when the loop last turned, not from when the beat was begun."""
    now = [0.0]
    pulse = Pulse(lambda: now[0])
    now[0] = BEAT_S + LAG_S
    assert not pulse.paused()
    now[0] += 0.1
    assert pulse.paused()
    assert await pulse.beat() == pytest.approx(LAG_S + 0.1)
    pulse.turned()
    assert not pulse.paused()
    assert await pulse.beat() == 0.0


def test_a_renewal_that_was_sent_before_a_pause_proves_nothing() -> None:
    """Its answer comes late; one that was sent afterwards counts."""
    one = Election("one")
    one.succeeded(1.0)
    one.doubt(2.5)
    assert not one.leads(2.5)
    one.succeeded(1.5)
    assert not one.leads(2.6)
    one.succeeded(2.6)
    assert one.leads(2.7)


async def test_a_pause_shorter_than_the_lease_is_doubted_all_the_same(clock: Clock) -> None:
    """No write leaves in between; the Lease is read and renewed, and passes that wrote nothing are due again."""
    api, dropped = FakeCluster(), []
    api.system(NS, NAME, {})
    async with running(api) as engine:
        engine._drop = lambda: dropped.append(engine.leads())
        await until(lambda: condition(api, "Ready")[0] != "")
        assert engine.leads()
        api.calls.clear()
        api.remove("Service", NS, f"{NAME}-pads")
        clock.paused_s = 3.0
        assert not engine.leads(), "in the very stretch in which the process goes on"
        await until(lambda: engine.leads())
        await until(lambda: f"{NAME}-pads" in api.names("Service", NS))
        verbs = [(verb, kind) for verb, kind, _ in api.calls if kind != "Event"]
    assert dropped == [False]
    assert verbs[0] == ("update", LEASES.name), "the first write of all"


async def test_who_did_not_lead_keeps_its_connections(clock: Clock) -> None:
    """A standby has begun no write, and its watches cost the API server something."""
    api, dropped = FakeCluster(), []
    other = {"holderIdentity": "other", "leaseDurationSeconds": 1000}
    await api.create(LEASES, {"metadata": {"name": leader.NAME, "namespace": "qts-system"}, "spec": other})
    async with running(api) as engine:
        engine._drop = lambda: dropped.append(True)
        await until(lambda: engine.ready() == "")
        clock.paused_s = 3.0
        assert engine._pulse.paused()
        await until(lambda: not engine._pulse.paused())
        assert not engine.leads()
    assert dropped == []


async def test_writes_that_are_dropped_end_and_what_is_read_goes_on(tmp_path: Any) -> None:
    """Ten thousand systems take the loop for longer than a pause when they are listed: that must not list them again.

    The connection of a write is dropped, not one that carried a write and carries a read now.
    """
    async with serving(tmp_path) as (server, session):
        more = asyncio.Event()

        async def lines() -> AsyncIterator[bytes]:
            yield b"one\n"
            await more.wait()
            yield b"two\n"

        await session.call("PATCH", "/first", kind="Pod")
        plain, server.answer = server.answer, lambda _: web.Response(body=lines())
        async with session.stream("/w", {}, 60.0, verb="watch", kind="Pod") as told:
            assert await anext(told) == b"one"
            server.answer = plain
            server.open.clear()
            writing, reading = (
                asyncio.create_task(session.call(verb, "/slow", kind="Pod")) for verb in ("PATCH", "GET")
            )
            await until(lambda: len(server.seen) == 4)
            session.drop()
            with pytest.raises(ApiError) as caught:
                await writing
            assert caught.value.code == 0
            server.open.set()
            assert await reading == {"ok": True}
            more.set()
            assert await anext(told) == b"two"
        assert await session.call("PATCH", "/next", kind="Pod") == {"ok": True}
    assert [path for _, path, _ in server.seen] == ["/first", "/w", "/slow", "/slow", "/next"]
