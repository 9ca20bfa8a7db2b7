"""Wrong keys, unknown names, tampered, replayed and oversized frames over real wires: refused, counted, said once a minute."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import redis.asyncio
import zmq
from tests.loops import until
from tests.processes.stand import SYSTEM_NAME, Stand

from qts_messaging import codec, keys
from qts_messaging.messages import DecisionResponse, Envelope
from qts_messaging.redis_names import RedisNames
from qts_messaging.seldom import Seldom
from qts_messaging.testing import Proxy
from qts_messaging.zap import Curtain
from qts_messaging.zeromq_sockets import FRAME, bound

pytestmark = pytest.mark.processes
TIMES = 3  # of each offence


class Pair(Stand):
    """A board, and a feed that dials it through a proxy."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ("pads", "market"))
        self.router = int(self.addresses["pads"].rpartition(":")[2])
        self.link = Proxy("127.0.0.1", self.router)

    async def open(self) -> None:
        """Start all; return when they hear each other."""
        await self.link.start()
        self.serve()
        self.buses["pads"] = self.bus("pads")
        self.buses["market"] = self.bus("market", peers={"pads": f"tcp://127.0.0.1:{self.link.port}"})
        for bus in self.buses.values():
            await bus.start()
        await until(self.connected)

    def rounds(self) -> list[str]:
        """Return the rounds that the board's handler was told of."""
        return [e.body.round_id for e in self.kinds("pads", DecisionResponse)]  # type: ignore[union-attr]

    async def arrives(self, round_id: str) -> None:
        """Say something until it is heard: a connection that was ended comes back."""
        for _ in range(1200):
            await self.buses["market"].send(DecisionResponse(round_id), "pads")
            await asyncio.sleep(0.05)
            if round_id in self.rounds():
                return
        raise AssertionError(f"{round_id} was never heard")

    def refused(self) -> int:
        """Return how many connections the board has refused or ended."""
        return self.buses["pads"].numbers().refused


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Give a connected pair; end it whatever happens."""
    made = Pair(tmp_path)
    try:
        await made.open()
        yield made
    finally:
        for bus in made.buses.values():
            await bus.close(0.0)
        await made.link.close()
        made.kill()


def said(caplog: pytest.LogCaptureFixture, words: str) -> int:
    """Return how many warnings contain `words`."""
    return sum(words in r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)


def flipped(data: bytes) -> bytes:
    """Change one bit of what was encrypted last."""
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("alter", [flipped, lambda data: data * 2], ids=["tampered", "replayed"])
async def test_a_line_that_is_changed_on_the_way_ends(
    pair: Pair, alter: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """A flipped bit and a frame sent twice say nothing and end the connection; each is counted, and it comes back."""
    market = pair.buses["market"]
    for n in range(2):
        await pair.arrives(f"before {n}")
        refused, done = pair.refused(), []

        def once(data: bytes, done: list[bytes] = done) -> bytes:
            pair.link.alter = None
            done.append(data)
            return alter(data)

        pair.link.alter = once
        await market.send(DecisionResponse(f"changed {n}"), "pads")
        await until(lambda done=done, refused=refused: bool(done) and pair.refused() > refused)  # type: ignore[misc]
        if n == 0:
            pair.link.cut()  # libzmq ends it after its own time-out; once is waited for below
        await until(lambda: not market.wires.direct.reachable("pads"))
        await until(pair.connected)
    changed = [r for r in pair.rounds() if r.startswith("changed")]
    assert set(pair.rounds()) <= {f"{word} {n}" for word in ("before", "changed") for n in range(2)}
    assert len(changed) == len(set(changed))
    assert said(caplog, "tampered, replayed") == 1


async def test_a_recorded_connection_cannot_be_played_again(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """Every byte of a whole connection, from the greeting on, sent once more by somebody else, says nothing."""
    heard: list[bytes] = []

    def record(data: bytes) -> bytes:
        heard.append(data)
        return data

    pair.link.alter = record
    pair.link.cut()
    await until(lambda: len(b"".join(heard)) > 500 and pair.connected())
    await pair.arrives("honest")
    pair.link.alter = None
    refused, before = pair.refused(), len(pair.rounds())
    for _ in range(TIMES):
        reader, writer = await asyncio.open_connection("127.0.0.1", pair.router)
        writer.write(b"".join(heard))
        while await asyncio.wait_for(reader.read(4096), 60.0):
            pass  # the board greets, then ends it
        writer.close()
    await until(lambda: pair.refused() >= refused + TIMES)
    assert len(pair.rounds()) == before
    assert said(caplog, "tampered, replayed") == 1


def caller(pair: Pair, key: tuple[bytes, bytes], name: str) -> zmq.Socket[bytes]:
    """Return a socket that dials the board as `name` with `key`."""
    socket = Curtain.shared().context.socket(zmq.DEALER)
    socket.setsockopt(zmq.IDENTITY, name.encode())
    socket.setsockopt(zmq.LINGER, 0)
    socket.curve_publickey, socket.curve_secretkey = key
    socket.curve_serverkey = keys.load_curve(pair.secrets, "pads").public
    socket.connect(pair.addresses["pads"])
    return socket


def frame(number: int, sender: str, size: int = 0) -> bytes:
    """Return a frame to the board; a large one says nothing for long."""
    body = DecisionResponse(f"forged {number}" + "x" * size)
    return codec.encode(
        Envelope(
            id=number.to_bytes(16, "big"),
            sender=sender,
            recipient="pads",
            lane="to.pads",
            epoch=1,
            sequence=number,
            body=body,
        )
    )


async def test_a_wrong_key_is_counted(
    pair: Pair, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has a key of their own gets no connection, under a known name and an unknown one."""
    # the gate is one for the process: a stranger of another test may have been named within this minute
    monkeypatch.setattr(Curtain.shared().gate, "_seldom", Seldom())
    refused, sockets = pair.refused(), []
    for n in range(TIMES):
        sockets.append(caller(pair, zmq.curve_keypair(), "market" if n else "mallory"))
        sockets[-1].send(frame(n + 1, "market"))
    await until(lambda: pair.refused() >= refused + TIMES)
    for socket in sockets:
        socket.close(linger=0)
    await pair.arrives("honest")
    assert set(pair.rounds()) == {"honest"}
    assert said(caplog, "its key is not known") == 1


async def test_a_known_key_under_an_unknown_name_is_counted(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """The feed's key lets nobody speak for a name that is not its own, known or not."""
    own = keys.load_curve(pair.secrets, "market")
    await pair.buses["market"].close(0.0)
    with caller(pair, (own.public, own.secret), "mallory") as socket:
        for n, sender in enumerate(("mallory", "pads", "qbmia"), start=1):
            socket.send(frame(n, sender))
        await until(lambda: pair.buses["pads"].record().refused == {"sender_mismatch": 3})
    assert pair.rounds() == []
    assert said(caplog, "sender_mismatch") == 1


async def test_too_large_is_counted_and_larger_is_not_taken_in(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """A little too large is dropped and the line stands; more ends the line by its announced length. Both count."""
    own = keys.load_curve(pair.secrets, "market")
    await pair.buses["market"].close(0.0)
    pads = pair.buses["pads"]
    with caller(pair, (own.public, own.secret), "market") as socket:
        for n in range(TIMES):
            socket.send(frame(n + 1, "market", codec.LIMIT))
        socket.send(frame(9, "market"))
        await until(lambda: pair.rounds() == ["forged 9"])
        assert pads.record().refused == {"too_large": TIMES}
        for n in range(TIMES):
            socket.send(bytes(FRAME + 1))
            await until(lambda n=n: pads.record().refused == {"too_large": TIMES + n + 1})  # type: ignore[misc]
            socket.send(frame(10 + n, "market"))  # it dials again
            await until(lambda n=n: pair.rounds()[1:] == [f"forged {10 + m}" for m in range(n + 1)])  # type: ignore[misc]
    assert pads.status_fields().accounts["market/?/unknown/too_large"] == 2 * TIMES
    assert said(caplog, "too_large") == 1


async def test_an_answer_that_is_too_large_is_counted_where_it_was_dialled_for(pair: Pair) -> None:
    """Who holds the board's key and answers the feed with too much is counted there as the board."""
    market, own = pair.buses["market"], keys.load_curve(pair.secrets, "pads")
    await pair.buses["pads"].close(0.0)
    with Curtain.shared().context.socket(zmq.ROUTER) as board:
        board.setsockopt(zmq.LINGER, 0)
        board.curve_secretkey, board.curve_publickey, board.curve_server = own.secret, own.public, True
        Curtain.shared().gate.admit(b"board", own.allowed())
        board.setsockopt(zmq.ZAP_DOMAIN, b"board")
        port = await bound(pair.addresses["pads"])  # libzmq takes a moment to give it up
        board.setsockopt(zmq.USE_FD, port.detach())
        board.bind(pair.addresses["pads"])
        # the bus would take the channel for some seconds, and the line may be the one that has just ended
        await until(lambda: market.wires.direct.send("pads", b"who are you") and bool(board.poll(0)))
        board.send_multipart([board.recv_multipart()[0], bytes(FRAME + 1)])
        await until(lambda: market.record().refused == {"too_large": 1})
    Curtain.shared().gate.withdraw(b"board")
    assert market.status_fields().accounts["pads/?/unknown/too_large"] == 1


async def test_a_connection_that_ends_for_another_reason_is_no_giant(pair: Pair) -> None:
    """A cut, a peer that leaves and one that is silent for longer than it may be are not taken for one."""
    market, pads = pair.buses["market"], pair.buses["pads"]
    await pair.arrives("before")
    for n in range(TIMES):
        pair.link.cut()
        await until(lambda: not market.wires.direct.reachable("pads"))
        await until(pair.connected)
        await pair.arrives(f"cut {n}")
    own = keys.load_curve(pair.secrets, "market")
    await market.close(0.0)
    with caller(pair, (own.public, own.secret), "market") as socket:
        socket.send(frame(1, "market"))
        await until(lambda: pair.rounds()[-1] == "forged 1")
    await asyncio.sleep(0.2)
    assert pads.record().refused == {}
    assert not pads.wires.direct._ends._held  # type: ignore[attr-defined]


async def test_an_announced_giant_takes_no_memory(pair: Pair) -> None:
    """A stranger's frame that says it has 4 GiB ends its connection before room for it is made."""

    def peak_kib() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(text.split()[1]) for text in lines if text.startswith("VmPeak"))

    before = peak_kib()
    reader, writer = await asyncio.open_connection("127.0.0.1", pair.router)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
    writer.write(greeting + b"\x06" + (4 << 30).to_bytes(8, "big"))
    while await asyncio.wait_for(reader.read(4096), 60.0):
        pass
    writer.close()
    assert peak_kib() - before < 1 << 20
    await pair.arrives("honest")


async def test_redis_carries_no_forgery(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """A name nobody has, a frame twice and one that is too large, on channel and stream: dropped and counted."""
    pads, names = pair.buses["pads"], RedisNames(SYSTEM_NAME, "market")
    login = {"username": "market", "password": pair.passwords["market"]}
    await pair.buses["market"].close(0.0)  # it would warn of the same
    honest = msgspec.structs.replace(codec.decode(frame(1, "market")), recipient=None)  # type: ignore[type-var]
    again = codec.encode(honest)  # type: ignore[arg-type]
    async with redis.asyncio.Redis(port=pair.port, **login) as server:  # type: ignore[arg-type]
        for data in (*(frame(n, "mallory") for n in range(2, 2 + TIMES)), again, again):
            await server.publish(names.channel("to.pads"), data)
            await server.xadd(names.stream("market"), {"m": data})
        await server.publish(names.channel("to.pads"), frame(2, "market", codec.LIMIT))
        await until(lambda: pads.record().refused.get("too_large") == 1)
    await until(lambda: pads.record().refused.get("sender_mismatch") == 2 * TIMES)
    await until(lambda: pads.record().into["market|1|to.pads"].duplicates == 3)
    assert pair.rounds() == ["forged 1"]
    assert said(caplog, "sender_mismatch") == 1
