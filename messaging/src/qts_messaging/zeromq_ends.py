"""Why a connection ended: libzmq says only that it did; of a copy of its descriptor the kernel says more."""

from __future__ import annotations

import contextlib
import os
import socket
import struct

import msgspec

from qts_messaging.zeromq_sockets import Socket

ESTABLISHED = 1  # TCP_ESTABLISHED of the kernel: the other side has neither closed nor reset it
_IDLE = struct.Struct("I")
_INFO_BYTES, _IDLE_AT = 104, 52  # of struct tcp_info: tcpi_last_data_recv, ms
SILENT_MS = 2000  # peers give signs of life every second; libzmq ends a connection after 3 s without
PULSE_S = 0.5
LATE_S = 1.5  # a pulse that is so late says that this process was held up, and so did not hear its peers
DOUBT_S = 5.0  # in which what ends may end for a reason that the kernel does not know


class Held(msgspec.Struct, frozen=True, eq=False):
    """One connection over which `peer` has proved its key."""

    peer: str
    owner: Socket
    copy: socket.socket


class Ends:
    """The connections of one process, by libzmq's descriptor.

    libzmq closes a connection that the peer holds open for three reasons: silence; what was no proof of its
    key, which it tells us; a frame that announced more than it may.
    """

    def __init__(self, now_s: float) -> None:
        self._pulsed, self._doubtful = now_s, now_s  # the second: until then
        self._held: dict[int, Held] = {}
        self._late: set[int] = set()  # numbers that were taken over before their end was told

    def pulse(self, now_s: float) -> None:
        """Notice whether this process was held up: silence that it did not hear is not its peers'."""
        if now_s - self._pulsed > LATE_S:
            self.doubt(now_s)
        self._pulsed = now_s

    def doubt(self, now_s: float) -> None:
        """Judge nothing for a while: a connection that proves no key lingers before it ends."""
        self._doubtful = now_s + DOUBT_S

    def hold(self, descriptor: int, peer: str, owner: Socket) -> None:
        """Begin to watch a connection; its number may have been another's whose end is still to be told."""
        before = self._held.get(descriptor)
        if before is not None and before.peer == peer and _same(before.copy, descriptor):
            return
        if before is not None:
            self._held.pop(descriptor).copy.close()
            self._late.add(descriptor)
        with contextlib.suppress(OSError):  # it has ended meanwhile, or there are no descriptors left
            self._held[descriptor] = Held(peer, owner, socket.socket(fileno=os.dup(descriptor)))

    def told(self, descriptor: int, now_s: float) -> tuple[str, bool]:
        """Let a connection go; return its peer ("": not known) and whether a frame was too large."""
        self.pulse(now_s)
        if descriptor in self._late:
            self._late.discard(descriptor)
            return "", False
        held = self._held.pop(descriptor, None)
        if held is None:
            return "", False
        with held.copy:
            return held.peer, now_s >= self._doubtful and _open_and_speaking(held.copy)

    def release(self, owner: Socket) -> None:
        """Let the connections of a socket go that is closed."""
        for descriptor in [fd for fd, held in self._held.items() if held.owner is owner]:
            self._held.pop(descriptor).copy.close()


def _open_and_speaking(copy: socket.socket) -> bool:
    """Tell whether the other side holds the connection open and has sent something lately."""
    with contextlib.suppress(OSError):
        info = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
        return info[0] == ESTABLISHED and _IDLE.unpack_from(info, _IDLE_AT)[0] < SILENT_MS
    return False


def _same(copy: socket.socket, descriptor: int) -> bool:
    """Tell whether a descriptor still is the connection of which `copy` is a copy."""
    with contextlib.suppress(OSError):
        return os.path.sameopenfile(copy.fileno(), descriptor)
    return False
