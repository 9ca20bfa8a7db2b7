"""Who may open a connection: the ZAP handler of this process's one ZeroMQ context."""

from __future__ import annotations

import asyncio
import logging
import time

import zmq
from zmq.utils import z85

from qts_messaging.seldom import Seldom

_log = logging.getLogger(__name__)
ENDPOINT = "inproc://zeromq.zap.01"
VERSION = b"1.0"


class Gate:
    """Answers handshakes: the holder of a known key gets that key as user id, others nothing.

    The routing id is not known yet at this point, and a key may be dropped later: whoever reads a frame
    looks up whose key its user id is.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._socket = context.socket(zmq.REP)
        self._socket.linger = 0
        self._socket.bind(ENDPOINT)
        self._domains: dict[bytes, dict[bytes, str]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.refused: dict[bytes, int] = {}  # domain → handshakes refused
        self.knocked: dict[bytes, tuple[str, float]] = {}  # domain → where the last one came from, and when
        self._seldom = Seldom()

    def admit(self, domain: bytes, allowed: dict[bytes, str]) -> None:
        """Let the holders of `allowed` (public key → name) connect to sockets of `domain`."""
        self._domains[domain] = allowed
        self.refused.setdefault(domain, 0)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._detach()
            loop.add_reader(self._socket.fileno(), self._answer)
            self._loop = loop
            self._answer()

    def withdraw(self, domain: bytes) -> None:
        """Forget a domain; the last one takes the handler off the loop."""
        self._domains.pop(domain, None)
        self.knocked.pop(domain, None)
        if not self._domains:
            self._detach()

    def _detach(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._socket.fileno())
        self._loop = None

    def _answer(self) -> None:
        """Answer all waiting handshakes (the descriptor is edge-triggered)."""
        while int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            try:
                request = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self._socket.send_multipart(self._verdict(request))

    def _verdict(self, request: list[bytes]) -> list[bytes]:
        """Decide one handshake."""
        if len(request) < 7 or request[0] != VERSION or request[5] != b"CURVE":
            return [VERSION, request[1] if len(request) > 1 else b"", b"400", b"CURVE only", b"", b""]
        _, number, domain, address, _, _, key = request[:7]
        shown = z85.encode(key)
        if shown not in self._domains.get(domain, {}):
            self.refused[domain] = self.refused.get(domain, 0) + 1
            where, now_s = address.decode(errors="replace"), time.monotonic()
            self.knocked[domain] = (where, now_s)
            if (held := self._seldom.due(where, now_s)) is not None:
                words = f"; {held} more since the last such line" if held else ""
                _log.warning("connection from %r refused: its key is not known%s", address, words)
            return [VERSION, number, b"400", b"unknown key", b"", b""]
        return [VERSION, number, b"200", b"OK", shown, b""]


class Curtain:
    """The process's context and its gate; several buses in one process share them."""

    _shared: Curtain | None = None

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.gate = Gate(self.context)
        self._numbers = 0

    @classmethod
    def shared(cls) -> Curtain:
        """Return the one of this process; it is never terminated, as closing one context aborts others."""
        if cls._shared is None:
            cls._shared = cls()
        return cls._shared

    def domain(self) -> bytes:
        """Return a new ZAP domain."""
        self._numbers += 1
        return b"qts-%d" % self._numbers
