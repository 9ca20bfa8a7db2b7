"""Beacons: 24 bytes that tell whether one's subscription hears, and who else has one's name (pure)."""

from __future__ import annotations

import enum
import struct

import msgspec

MAGIC = b"qtsbeac"  # and one letter for the kind
_BEACON = struct.Struct("<8sqq")
BEACON_BYTES = _BEACON.size
BEACON_S = 0.4
SILENT = 3  # beacons after which nothing came: found (SILENT + 1) periods after it began at the latest
OVERTAKEN = 2  # beacons that came by another pattern: found (OVERTAKEN + 1) periods after it began


class Kind(enum.Enum):
    """What a process says of itself by a beacon."""

    WORKS = MAGIC + b"n"
    WAITS = MAGIC + b"w"  # it stands by
    LEFT = MAGIC + b"l"  # it has ended its work


class Sign(msgspec.Struct, frozen=True):
    """A beacon that was read."""

    kind: Kind
    epoch: int
    counter: int


class Beacon:
    """Says by each subscribed pattern that it was heard there, or that the subscription is deaf.

    Beacons are counted, not seconds: a loop or a server that was held up sends none meanwhile, and nothing is
    deaf for it. All patterns share one connection, which keeps the order in which beacons are published.
    """

    def __init__(self, epoch: int, patterns: tuple[str, ...]) -> None:
        self.epoch = epoch
        self._sent = 0
        self._sign = 0  # how many were sent when anything came last
        self._back = dict.fromkeys(patterns, 0)

    def restart(self) -> None:
        """Forget what is missing: a new subscription begins."""
        self._back = dict.fromkeys(self._back, self._sent)
        self._sign = self._sent

    def next(self, kind: Kind = Kind.WORKS) -> bytes:
        """Return the next beacon to publish to all patterns."""
        self._sent += 1
        return _BEACON.pack(kind.value, self.epoch, self._sent)

    def sign(self) -> None:
        """Take anything that came: what was published before may still be behind it."""
        self._sign = self._sent

    def heard(self, pattern: str, data: bytes) -> None:
        """Take a beacon that a pattern brought; those of others are a sign and no more."""
        self.sign()
        _, epoch, counter = _BEACON.unpack(data)
        if epoch == self.epoch and pattern in self._back:
            self._back[pattern] = max(self._back[pattern], counter)

    @property
    def deaf(self) -> bool:
        """Tell whether all is silent, or a pattern whose later beacons others brought; ask before `next`."""
        newest = max(self._back.values())
        return self._sent - self._sign >= SILENT or any(newest - n >= OVERTAKEN for n in self._back.values())


def is_beacon(data: bytes) -> bool:
    """Tell a beacon from a message."""
    return len(data) == BEACON_BYTES and data.startswith(MAGIC)


def read(data: bytes) -> Sign | None:
    """Return what a beacon says; None for a message, or for a kind that a later version may have."""
    if not is_beacon(data):
        return None
    kind, epoch, counter = _BEACON.unpack(data)
    return Sign(Kind(kind), epoch, counter) if kind in {each.value for each in Kind} else None
