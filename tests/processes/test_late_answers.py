"""Answers that are under way while the server is emptied or the login changes: nothing is lost or handled twice."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.loops import until
from tests.processes.stand import Stand
from tests.processes.test_no_trespass import OWN, STREAM, Linked, linked  # noqa: F401 - a fixture
from tests.processes.test_redis_senders import user
from tests.processes.test_servers import stand_of  # noqa: F401 - a fixture

from qts_messaging import dead_letters, examples, redis_streams
from qts_messaging.fabric import Fabric
from qts_messaging.redis_streams import RedisStreams

pytestmark = pytest.mark.processes
OWN_READ = f"STREAMS\r\n${len(OWN)}\r\n{OWN}".encode()  # a read of QBMIA's own stream, as Redis is asked
READ = b"BLOCK"  # the reader's question


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let who asks wait as long as a loaded machine needs to start a server."""
    monkeypatch.setattr(redis_streams, "SOCKET_TIMEOUT_S", 6.0)


def wire(bus: Fabric) -> RedisStreams:
    """Return a bus's streams."""
    found = bus.wires.durable
    assert isinstance(found, RedisStreams)
    return found


async def emptied(stand: Stand, *buses: Fabric) -> None:
    """Kill the server and start it without its data; return when the readers of these have noticed."""
    before = [wire(bus)._run_id for bus in buses]
    stand.kill()
    shutil.rmtree(stand.folder / "appendonlydir")
    stand.serve()
    await until(lambda: all(wire(b)._run_id != run for b, run in zip(buses, before, strict=True)))


@asynccontextmanager
async def held(linked: Linked, asked: bytes) -> AsyncIterator[None]:  # noqa: F811
    """Hold answers to a question back, from the next time it is asked: what was asked before has been answered.

    The link stands still until the block opens it.
    """
    linked.link.open.clear()
    await asyncio.sleep(
        0.5
    )  # redis-server ends a blocked read up to 0.1 s late, as it looks ten times a second
    linked.link.hold = asked
    try:
        yield
    finally:
        linked.link.hold = b""


async def test_what_an_emptied_server_had_given_is_handled_once(linked: Linked) -> None:  # noqa: F811
    """The reader hears the answer of the server's last life when everything else talks to the next one."""
    linked.go.set()
    async with held(linked, READ):
        linked.link.open.set()
        await linked.stand.buses["pads"].publish(examples.feedback("d-0"))
        while not await linked.pending(STREAM):
            await asyncio.sleep(0.01)
        await emptied(linked.stand, linked.bus, linked.stand.buses["pads"])
        assert linked.ids == []
    await until(lambda: len(linked.ids) == 1)
    await until(linked.stand.connected)
    await linked.settled(STREAM, 1)


async def test_our_own_words_of_an_emptied_server_are_no_trespass(linked: Linked) -> None:  # noqa: F811
    """The same with the stream that QBMIA writes itself, which another connection reads."""
    await linked.bus.publish(examples.feedback("d-0"))
    async with user(linked.stand, "qbmia") as client:
        ((_, fields),) = await client.xrange(OWN)
    await linked.settled(OWN, 0)
    async with held(linked, OWN_READ):
        async with user(linked.stand, "qbmia") as client:
            await client.xadd(OWN, fields)
        linked.link.open.set()
        while not await linked.pending(OWN):
            await asyncio.sleep(0.01)
        await emptied(linked.stand, linked.bus)
    await until(linked.stand.connected)
    await linked.settled(OWN, 0)


async def test_what_an_emptied_server_said_it_stored_is_stored_again(linked: Linked) -> None:  # noqa: F811
    """The very first message: its answer comes when the sender has seen that nothing of its is missing."""
    own, bus = wire(linked.bus), linked.bus
    assert not own._stored.forget()
    async with held(linked, b"XADD"):
        linked.link.open.set()
        said = asyncio.create_task(bus.publish(examples.feedback("first")))
        while True:
            async with user(linked.stand, "qbmia") as client:
                if await client.xlen(OWN):
                    break
        await emptied(linked.stand, bus)
        assert not said.done()
    await said
    for _ in range(200):
        async with user(linked.stand, "qbmia") as client:
            if await client.xlen(OWN):
                return
        await asyncio.sleep(0.02)
    pytest.fail("what was stored is nowhere")


async def test_a_letter_read_on_the_old_login_is_handled_once(linked: Linked) -> None:  # noqa: F811
    """It is given to the old connection; the new ones take up what waits before that answer comes."""
    linked.go.set()
    await linked.busy()
    await linked.settled(STREAM, 1)
    async with user(linked.stand, "pads") as client:
        ((_, fields),) = await client.xrange(STREAM)
    async with held(linked, OWN_READ):
        async with user(linked.stand, "qbmia") as client:
            await client.xadd(OWN, {**fields, dead_letters.AGAIN: b"qbmia"})
        linked.link.open.set()
        while not await linked.pending(OWN):
            await asyncio.sleep(0.01)
        turned = asyncio.create_task(wire(linked.bus).renew())
        reading = wire(linked.bus)._reading
        await until(lambda: wire(linked.bus)._reading is not reading)
        await asyncio.sleep(0.5)  # what the new ones find is handled and acknowledged
    await turned
    await linked.settled(OWN, 2)
