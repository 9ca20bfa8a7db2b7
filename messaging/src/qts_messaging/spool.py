"""Durable messages that wait in a file while Redis is away; replayed in order, also by the next process."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from pathlib import Path

from qts_core.files import replace_file

LIMIT = 64 << 20
_HEAD = struct.Struct("<HI")  # length of topic, length of frame


class Spool:
    """An append-only file of (topic, frame) with the place up to which it was replayed.

    What is still in it when a process starts was left by one that was killed.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path, self._limit = path, limit
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b", buffering=0)  # what a full disk refused is nowhere
        self._done = 0
        self._size = self._whole()
        self._file.truncate(self._size)

    def __len__(self) -> int:
        return self._size - self._done

    def room(self, length: int) -> bool:
        """Tell whether a frame of `length` bytes fits."""
        return self._size + length + 64 <= self._limit

    def append(self, topic: str, frame: bytes) -> None:
        """Hand one frame to the operating system, so that it outlives this process.

        OSError when the disk has no room for it; the file is then as it was.
        """
        name = topic.encode()
        record = _HEAD.pack(len(name), len(frame)) + name + frame
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
        self._done += sum(_HEAD.size + len(topic.encode()) + len(frame) for topic, frame in frames)
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
        """Read the record at the file's position; None when it is not whole."""
        head = self._file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return None
        names, length = _HEAD.unpack(head)
        data = self._file.read(names + length)
        if len(data) < names + length:
            return None
        return data[:names].decode(errors="replace"), data[names:]

    def _whole(self) -> int:
        """Return the length of the file up to its last whole record: a kill may have cut the last one."""
        self._file.seek(0)
        end = 0
        while self._read() is not None:
            end = self._file.tell()
        return end
