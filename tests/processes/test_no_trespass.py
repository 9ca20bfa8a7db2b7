"""What looks like a trespass and is none: answers that come late, reads of a connection that has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.loops import until
from tests.processes.stand import SYSTEM_NAME, Stand
from tests.processes.test_redis_senders import user
from tests.processes.test_servers import stand_of  # noqa: F401 - a fixture

from qts_messaging import dead_letters, examples, redis_streams
from qts_messaging.bus import Sink
from qts_messaging.fabric import Fabric
from qts_messaging.messages import Envelope, PerformanceFeedback
from qts_messaging.redis_line import Client
from qts_messaging.redis_names import RedisNames
from qts_messaging.testing import Proxy
from qts_messaging.trespass import Trespass

pytestmark = pytest.mark.processes
STREAM = RedisNames(SYSTEM_NAME, "pads").stream("pads")
OWN = RedisNames(SYSTEM_NAME, "qbmia").stream("qbmia")
LATE_S = 0.5  # an acknowledgement goes out 0.02 s after its message is handled


class Linked:
    """QBMIA behind a link that can be cut, with a handler that waits until it may end."""

    def __init__(self, stand: Stand, link: Proxy) -> None:
        self.stand, self.link, self.go = stand, link, asyncio.Event()
        self.ids: list[bytes] = []

    @property
    def bus(self) -> Fabric:
        """Return QBMIA's bus."""
        return self.stand.buses["qbmia"]

    async def handler(self, envelope: Envelope) -> None:
        """Note one message, and wait."""
        self.ids.append(envelope.id)
        await self.go.wait()

    async def busy(self) -> None:
        """Let QBMIA begin to handle a message of PADS'."""
        before = len(self.ids)
        await self.stand.buses["pads"].publish(examples.feedback("d-0"))
        await until(lambda: len(self.ids) > before)

    async def pending(self, key: str) -> int:
        """Return how many entries of `key` QBMIA was given and has not acknowledged."""
        async with user(self.stand, "qbmia") as client:
            return int((await client.xpending(key, "qbmia"))["pending"])

    async def settled(self, key: str, handled: int) -> None:
        """Wait until all is acknowledged and twice looked after; nobody is accused, and so many were handled."""
        for _ in range(500):
            if not await self.pending(key):
                break
            await asyncio.sleep(0.02)
        assert await self.pending(key) == 0
        await asyncio.sleep(LATE_S + 0.5)
        assert (self.bus.record().refused, len(self.ids)) == ({}, handled)


@pytest.fixture
async def linked(
    stand_of: Stand,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Linked]:
    """Give a stand whose QBMIA is reached through a link; readers look after their groups often."""
    monkeypatch.setattr(redis_streams, "CLAIM_S", 0.2)
    monkeypatch.setattr(redis_streams, "BLOCK_MS", 50)
    stand = stand_of
    stand.serve()
    link = Proxy("127.0.0.1", stand.port)
    await link.start()
    made = Linked(stand, link)
    for name in stand.names:
        system = stand.system(link.port) if name == "qbmia" else stand.system()
        stand.buses[name] = stand.bus(name, system=system)
        await stand.buses[name].start()
    await until(stand.connected)
    made.bus.subscribe(PerformanceFeedback, made.handler)
    yield made
    await link.close()


def late(monkeypatch: pytest.MonkeyPatch, linked: Linked, key: str) -> None:
    """Let answers to claims in `key` come late: the handler ends when the server has given the first."""
    claim = Client.xclaim

    async def claimed(self: Client, name: str, *arguments: Any) -> Any:
        answer = await claim(self, name, *arguments)
        if name == key and answer:
            linked.go.set()
            await asyncio.sleep(LATE_S)
        return answer

    monkeypatch.setattr(Client, "xclaim", claimed)


def looked(monkeypatch: pytest.MonkeyPatch, linked: Linked, key: str) -> None:
    """Let the handler end when QBMIA has begun to read `key` anew and taken up what it had left there."""
    pending = redis_streams.RedisStreams._pending

    async def taken_up(self: redis_streams.RedisStreams, client: Any, sink: Sink, keys: Any) -> None:
        await pending(self, client, sink, keys)
        if self._name == "qbmia" and key in keys:
            linked.go.set()

    monkeypatch.setattr(redis_streams.RedisStreams, "_pending", taken_up)


async def test_what_is_acknowledged_while_a_claim_is_answered(
    linked: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link is cut and comes back while a message is handled, which ends before the claim's answer comes."""
    await linked.busy()
    late(monkeypatch, linked, STREAM)
    looked(monkeypatch, linked, STREAM)
    linked.link.cut()
    await linked.settled(STREAM, 1)


async def test_a_letter_driven_again_is_handled_once(linked: Linked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with a dead letter, which nothing else would keep from its handler the second time."""
    await linked.busy()
    linked.go.set()
    await linked.settled(STREAM, 1)
    linked.go.clear()
    async with user(linked.stand, "pads") as client:
        ((_, fields),) = await client.xrange(STREAM)
    async with user(linked.stand, "qbmia") as client:
        await client.xadd(OWN, {**fields, dead_letters.AGAIN: b"qbmia"})
    await until(lambda: len(linked.ids) == 2)
    late(monkeypatch, linked, OWN)
    looked(monkeypatch, linked, STREAM)
    linked.link.cut()
    await linked.settled(OWN, 2)


async def test_what_is_cut_from_the_stream_while_it_is_handled(
    linked: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message becomes too old while it is handled; the reader connects anew and looks for what it left."""
    await linked.busy()
    async with user(linked.stand, "pads") as client:
        assert await client.xtrim(STREAM, maxlen=0) == 1
    looked(monkeypatch, linked, STREAM)
    linked.link.cut()
    await linked.go.wait()
    await linked.settled(STREAM, 1)


async def test_what_the_server_gave_to_a_connection_that_had_ended(
    linked: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last read of a lost connection reaches the server when its successor has just begun."""
    begin, read = Trespass.begin, []

    async def begun(self: Trespass, client: Any, keys: Any) -> None:
        await begin(self, client, keys)
        if self.group == "qbmia" and not read:
            await linked.stand.buses["pads"].publish(examples.feedback("d-1"))
            async with user(linked.stand, "qbmia") as before:
                read.extend(await before.xreadgroup("qbmia", "qbmia", {STREAM: ">"}))

    linked.go.set()
    await linked.busy()
    await linked.settled(STREAM, 1)
    monkeypatch.setattr(Trespass, "begin", begun)
    linked.link.cut()
    await until(lambda: len(linked.ids) == 2)
    assert read
    await linked.settled(STREAM, 2)


async def test_claims_in_one_stream_come_one_after_the_other(
    linked: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start left a message; its successor looks for such often, and its handler ends while a claim is answered."""
    await linked.busy()
    await linked.bus.close(0.0)
    linked.ids.clear()
    linked.go.set()
    claim, running, most = Client.xclaim, 0, 0

    async def claimed(self: Client, name: str, *arguments: Any) -> Any:
        nonlocal running, most
        if name != STREAM:
            return await claim(self, name, *arguments)
        running += 1
        most = max(most, running)
        answer = await claim(self, name, *arguments)
        await asyncio.sleep(LATE_S)
        running -= 1
        return answer

    monkeypatch.setattr(redis_streams, "CLAIM_IDLE_MS", 0)
    monkeypatch.setattr(Client, "xclaim", claimed)
    stand = linked.stand
    stand.buses["qbmia"] = stand.bus("qbmia", system=stand.system(linked.link.port))
    linked.bus.subscribe(PerformanceFeedback, linked.handler)
    await linked.bus.start()
    await until(lambda: linked.ids)
    await linked.settled(STREAM, 1)
    assert most == 1
