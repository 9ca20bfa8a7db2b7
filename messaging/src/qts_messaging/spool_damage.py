"""What of a spool file cannot be sent any more: kept beside the file, and told in plain words."""

from __future__ import annotations

import logging
from pathlib import Path

from qts_core.files import replace_file

_log = logging.getLogger(__name__)


class Damage:
    """All damage to one spool file that this process has met.

    The bytes are kept in `<file>.bad`, behind those of earlier damage, up to `limit` bytes in all. What goes
    beyond is not kept, and that is told: what was kept first is not given up for it.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self._path, self._aside, self._limit = path, path.with_name(f"{path.name}.bad"), limit
        self._known: set[int] = set()  # where the damaged messages begin that the file holds
        self._new: list[bytes] = []  # not kept yet
        self._messages, self._first = 0, 0
        self._bytes, self._from = 0, 0
        self._unkept = ""

    def message(self, at: int, record: bytes) -> None:
        """Note one damaged message, however often it is met."""
        if at in self._known:
            return
        self._known.add(at)
        self._first = self._first if self._messages else at
        self._messages += 1
        self._new.append(record)

    def rest(self, at: int, data: bytes) -> None:
        """Note that nothing can be told apart from byte `at` on."""
        self._bytes, self._from = self._bytes + len(data), at
        self._new.append(data)

    def emptied(self) -> None:
        """Know no places any more: the file begins anew."""
        self._known.clear()

    def keep(self) -> None:
        """Keep and tell what was noted; who was killed before its file was shorter keeps it once."""
        if not self._new:
            return
        data, self._new = b"".join(self._new), []
        if why := self._put_aside(data):
            self._unkept = f", but for the last {len(data)} bytes of it: {why}"
        _log.error("%s", self.words)

    def _put_aside(self, data: bytes) -> str:
        """Write bytes beside the file; return why they are not there, nothing where they are."""
        try:
            before = self._aside.read_bytes() if self._aside.exists() else b""
            if data in before:
                return ""
            if before and len(before) + len(data) > self._limit:
                return "no room beside what is kept there already; move that file away"
            replace_file(self._aside, before + data)
        except OSError as error:
            return error.strerror or str(error)
        return ""

    @property
    def words(self) -> str:
        """Return what is lost, where, and where its bytes are; nothing where all was whole."""
        parts = []
        if self._messages:
            parts.append(f"damaged messages: {self._messages}, the first at byte {self._first}")
        if self._bytes:
            parts.append(f"{self._bytes} bytes from byte {self._from} on in which no message can be found")
        if not parts:
            return ""
        return (
            f"messages that waited for Redis are lost: {self._path}: {'; '.join(parts)}; "
            f"all others are sent; what is damaged is kept as {self._aside}{self._unkept}"
        )
