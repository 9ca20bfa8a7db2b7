"""Connections that keys do not let stand: counted, logged once a minute, told in the status with a remedy."""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Mapping, Sequence

import zmq

from qts_messaging.refusals import KeyRefusals
from qts_messaging.seldom import Seldom
from qts_messaging.zap import Gate
from qts_messaging.zeromq_sockets import Line

_log = logging.getLogger(__name__)
AGAIN_S = 5.0  # libzmq never dials anew where it was refused: a list that is mended would help nobody
PROMPT_S = 5.0  # who lets a connection hang for longer is busy, and refuses nobody
IN_A_ROW = 3  # connections that end before a key is proven; fewer may be a peer that ends or begins
LATELY_S = 30.0  # somebody who is refused tries again within this time
Way = tuple[str, tuple[bytes | None, bytes | None]]  # peer, and the keys of both sides
UNPROVEN = "what came is not what its key's holder said: another server key, tampered, replayed or no ZMTP"
_OURS = (
    "{peer} refuses the key of this process: its curve/*.pub must list the public key that belongs to the "
    "curve/*.key here; {remedy}"
)
_THEIRS = (
    "{peer} is dialled with a key that it does not have: curve/{peer}.pub here must be the public key of its "
    "curve/{peer}.key; {remedy}"
)
_UNKNOWN_KEY = (
    "somebody at {where} knocks with a key that no curve/*.pub here lists; a process of this system says in "
    "its own row that it is refused, else close the port to that address"
)
_OTHER_SERVER = (
    "somebody dials this process with another server key than its own; a process of this system says so in "
    "its own row; while keys change it ends by itself"
)


class Refused:
    """What became of connections for their keys, of one process."""

    def __init__(self, gate: Gate, domain: bytes, remedy: str) -> None:
        self._gate, self._domain, self._remedy = gate, domain, remedy
        self._count = 0
        self._seldom = Seldom()
        self._words: dict[
            Way, tuple[str, float]
        ] = {}  # why no connection stands, and when that was last seen
        self._ended: dict[Way, int] = {}  # connections in a row that ended before the peer proved its key
        self._caller_s = float("-inf")  # when a caller proved nothing last

    def follow(self, line: Line, event: int, now_s: float) -> None:
        """Take an event of a line before its state is changed by it."""
        peer, way = line.peer, (line.peer, line.pair)
        if event == zmq.EVENT_CONNECTED:
            line.since_s = now_s
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._words.pop(way, None)
            self._ended.pop(way, None)
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            line.refused_s = now_s
            self._words[way] = _OURS.format(peer=peer, remedy=self._remedy), now_s
            self._say(peer, "keys of both sides do not match")
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            line.refused_s = now_s
            self._say(peer, UNPROVEN)
        elif event == zmq.EVENT_DISCONNECTED and not line.connected and line.refused_s is None:
            prompt = now_s - line.since_s < PROMPT_S
            self._ended[way] = self._ended.get(way, 0) + 1 if prompt else 0
            if self._ended[way] >= IN_A_ROW:
                self._words[way] = _THEIRS.format(peer=peer, remedy=self._remedy), now_s

    def caller(self) -> None:
        """Take that somebody who dialled us proved nothing."""
        self._caller_s = time.monotonic()
        self._say("a caller", UNPROVEN)

    def found(self, lines: Mapping[str, Sequence[Line]], connected: Container[str]) -> KeyRefusals:
        """Return what is refused now; a peer is told of when every key of its list leads nowhere."""
        now_s, gate, domain = time.monotonic(), self._gate, self._domain
        where, at_s = gate.knocked.get(domain, ("", float("-inf")))
        away = [each for peer, each in lines.items() if peer not in connected]
        told = [[self._lately((line.peer, line.pair), now_s) for line in each] for each in away]
        strangers = (
            _UNKNOWN_KEY.format(where=where) if now_s - at_s < LATELY_S else "",
            _OTHER_SERVER if now_s - self._caller_s < LATELY_S else "",
        )
        return KeyRefusals(
            self._count + gate.refused.get(domain, 0),
            tuple(next(iter(words)) for words in told if words and all(words)),
            "; ".join(filter(None, strangers)),
        )

    def _lately(self, way: Way, now_s: float) -> str:
        """Return why no connection stands; who is down refuses nobody."""
        words, at_s = self._words.get(way, ("", float("-inf")))
        return words if now_s - at_s < LATELY_S else ""

    def _say(self, whom: str, why: str) -> None:
        """Count a connection that was refused or ended; say so once a minute."""
        self._count += 1
        held = self._seldom.due(f"{whom}: {why}", time.monotonic())
        if held is not None:
            words = f" ({held} more like this in the last minute)" if held else ""
            _log.warning("connection with %s refused: %s%s", whom, why, words)


def stale(line: Line, now_s: float) -> bool:
    """Tell whether a line was refused so long ago that it shall be dialled anew."""
    return line.refused_s is not None and not line.connected and now_s - line.refused_s >= AGAIN_S
