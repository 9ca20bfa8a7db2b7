"""Durable messages that wait in a file while Redis is away; replayed in order, also by the next process."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import struct
import zlib
from pathlib import Path

from qts_core.files import replace_file

_log = logging.getLogger(__name__)
LIMIT = 64 << 20
_LENGTHS = struct.Struct("<HI")  # of topic and frame
_SUM = struct.Struct("<I")  # CRC-32: of the lengths behind them, of topic and frame at the record's end
_HEAD = _LENGTHS.size + _SUM.size


class Spool:
    """An append-only file of (topic, frame) with the place up to which it was replayed.

    What is still in it when a process starts was left by one that was killed.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path, self._limit = path, limit
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b", buffering=0)  # what a full disk refused is nowhere
        self._done = 0
        self.lost = ""  # what damage to the file costs, in plain words
        self._size = path.stat().st_size
        self._file.seek(0)
        while self._read() is not None:
            pass

    def __len__(self) -> int:
        return self._size - self._done

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

    def head(self, count: int) -> list[tuple[str, bytes]]:
        """Return the next frames to replay, oldest first; they stay until `advance`."""
        frames: list[tuple[str, bytes]] = []
        self._file.seek(self._done)
        while len(frames) < count:
            record = self._read()
            if record is None:
                break
            frames.append(record)
        return frames

    def advance(self, frames: list[tuple[str, bytes]]) -> None:
        """Forget what was replayed; an empty spool gives its disk space back."""
        self._done += sum(_HEAD + len(topic.encode()) + len(frame) + _SUM.size for topic, frame in frames)
        if self._done >= self._size:
            self._file.truncate(0)
            self._done = self._size = 0

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

    def _read(self) -> tuple[str, bytes] | None:
        """Read the record at the file's position; None at the end, which is before what is not whole."""
        start = self._file.tell()
        if start >= self._size:
            return None
        head = self._file.read(_HEAD)
        lengths = head[: _LENGTHS.size]
        if len(head) < _HEAD or _sum(lengths) != head[_LENGTHS.size :]:
            self._cut(start, torn=len(head) < _HEAD)
            return None
        names, length = _LENGTHS.unpack(lengths)
        data, seal = self._file.read(names + length), self._file.read(_SUM.size)
        if len(seal) < _SUM.size or _sum(data) != seal:
            self._cut(start, torn=len(seal) < _SUM.size)
            return None
        return data[:names].decode(errors="replace"), data[names:]

    def _cut(self, start: int, *, torn: bool) -> None:
        """End the file at byte `start`: of what stands behind a record that is not whole nothing is sent.

        A kill or a loss of power leaves the beginning of a last record (`torn`; fewer bytes than a head has
        are taken for one) or zeros: no damage, and no more than a line of the log. Of all else the bytes are
        kept beside the file in place of those of an earlier damage, and `lost` says so.
        """
        self._file.seek(start)
        rest = self._file.read()
        if torn or not rest.strip(b"\0"):
            _log.info("%s: the last message was not written to its end (%d bytes)", self._path, len(rest))
        else:
            aside = self._path.with_name(f"{self._path.name}.bad")
            try:
                replace_file(aside, rest)
                kept = f"they are kept as {aside}"
            except OSError as error:
                kept = f"they cannot be kept ({error.strerror})"
            self.lost = (
                f"messages that waited for Redis are lost: {self._path}: damaged from byte {start} on; "
                f"what was whole before is sent, the {len(rest)} bytes from there on are not; {kept}"
            )
            _log.error("%s", self.lost)
        self._file.truncate(start)
        self._size = start


def _record(topic: str, frame: bytes) -> bytes:
    name = topic.encode()
    lengths = _LENGTHS.pack(len(name), len(frame))
    return b"".join((lengths, _sum(lengths), name, frame, _sum(name + frame)))


def _sum(data: bytes) -> bytes:
    return _SUM.pack(zlib.crc32(data))
