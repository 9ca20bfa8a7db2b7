"""Settings of other people's libraries that were chosen on purpose; each test fails without its setting."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from qts_cli.sockets import free_ports
from qts_messaging import keys
from qts_messaging.redis_connection import SOCKET_TIMEOUT_S, options
from qts_messaging.redis_names import RedisNames
from qts_messaging.redis_streams import BLOCK_MS, RedisStreams
from qts_messaging.zeromq import ZeroMQ

SOURCES = Path(keys.__file__).parent


class Silent:
    """A sink that takes everything."""

    def arrived(self, *_: object) -> None:
        """Forget it."""

    again = arrived

    def room(self) -> bool:
        """Tell that there is room."""
        return True

    def rush(self) -> None:
        """Sort nothing."""

    offence = arrived


def test_redis_py_does_not_try_again_by_itself() -> None:
    """One try, every wait bounded, a connection at rest is looked at: a second XADD is ours, with the same id."""
    chosen = options("redis://localhost", None, 2.0)
    assert chosen["retry"].get_retries() == 0
    assert 0 < chosen["socket_timeout"] <= 2.0
    assert 0 < chosen["socket_connect_timeout"] <= 1.0
    assert 0 < chosen["health_check_interval"] <= 5


async def test_the_waiting_reader_has_a_client_with_more_patience() -> None:
    """XREADGROUP BLOCK ends before the socket's time-out does."""
    asked: list[float] = []

    def connect(timeout_s: float) -> object:
        asked.append(timeout_s)
        raise ConnectionError

    streams = RedisStreams(connect, RedisNames("s", "pads"), ("pads",), trims=False)
    reader = asyncio.create_task(streams._read(Silent()))
    with pytest.raises(ConnectionError):
        await reader
    assert asked == [BLOCK_MS / 1000 + SOCKET_TIMEOUT_S]


def test_no_pub_sub_sockets_and_no_pickle() -> None:
    """PUB drops without a word; pickle runs what it reads: neither is in any module."""
    texts = [path.read_text() for path in SOURCES.glob("*.py")]
    assert len(texts) > 20
    for word in ("zmq.PUB", "zmq.SUB", "zmq.XPUB", "pickle", "send_pyobj", "zmq.asyncio"):
        assert [text for text in texts if word in text] == [], word


@pytest.mark.parametrize("dials", [True, False])
async def test_nothing_queues_for_who_is_not_there(tmp_path: Path, dials: bool) -> None:
    """A frame to a peer that is away is refused at once, by the DEALER (IMMEDIATE) and the ROUTER (MANDATORY)."""
    keys.create_curve(tmp_path, ["pads", "qbmia"])
    own, other = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    peers = {"pads": own} | ({"qbmia": other} if dials else {})
    wire = ZeroMQ("pads", own, peers, keys.load_curve(tmp_path, "pads"))
    await wire.start(Silent())
    try:
        await asyncio.sleep(0.05)
        assert [wire.send("qbmia", b"x") for _ in range(3)] == [False] * 3
        assert not wire.reachable("qbmia")
    finally:
        await wire.close()
