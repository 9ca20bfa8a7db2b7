"""Keys and passwords that change while the process runs: files are looked at, wires take up what is new."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from qts_core.errors import ConfigError
from qts_messaging.bus import Renewable
from qts_messaging.keys import CURVE_DIR, REDIS_DIR, CurveKeys
from qts_messaging.redis_connection import AWAY, Door
from qts_messaging.seldom import Seldom

_log = logging.getLogger(__name__)
PERIOD_S = 1.0
Seen = tuple[tuple[str, int, int, int], ...]


class Rotation:
    """Follows the secrets of one process; an error keeps what is in use, and is tried again."""

    def __init__(
        self, secrets: Path | None, keys: CurveKeys | None, door: Door, redis: tuple[Renewable, ...]
    ) -> None:
        self._secrets, self._keys, self._door, self._redis = secrets, keys, door, redis
        self._generation = door.login.generation
        self._seen = look(secrets)
        self._seldom = Seldom()

    def generations(self) -> dict[str, int]:
        """Return kind → generation in use; a kind that this process does not use is left out."""
        found = {"redis": self._generation} if self._generation else {}
        if self._keys is not None:
            found |= {"curve": self._keys.generation, "curve_accepted": self._keys.accepted}
        return found

    async def run(self) -> None:
        """Look at the files once a second; ends when cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            seen = look(self._secrets)
            if seen != self._seen and await self._renewed():
                self._seen = seen

    async def _renewed(self) -> bool:
        """Take up what has changed; False when something must be tried again."""
        try:
            if await self._door.renew():
                for wire in self._redis:
                    await wire.renew()
                self._generation = self._door.login.generation
                _log.info("redis: password of generation %d is in use", self._generation)
        except (ConfigError, *AWAY) as error:
            if self._seldom.due("renew", time.monotonic()) is not None:
                _log.warning("changed credentials are not in use yet: %.200s", error)
            return False
        return True


def look(secrets: Path | None) -> Seen:
    """Return what tells one state of the files from another; a mounted Secret changes by a swap of links."""
    if secrets is None:
        return ()
    found = []
    for path in sorted((*secrets.glob(f"{CURVE_DIR}/*"), *secrets.glob(f"{REDIS_DIR}/*"))):
        try:
            facts = path.stat()
        except OSError:  # it is being swapped: the next look will see
            continue
        found.append((str(path), facts.st_ino, facts.st_mtime_ns, facts.st_size))
    return tuple(found)
