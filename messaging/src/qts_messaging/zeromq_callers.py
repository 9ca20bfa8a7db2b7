"""Who speaks on our ROUTERs: whose key sent a frame, and where a peer that only dials is answered."""

from __future__ import annotations

import time

import zmq

from qts_messaging.keys import CurveKeys
from qts_messaging.zeromq_ends import Ends
from qts_messaging.zeromq_sockets import Router, Socket, name_of, routing_id


class Callers:
    """Peers heard on a ROUTER under their own name."""

    def __init__(self, ends: Ends) -> None:
        self._names: dict[str | int, str] | None = None  # public key → whose it is; pyzmq gives either type
        self._at: dict[str, tuple[Socket, bytes]] = {}
        self._impostors: set[str] = set()  # names that somebody else's key has used
        self._ends = ends
        self._unwatched: set[str] = set()  # whose connection has ended: the next one is another

    def __contains__(self, peer: object) -> bool:
        return peer in self._at

    def admit(self, allowed: dict[bytes, str]) -> None:
        """Know the holders of these keys, and nobody else."""
        self._names = {key.decode(): name for key, name in allowed.items()}

    def who(self, socket: Socket, claimed: bytes, frame: zmq.Frame) -> str:
        """Return whose key sent a frame, "" for one that was dropped; a false name is noted."""
        proven = name_of(claimed) if self._names is None else self._names.get(frame.get("User-Id"), "")
        heard = self._at.get(proven)
        if heard is not None and heard[1] == claimed and heard[0] is socket and proven not in self._unwatched:
            return proven
        name = name_of(claimed)
        if proven:
            self._unwatched.discard(proven)
            self._ends.hold(int(frame.get(zmq.SRCFD)), proven, socket)
        if proven == name:
            self._at[name] = (socket, claimed)
            self._impostors.discard(name)
        else:
            self._at.pop(name, None)
            self._impostors.add(name)
        return proven

    def ways_back(
        self, peer: str, routers: list[Router], keys: CurveKeys | None
    ) -> list[tuple[Socket, bytes]]:
        """Return where a peer that dials us may be found: where it was heard, else wherever it can be."""
        if peer in self._impostors:
            return []
        heard = self._at.get(peer)
        if heard is not None:
            return [heard]
        own = (None,) if keys is None else keys.peers.get(peer, ())
        return [(router.socket, routing_id(peer, key)) for router in routers for key in own]

    def ended(self, descriptor: int) -> str:
        """Take the end of a connection; return its peer if that was for a frame too large to be taken in."""
        peer, too_large = self._ends.told(descriptor, time.monotonic())
        if peer:
            self._unwatched.add(peer)
        return peer if too_large else ""

    def lost(self, peer: str) -> None:
        """Forget where a peer was heard: nobody is there."""
        self._at.pop(peer, None)

    def forget(self, socket: Socket) -> None:
        """Forget who was heard on a ROUTER that is closed."""
        self._at = {name: way for name, way in self._at.items() if way[0] is not socket}

    def clear(self) -> None:
        """Forget all."""
        self._at.clear()
