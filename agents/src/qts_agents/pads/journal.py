"""The decision log on disk: reader and writer (IO; the bytes of a record are `records`).

Files NNNN.qtsj are rows of frames; a frame cut short by a crash ends its file.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from qts_agents.pads.records import FRAME, HEAD, Entry, decode, frame
from qts_core import names
from qts_core.errors import ConfigError, LocalError

SUFFIX = ".qtsj"
MAX_FILE = 256 * 1024 * 1024
MAX_RECORD = 256 * 1024 * 1024
FSYNC_S = 0.2
SECTOR = 512  # bytes that a disk writes whole or not at all
UNREAD = 4 * 1024 * 1024  # seconds of work at a start, hours of one symbol
POD_KEEPS = 512 * 1024 * 1024  # half of its volume: the kubelet evicts a pod whose volume is full


def files(path: Path) -> list[Path]:
    """Return the journal files of a run folder or its journal folder, or the file itself, in order."""
    if path.is_file():
        return [path]
    folder = path / "journal" if (path / "journal").is_dir() else path
    found = in_order(folder)
    if not found:
        raise ConfigError(f"{path}: no journal there; expected a {SUFFIX} file or a folder that holds some")
    return found


def kept_in(state: Path) -> int | None:
    """Return how many bytes of journal stay in this folder of state; None, all: it is its user's to tidy."""
    return POD_KEEPS if state == Path(names.DIR_STATE) else None


def turn(file: Path) -> tuple[int, str]:
    """Return what orders journal files: 10000 comes after 9999."""
    return len(file.stem), file.stem


def in_order(folder: Path) -> list[Path]:
    """Return the journal files of a folder, oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"), key=turn)


def entries(path: Path, damaged: Callable[[str], None] = lambda _: None) -> Iterator[Entry]:
    """Yield every whole record of a journal; a torn end of a file is passed over.

    `damaged` is told, in words, where a file ceases to be readable though no crash leaves such an end.
    """
    for file in files(path):
        whole = 0
        with file.open("rb") as stream:
            while (payload := read_frame(stream.read)) is not None:
                whole += FRAME.size + len(payload)
                yield decode(payload)
            stream.seek(whole)
            rest = stream.read()
        if not _torn(rest, whole):
            lost = f"{len(rest)} bytes from there on are unread"
            damaged(f"{file}: byte {whole} begins no whole record; {lost}")


def _torn(rest: bytes, start: int) -> bool:
    """Tell whether `rest`, from byte `start` on, is what a crash leaves of a last record.

    That is a record cut short, or one whose last sectors are the zeros of a loss of power.
    """
    view = memoryview(rest)
    payload = view[FRAME.size :]
    if any(_whole(view, found.start() - FRAME.size) for found in HEAD.finditer(rest, 2 * FRAME.size)):
        return False  # nothing that a crash leaves has whole records behind it
    sector = max(start, (start + len(rest) - 1) // SECTOR * SECTOR)
    if len(rest) < FRAME.size or not rest[sector - start :].strip(b"\0"):
        return True
    length: int
    length, checksum = FRAME.unpack_from(rest)
    return len(payload) < length <= MAX_RECORD and zlib.crc32(payload) != checksum


def _whole(data: memoryview, at: int) -> bool:
    length: int
    length, checksum = FRAME.unpack_from(data, at)
    payload = data[at + FRAME.size :][:length]
    return len(payload) == length and zlib.crc32(payload) == checksum


def read_frame(read: Callable[[int], bytes]) -> bytes | None:
    """Return the next payload, None at the end or where it is torn."""
    head = read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    length, checksum = FRAME.unpack(head)
    if not 0 < length <= MAX_RECORD:  # eight zeros would be a whole frame of nothing
        return None
    payload = read(length)
    return payload if len(payload) == length and zlib.crc32(payload) == checksum else None


class JournalWriter:
    """Appends records, makes them safe at most 0.2 s later on a thread, starts a new file at 256 MiB.

    Of files that no restart needs `keep` bytes stay, the newest; without it all do.
    """

    def __init__(self, folder: Path, max_file: int = MAX_FILE, keep: int | None = None) -> None:
        self._folder = folder
        self._keep = keep
        self._max_file = max_file
        self.unread = 0  # bytes a restart has to read: those since the newest header
        self._head = 0  # bytes of that header
        self._stream: Any = None
        self._size = 0
        self._lock = threading.Lock()
        self._dirty = threading.Event()
        self._stop = threading.Event()
        self._trouble: OSError | None = None
        self._thread: threading.Thread | None = None

    @property
    def path(self) -> Path | None:
        """Return the file being written."""
        return Path(self._stream.name) if self._stream is not None else None

    @property
    def wants_state(self) -> bool:
        """Tell whether a header with the state is due: much came after the last one, and more than it is."""
        return self.unread >= max(UNREAD, 2 * self._head)

    def append(self, data: bytes, opens: bool = False) -> None:
        """Write one record before its effects are published, `opens` into a new file.

        LocalError when the disk refuses.
        """
        framed = frame(data)
        with self._lock:
            try:
                full = self._size + len(framed) > self._max_file > len(framed)
                if self._stream is None or full or (opens and self._size > 0):
                    self._next_file()
                self._write(framed)
                self.unread = len(framed) + (0 if opens else self.unread)
                self._head = len(framed) if opens else self._head
                if opens and self._keep is not None:
                    self._forget(self._keep)
            except OSError as error:
                raise LocalError(f"{self._folder}: {error.strerror or error}") from error
            trouble, self._trouble = self._trouble, None
        self._dirty.set()
        if trouble is not None:
            raise LocalError(f"{self._folder}: {trouble.strerror or trouble}")

    def _write(self, framed: bytes) -> None:
        """Write all or nothing: what a full disk left of a record is cut off again."""
        view = memoryview(framed)
        try:
            while view:
                view = view[self._stream.write(view) :]
        except OSError:
            self._cut()
            raise
        self._size += len(framed)

    def _cut(self) -> None:
        try:
            self._stream.truncate(self._size)
            self._stream.seek(self._size)
        except OSError:  # not a regular file, or the disk is gone: the next record starts a new file
            self._stream.close()
            self._stream = None

    def _next_file(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._folder.mkdir(parents=True, exist_ok=True)
        numbers = [int(f.stem) for f in self._folder.glob(f"*{SUFFIX}") if f.stem.isdigit()]
        name = f"{max(numbers, default=0) + 1:04d}{SUFFIX}"
        self._stream = (self._folder / name).open("xb", buffering=0)
        self._size = 0
        if self._thread is None:
            self._thread = threading.Thread(target=self._sync_loop, name="journal-fsync", daemon=True)
            self._thread.start()

    def _forget(self, keep: int) -> None:
        """Delete the oldest files beyond `keep` bytes; the newest begins with all that a restart needs."""
        for file in reversed(in_order(self._folder)[:-1]):
            keep -= file.stat().st_size
            if keep < 0:
                file.unlink()

    def _sync_loop(self) -> None:
        while not self._stop.is_set():
            self._dirty.wait()
            self._stop.wait(FSYNC_S / 2)
            self._dirty.clear()
            self._sync()

    def _sync(self) -> None:
        """Flush to the disk; trouble is told at the next append."""
        with self._lock:
            descriptor = os.dup(self._stream.fileno()) if self._stream is not None else -1
        if descriptor < 0:
            return
        try:
            os.fsync(descriptor)
        except OSError as error:
            self._trouble = error
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Make everything safe and end the thread."""
        self._stop.set()
        self._dirty.set()
        if self._thread is not None:
            self._thread.join(5.0)
        self._sync()
        with self._lock:
            if self._stream is not None:
                self._stream.close()
                self._stream = None
