"""A descriptor of ZeroMQ wakes once: what came meanwhile is read only because somebody looks again.

Each test brings a socket into the state in which its descriptor is silent though frames wait.
"""

from __future__ import annotations

import select
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import zmq
from tests.loops import until

from qts_cli.sockets import free_ports
from qts_messaging import keys, zeromq
from qts_messaging.zeromq import FEW, TURN, ZeroMQ
from qts_messaging.zeromq_names import redial
from qts_messaging.zeromq_sockets import Socket

MANY = 3 * TURN


class Ear:
    """A sink that notes what it hears, and takes no more while it is full."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.full = False
        self.rushed_at: int | None = None  # how many frames were here when the wire said that more had come

    def arrived(self, frame: bytes, *_: object) -> None:
        """Note a frame."""
        self.heard.append(frame)

    again = arrived

    def room(self) -> bool:
        """Tell whether there is room."""
        return not self.full

    def rush(self) -> None:
        """Note when it was first said."""
        self.rushed_at = self.rushed_at or len(self.heard)

    def offence(self, *what: object) -> None:
        """Fail: nothing here offends."""
        raise AssertionError(what)


class Pair:
    """PADS, which is dialled, and the feed, which only dials."""

    def __init__(self, folder: Path) -> None:
        keys.create_curve(folder, ["pads", "market"])
        address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
        self.pads = ZeroMQ("pads", address, {}, keys.load_curve(folder, "pads"))
        self.market = ZeroMQ("market", None, {"pads": address}, keys.load_curve(folder, "market"))
        self.at_pads, self.at_market = Ear(), Ear()

    @property
    def dealer(self) -> Socket:
        """Return the feed's socket."""
        return self.market._dealers["pads"]

    @property
    def router(self) -> Socket:
        """Return the socket of PADS."""
        return self.pads._routers[0].socket


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Give a pair of which each has heard the other and nothing is under way."""
    pair = Pair(tmp_path)
    await pair.pads.start(pair.at_pads)
    await pair.market.start(pair.at_market)
    try:
        await until(lambda: pair.market.send("pads", b"hello"))
        await until(lambda: pair.at_pads.heard == [b"hello"])
        assert pair.pads.send("market", b"hello")
        await until(lambda: pair.at_market.heard == [b"hello"])
        await until(
            lambda: not (pair.pads._looks or pair.market._looks or pair.pads._again or pair.market._again)
        )
        yield pair
    finally:
        await pair.market.close()
        await pair.pads.close()


def wakes(socket: Socket, within_s: float) -> bool:
    """Tell whether the descriptor says that something came; the loop stands still meanwhile."""
    return bool(select.select([socket.fileno()], [], [], within_s)[0])


def sent_into(socket: Socket, wire: ZeroMQ, peer: str) -> None:
    """Send on a socket for which a frame waits, so that sending takes the signal of its arrival."""
    for _ in range(100):
        assert wakes(socket, 10.0)
        time.sleep(0.01)  # libzmq looks at its mailbox while sending if it has not for about a millisecond
        assert wire.send(peer, b"sent meanwhile")
        if not wakes(socket, 0.0):
            return
    raise AssertionError("sending never took the signal")


async def test_what_arrives_while_a_dealer_sends_is_heard(pair: Pair) -> None:
    """Sending takes the signal; a look afterwards finds the frame."""
    assert pair.pads.send("market", b"early")
    sent_into(pair.dealer, pair.market, "pads")
    await until(lambda: pair.at_market.heard[-1] == b"early")


async def test_what_arrives_while_a_router_sends_is_heard(pair: Pair) -> None:
    """The same on the socket of those who dial us."""
    assert pair.market.send("pads", b"early")
    sent_into(pair.router, pair.pads, "market")
    await until(lambda: pair.at_pads.heard[-1] == b"early")


async def test_a_wire_says_after_the_first_frame_that_more_came_with_it(pair: Pair) -> None:
    """Only then can what is most urgent of it be handled first; a frame that comes alone is no reason."""
    assert pair.at_pads.rushed_at is None
    for n in range(3):
        assert pair.market.send("pads", b"%d" % n)
    time.sleep(0.5)  # all of them wait when the first is read
    await until(lambda: len(pair.at_pads.heard) == 4)
    assert pair.at_pads.rushed_at == 2


@pytest.mark.parametrize("count", range(1, FEW + 3))
async def test_a_burst_is_read_to_its_end(pair: Pair, count: int) -> None:
    """After some frames a reader takes without looking first; what comes when nothing was left wakes it again."""
    for heard in (1 + count, 1 + 2 * count):
        for n in range(count):
            assert pair.market.send("pads", b"%d" % n)
        time.sleep(0.2)  # all of them wait when the first is read
        await until(lambda heard=heard: len(pair.at_pads.heard) == heard)


async def test_more_than_a_turn_is_read_to_its_end(pair: Pair) -> None:
    """After a turn's worth of frames the loop goes on with others; the rest has no signal of its own."""
    for n in range(MANY):
        assert pair.market.send("pads", b"%d" % n)
    time.sleep(0.5)  # all of them wait when the first is read
    await until(lambda: len(pair.at_pads.heard) == 1 + MANY)


async def test_what_waited_for_room_is_read_when_there_is_some(pair: Pair) -> None:
    """A full inbox stops reading; `resume` begins again without a signal."""
    pair.at_pads.full = True
    assert pair.market.send("pads", b"late")
    await until(lambda: pair.pads._paused and not wakes(pair.router, 0.0))  # else the loop would spin
    assert pair.at_pads.heard == [b"hello"]
    pair.at_pads.full = False
    pair.pads.resume()
    await until(lambda: pair.at_pads.heard[-1] == b"late")


async def test_what_is_told_of_an_address_that_was_left_says_nothing_of_the_next(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection may stand in the moment in which its line moves on: libzmq ends it without another word."""
    (line,) = pair.market._lines["pads"]
    former = line.endpoint
    redial(line, "tcp://127.0.0.1:1")
    line.connected = line.answered = False
    told = [
        {"event": event, "endpoint": of.encode(), "value": 0}
        for of in (former, line.endpoint)
        for event in (zmq.EVENT_CONNECTED, zmq.EVENT_HANDSHAKE_SUCCEEDED)
    ]
    monkeypatch.setattr(zeromq, "recv_monitor_message", lambda *_: told.pop(0))
    for left, stands in ((2, False), (0, True)):
        monkeypatch.setattr(zeromq, "readable", lambda _, left=left: len(told) > left)
        pair.market._events(line)
        assert (line.connected, line.answered) == (stands, stands)
    monkeypatch.undo()
    redial(line, former)
    line.connected = line.answered = False
