"""Redis proves who says what: it lets a user write under its own name only, and readers take the sender from there.

What it lets a reader do in the group of another is noticed there, and nothing is lost by it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import pytest
import redis.asyncio
from redis.exceptions import NoPermissionError
from tests.loops import until
from tests.processes.stand import SYSTEM_NAME, Stand
from tests.processes.test_servers import stand_of  # noqa: F401 - a fixture

from qts_messaging import codec, examples, redis_streams
from qts_messaging.messages import DecisionResponse, Envelope, MarketUpdate, PerformanceFeedback
from qts_messaging.redis_names import RedisNames

pytestmark = pytest.mark.processes
ME, OTHER = RedisNames(SYSTEM_NAME, "qbmia"), RedisNames(SYSTEM_NAME, "quasar")
TIMES = 3
#: what the user `qbmia` may not do
FORBIDDEN: tuple[tuple[object, ...], ...] = (
    ("PUBLISH", OTHER.channel("market"), "x"),
    ("PUBLISH", OTHER.channel("to.pads"), "x"),
    ("PUBLISH", ME.channel("market").removesuffix("@qbmia"), "x"),
    ("XADD", OTHER.stream("quasar"), "*", "m", "x"),
    ("XADD", OTHER.dead, "*", "m", "x"),
    ("XADD", ME.market, "*", "m", "x"),
    ("DEL", OTHER.stream("quasar")),
    ("XDEL", OTHER.stream("quasar"), "1-1"),
    ("XTRIM", OTHER.stream("quasar"), "MAXLEN", "0"),
    ("XGROUP", "DESTROY", OTHER.stream("quasar"), "pads"),
    ("XGROUP", "SETID", OTHER.stream("quasar"), "pads", "$"),
    ("RENAME", ME.stream("qbmia"), OTHER.stream("quasar")),
    ("COPY", ME.stream("qbmia"), OTHER.stream("quasar")),
    ("EVAL", "return redis.call('XADD', KEYS[1], '*', 'm', 'x')", "1", OTHER.stream("quasar")),
    ("PSUBSCRIBE", OTHER.heard[-1]),  # what is meant for another alone
    ("SUBSCRIBE", OTHER.channel("to.pads")),
    ("XRANGE", RedisNames("elsewhere", "qbmia").dead, "-", "+"),
    ("CONFIG", "GET", "*"),
    ("ACL", "LIST"),
)


def user(stand: Stand, name: str) -> Any:
    """Return a client with the credentials of `name`."""
    login = {"username": name, "password": stand.passwords[name]}
    return redis.asyncio.Redis(port=stand.port, protocol=2, **login)  # type: ignore[arg-type]


async def test_the_server_refuses_to_write_as_another(stand_of: Stand) -> None:  # noqa: F811
    """Each way to say something in QUASAR's name with QBMIA's credentials ends in NOPERM; its own name works."""
    stand = stand_of
    await stand.start()
    async with user(stand, "qbmia") as client:
        for command in FORBIDDEN:
            with pytest.raises(NoPermissionError):
                await client.execute_command(*command)
        assert await client.publish(ME.channel("to.pads"), "x") == 1
        assert await client.xadd(ME.stream("qbmia"), {"m": "x"})
        assert not await client.exists(OTHER.dead, OTHER.market)
        assert await client.xlen(OTHER.stream("quasar")) == 0


def forged(number: int, sender: str, lane: str, body: Any) -> bytes:
    """Return a frame that says it is of `sender`."""
    to = "pads" if lane == "to.pads" else None
    envelope = Envelope(id=bytes([number]) * 16, sender=sender, recipient=to, epoch=1, lane=lane, body=body)
    return codec.encode(msgspec.structs.replace(envelope, sequence=number))


async def test_a_forged_sender_under_the_own_name_is_refused(
    idle_stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    """Frames of `quasar` on QBMIA's channels and stream reach no handler; all are counted, one line says so."""
    stand = idle_stand
    await stand.start()
    pads = stand.buses["pads"]
    await stand.buses["market"].close(0.0)  # it would count and warn of the same
    stand.buses["qbmia"].incoming._settled = True
    said = (
        ("market", "market", examples.update()),
        ("to.pads", "to.pads", DecisionResponse("forged")),
        (None, "feedback", examples.feedback("forged")),
    )
    async with user(stand, "qbmia") as client:
        for number in range(1, 1 + TIMES):
            for topic, lane, body in said:
                frame = forged(number, "quasar", lane, body)
                if topic is None:
                    await client.xadd(ME.stream("qbmia"), {"m": frame})
                else:
                    await client.publish(ME.channel(topic), frame)
        honest = forged(9, "qbmia", "feedback", examples.feedback("honest"))
        await client.xadd(ME.stream("qbmia"), {"m": honest, "again": "pads"})  # a letter of its own making
        await client.xadd(ME.stream("qbmia"), {"m": honest})
        await until(lambda: len(stand.kinds("pads", PerformanceFeedback)) == 1)
        await until(lambda: pads.record().refused.get("sender_mismatch") == TIMES * len(said))
        left = 1
        for _ in range(3000):
            left = (await client.xpending(ME.stream("qbmia"), "pads"))["pending"]
            if not left:
                break
            await asyncio.sleep(0.02)
        assert left == 0  # refused is an end too: nothing is delivered again
    assert [e.sender for e in stand.kinds("pads", PerformanceFeedback)] == ["qbmia"]
    assert stand.kinds("pads", MarketUpdate) == stand.kinds("pads", DecisionResponse) == []
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert sum("sender_mismatch" in line for line in lines) == 1
    assert any("'quasar' sent by 'qbmia'" in line for line in lines)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let readers look after their groups more often than they do."""
    monkeypatch.setattr(redis_streams, "CLAIM_S", 0.2)
    monkeypatch.setattr(redis_streams, "BLOCK_MS", 50)


async def talked(stand: Stand, count: int) -> None:
    """Let PADS say so much that QBMIA has been given, and wait until it is handled and looked after."""
    for n in range(count):
        await stand.buses["pads"].publish(examples.feedback(f"d-{n}"))
    await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == count)
    await asyncio.sleep(0.5)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("under", ["market", "qbmia"])
async def test_what_another_takes_in_our_group_is_counted_and_handled_all_the_same(
    stand_of: Stand,  # noqa: F811
    under: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The feed reads PADS' messages in QBMIA's group and acknowledges them, under its name or QBMIA's."""
    stand, stream = stand_of, RedisNames(SYSTEM_NAME, "pads").stream("pads")
    await stand.start()
    await talked(stand, 2)
    qbmia = stand.buses["qbmia"]
    assert qbmia.record().refused == {}
    with monkeypatch.context() as held:
        held.setattr(qbmia.incoming, "room", lambda: False)  # it would be quicker
        await asyncio.sleep(0.2)
        for n in range(TIMES + 2):
            await stand.buses["pads"].publish(examples.feedback(f"more {n}"))
        async with user(stand, "market") as thief:
            answer = await thief.xreadgroup("qbmia", under, {stream: ">"}, count=TIMES, noack=True)
        assert len(answer[0][1]) == TIMES
    said = 2 + TIMES + 2
    await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == said)
    await until(lambda: qbmia.record().refused == {"trespass": TIMES})
    await asyncio.sleep(0.5)
    assert len(stand.kinds("qbmia", PerformanceFeedback)) == said
    assert qbmia.record().refused == {"trespass": TIMES}
    whose = "market" if under == "market" else "?"
    assert qbmia.status_fields().accounts[f"{whose}/?/unknown/trespass"] == TIMES
    assert any("trespass" in r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    total = await stand.stop()
    assert (total.unaccounted, total.lost) == (0, {})


@pytest.mark.usefixtures("quick")
async def test_what_another_acknowledges_in_our_group_is_counted(stand_of: Stand) -> None:  # noqa: F811
    """The feed acknowledges what QBMIA has been given and still handles."""
    stand, stream = stand_of, RedisNames(SYSTEM_NAME, "pads").stream("pads")
    await stand.start()
    await talked(stand, 1)
    qbmia, go = stand.buses["qbmia"], asyncio.Event()

    async def slow(_: Envelope) -> None:
        await go.wait()

    qbmia.subscribe(PerformanceFeedback, slow)
    await stand.buses["pads"].publish(examples.feedback("d-9"))
    await until(lambda: qbmia.handling is not None)
    async with user(stand, "market") as thief:
        ((entry, _),) = await thief.xrevrange(stream, count=1)
        assert await thief.xack(stream, "qbmia", entry) == 1
        go.set()
        await until(lambda: qbmia.record().refused == {"trespass": 1})
        assert (await thief.xpending(stream, "qbmia"))["pending"] == 0


@pytest.mark.usefixtures("quick")
async def test_a_server_that_is_killed_is_no_trespass(stand_of: Stand) -> None:  # noqa: F811
    """Kills and returns under traffic, with every look, accuse nobody."""
    stand = stand_of
    await stand.start()
    for n in range(3):
        for m in range(30):
            await stand.buses["pads"].publish(examples.feedback(f"{n} {m}"))
        stand.kill()
        await stand.buses["pads"].publish(examples.feedback(f"{n} spooled"))
        stand.serve()
        await until(stand.connected)
        await until(lambda n=n: len(stand.kinds("qbmia", PerformanceFeedback)) == (n + 1) * 31)  # type: ignore[misc]
        await asyncio.sleep(0.5)
    assert {bus.name: bus.record().refused for bus in stand.buses.values()} == {n: {} for n in stand.names}
