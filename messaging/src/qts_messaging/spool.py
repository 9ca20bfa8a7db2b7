"""Durable messages that wait in a file while Redis is away; replayed in order, also by the next process.

The lengths of a message have a checksum of their own: where they are sound and only what stands behind them
is damaged, reading goes on behind it. Where they are not, the next message cannot be found.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import struct
import zlib
from pathlib import Path

from qts_core.files import replace_file
from qts_messaging.spool_damage import Damage

_log = logging.getLogger(__name__)
LIMIT = 64 << 20
_LENGTHS = struct.Struct("<HI")  # of topic and frame
_SUM = struct.Struct("<I")  # CRC-32: of the lengths behind them, of topic and frame at the record's end
_HEAD = _LENGTHS.size + _SUM.size
Stored = tuple[str, bytes]  # topic, frame


class Spool:
    """An append-only file of (topic, frame) with the place up to which it was replayed.

    What is still in it when a process starts was left by one that was killed.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path, self._limit = path, limit
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b", buffering=0)  # what a full disk refused is nowhere
        self._done = 0
        self._given = 0  # up to where `head` has given messages out
        self._damage = Damage(path, limit)
        self._size = path.stat().st_size
        at = 0
        while at < self._size:
            at, _ = self._read(at)
        self._cut()

    def __len__(self) -> int:
        return self._size - self._done

    @property
    def lost(self) -> str:
        """Return what damage to the file costs, in plain words; nothing where it was whole."""
        return self._damage.words

    def room(self, length: int) -> bool:
        """Tell whether a frame of `length` bytes fits."""
        return self._size + length + 64 <= self._limit

    def append(self, topic: str, frame: bytes) -> None:
        """Hand one frame to the operating system, so that it outlives this process.

        OSError when the disk has no room for it; the file is then as it was.
        """
        record = _record(topic, frame)
        try:
            if self._file.write(record) < len(record):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self._file.truncate(self._size)
            raise
        self._size += len(record)

    def head(self, count: int) -> list[Stored]:
        """Return the next frames to replay, oldest first, without damaged ones; they stay until `advance`."""
        frames: list[Stored] = []
        self._given = self._done
        while len(frames) < count and self._given < self._size:
            self._given, stored = self._read(self._given)
            if stored is not None:
                frames.append(stored)
        self._cut()
        if not frames:  # nothing that stands before the end can be sent
            self.advance()
        return frames

    def advance(self) -> None:
        """Forget what `head` gave last, which is replayed; an empty spool gives its disk space back."""
        self._done = self._given
        if self._done >= self._size:
            self._file.truncate(0)
            self._done = self._given = self._size = 0
            self._damage.emptied()

    def close(self) -> None:
        """Keep only what was not replayed; remove the file when nothing is left."""
        self._file.seek(self._done)
        rest = self._file.read(self._size - self._done)
        self._file.close()
        if not rest:
            self._path.unlink(missing_ok=True)
        elif self._done:
            with contextlib.suppress(OSError):  # no room: all of it stays, and receivers know the ids
                replace_file(self._path, rest)

    def _read(self, at: int) -> tuple[int, Stored | None]:
        """Read the record at byte `at`; return where the next one is, and what it holds if it is whole.

        Where the next one cannot be found the file ends here from now on.
        """
        self._file.seek(at)
        head = self._file.read(_HEAD)
        lengths = head[: _LENGTHS.size]
        if len(head) < _HEAD or _sum(lengths) != head[_LENGTHS.size :]:
            return self._end(at, torn=len(head) < _HEAD), None
        names, length = _LENGTHS.unpack(lengths)
        data, seal = self._file.read(names + length), self._file.read(_SUM.size)
        if len(seal) < _SUM.size:
            return self._end(at, torn=True), None
        behind = at + _HEAD + len(data) + _SUM.size
        if _sum(data) != seal:
            self._damage.message(at, head + data + seal)
            return behind, None
        return behind, (data[:names].decode(errors="replace"), data[names:])

    def _end(self, at: int, *, torn: bool) -> int:
        """Let the file end at byte `at`: what stands there is no whole record. Return where it ends.

        A kill or a loss of power leaves the beginning of a last record (`torn`; fewer bytes than a head has
        are taken for one) or zeros: no damage, and no more than a line of the log.
        """
        self._file.seek(at)
        rest = self._file.read()
        if torn or not rest.strip(b"\0"):
            _log.info("%s: the last message was not written to its end (%d bytes)", self._path, len(rest))
        else:
            self._damage.rest(at, rest)
        self._size = at
        return at

    def _cut(self) -> None:
        """Keep what is damaged beside the file, and only then let the file end where its last record does."""
        self._damage.keep()
        self._file.truncate(self._size)


def _record(topic: str, frame: bytes) -> bytes:
    name = topic.encode()
    lengths = _LENGTHS.pack(len(name), len(frame))
    return b"".join((lengths, _sum(lengths), name, frame, _sum(name + frame)))


def _sum(data: bytes) -> bytes:
    return _SUM.pack(zlib.crc32(data))
