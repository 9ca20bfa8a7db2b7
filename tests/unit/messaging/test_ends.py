"""Why a connection of ZeroMQ ended, as its descriptor's copy tells: by real connections of the kernel."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest
import zmq

from qts_messaging import zeromq_ends
from qts_messaging.zeromq_ends import DOUBT_S, LATE_S, Ends

NOW = 100.0


class Link:
    """A connection: `ours` stands for libzmq's end, `theirs` for the peer's."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.theirs = socket.create_connection(listening.getsockname())
            self.ours, _ = listening.accept()
        self.theirs.sendall(b"a sign of life")
        self.number = self.ours.fileno()

    def close(self) -> None:
        """Close both ends."""
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def link() -> Iterator[Link]:
    """Give a connection."""
    made = Link()
    yield made
    made.close()


@pytest.fixture
def owner() -> Iterator[zmq.Socket[bytes]]:
    """Give a socket that is said to own the connection."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as made:
        yield made


@pytest.fixture
def ends(link: Link, owner: zmq.Socket[bytes]) -> Ends:
    """Give the ends of a process that watches that connection."""
    made = Ends(NOW)
    made.hold(link.number, "market", owner)
    return made


def test_what_we_end_while_the_peer_speaks_was_too_large(ends: Ends, link: Link) -> None:
    """It is said once, with the peer's name."""
    link.ours.close()
    assert ends.told(link.number, NOW) == ("market", True)
    assert ends.told(link.number, NOW) == ("", False)


@pytest.mark.parametrize("how", ["closed", "reset", "half closed"])
def test_what_the_peer_ends_was_not(ends: Ends, link: Link, how: str) -> None:
    """A peer that leaves, in whichever way, has sent nothing too large."""
    if how == "reset":
        link.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    if how == "half closed":
        link.theirs.shutdown(socket.SHUT_WR)
    else:
        link.theirs.close()
    link.ours.close()
    assert ends.told(link.number, NOW) == ("market", False)


def test_silence_was_not(ends: Ends, link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that sent nothing for as long as it may be silent is not accused."""
    monkeypatch.setattr(zeromq_ends, "SILENT_MS", 0)
    assert ends.told(link.number, NOW) == ("market", False)


@pytest.mark.parametrize("late", [LATE_S - 0.1, LATE_S + 0.1])
def test_a_process_that_was_held_up_accuses_nobody(ends: Ends, link: Link, late: float) -> None:
    """It did not hear its peers; what ends then, and for some seconds, may have ended for that."""
    assert ends.told(link.number, NOW + late) == ("market", late < LATE_S)


def test_doubt_ends(ends: Ends, link: Link, owner: zmq.Socket[bytes]) -> None:
    """After frames that proved no key nothing is judged for a while, then it is again."""
    ends.doubt(NOW)
    for now in (NOW + n for n in (1.0, 2.0, 3.0, 4.0)):
        ends.pulse(now)
    assert ends.told(link.number, NOW + DOUBT_S - 0.1) == ("market", False)
    ends.hold(link.number, "market", owner)
    assert ends.told(link.number, NOW + DOUBT_S) == ("market", True)


def test_a_number_that_was_taken_over(ends: Ends, link: Link, owner: zmq.Socket[bytes]) -> None:
    """The end of the connection that had the number before says nothing of the one that has it now."""
    other = Link()
    os.dup2(other.number, link.number)
    ends.hold(link.number, "qbmia", owner)
    assert ends.told(link.number, NOW) == ("", False)
    assert ends.told(link.number, NOW) == ("qbmia", True)
    other.close()


def test_a_copy_keeps_no_connection_open(ends: Ends, link: Link, owner: zmq.Socket[bytes]) -> None:
    """Where its socket is closed the copy goes too, and the peer reads the end."""
    ends.hold(link.number, "market", owner)  # once more: the same connection
    link.ours.close()
    ends.release(owner)
    link.theirs.settimeout(5.0)
    with contextlib.suppress(ConnectionResetError):  # what it sent was never read
        assert link.theirs.recv(1) == b""
    assert ends.told(link.number, NOW) == ("", False)
