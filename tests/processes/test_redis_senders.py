"""Redis proves who says what: it lets a user write under its own name only, and readers take the sender from there."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import pytest
import redis.asyncio
from redis.exceptions import NoPermissionError
from tests.processes.stand import SYSTEM_NAME, Stand, until
from tests.processes.test_servers import stand_of  # noqa: F401 - a fixture

from qts_messaging import codec, examples
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
        for _ in range(200):
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
