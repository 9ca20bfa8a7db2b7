"""What was handled is told to the server once, whatever it refuses meanwhile and however the process ends."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio
from tests.loops import until
from tests.processes.stand import SYSTEM_NAME, Stand
from tests.processes.test_redis_senders import user

from qts_core.acl import users_acl
from qts_messaging import examples, in_hand, redis_streams
from qts_messaging.messages import Envelope, PerformanceFeedback
from qts_messaging.redis_names import RedisNames

pytestmark = pytest.mark.processes
STREAM = RedisNames(SYSTEM_NAME, "pads").stream("pads")
MASTER = "operator-of-the-test"


async def pending(stand: Stand) -> int:
    """Return how many entries of PADS' stream QBMIA has not acknowledged."""
    async with user(stand, "qbmia") as client:
        return int((await client.xpending(STREAM, "qbmia"))["pending"])


async def test_a_dead_letter_waits_while_the_server_refuses_it(
    idle_stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory of Redis is full when a handler fails: its message came again, and ended as if handled."""
    monkeypatch.setattr(redis_streams, "CLAIM_S", 0.1)
    monkeypatch.setattr(redis_streams, "BLOCK_MS", 50)
    monkeypatch.setattr(redis_streams, "CLAIM_IDLE_MS", 100)
    stand, go, seen = idle_stand, asyncio.Event(), []
    stand.acl.write_text(
        users_acl(SYSTEM_NAME, stand.passwords) + f"user {MASTER} on >{MASTER} ~* &* +@all\n"
    )
    await stand.start()

    async def handler(envelope: Envelope) -> None:
        seen.append(envelope.id)
        await go.wait()
        if len(seen) == 1:
            raise ValueError("cannot digest this")

    qbmia = stand.buses["qbmia"]
    qbmia.subscribe(PerformanceFeedback, handler)
    for name in ("bad", "good"):
        await stand.buses["pads"].publish(examples.feedback(name))
    while await pending(stand) < 2:
        await asyncio.sleep(0.01)
    async with redis.asyncio.Redis(port=stand.port, username=MASTER, password=MASTER, protocol=2) as server:
        await server.config_set("maxmemory", "1kb")
        go.set()
        await until(lambda: len(seen) == 2 and "(OOM)" in qbmia.refusals.redis)
        await asyncio.sleep(1.0)
        assert (await pending(stand), qbmia.numbers().dead_letters) == (1, 0)
        await server.config_set("maxmemory", "0")
        await until(lambda: qbmia.numbers().dead_letters == 1)
        while await pending(stand):
            await asyncio.sleep(0.01)
        (letter,) = await server.xrange(RedisNames(SYSTEM_NAME, "qbmia").dead)
    assert (letter[1][b"reason"], len(seen)) == (b"ValueError: cannot digest this", 2)
    assert qbmia.record().refused == {}


async def test_all_that_was_handled_is_acknowledged_at_the_end(
    idle_stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More wait than go at once: the rest was left to the next start, which handled it again."""
    stand, count = idle_stand, in_hand.MOST + 50
    await stand.start()
    await stand.buses["qbmia"].close()
    for _ in range(2):
        await asyncio.gather(
            *(stand.buses["pads"].publish(examples.feedback(f"d-{n}")) for n in range(count // 2))
        )
    monkeypatch.setattr(redis_streams, "ACK_S", 60.0)
    bus = stand.buses["qbmia"] = stand.bus("qbmia")
    await bus.start()
    await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == count)
    assert await pending(stand) == count
    await bus.close()
    assert await pending(stand) == 0
