"""Keys and passwords that change while the process runs: files are looked at, wires take up what is new."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from qts_core.errors import ConfigError
from qts_messaging.bus import BusOptions, Renewable
from qts_messaging.keys import CURVE_DIR, REDIS_DIR, CurveKeys, load_curve
from qts_messaging.redis_connection import AWAY, Door
from qts_messaging.seldom import Seldom
from qts_messaging.zeromq import ZeroMQ

_log = logging.getLogger(__name__)
PERIOD_S = 1.0
Seen = tuple[tuple[str, int, int, int], ...]


class Rotation:
    """Follows the secrets of one process; an error keeps what is in use, and is tried again."""

    def __init__(
        self, options: BusOptions, keys: CurveKeys | None, direct: ZeroMQ, door: Door, *redis: Renewable
    ) -> None:
        self._secrets, self._name = options.secrets, options.name
        self._keys, self._direct, self._door, self._redis = keys, direct, door, redis
        self._curve = 0 if keys is None else keys.generation
        self._login = door.login  # that all wires use
        self._seen = look(options.secrets)
        self._seldom = Seldom()

    def generations(self) -> dict[str, int]:
        """Return kind → generation in use; a kind that this process does not use is left out."""
        found = {"redis": self._login.generation} if self._login.generation else {}
        if self._keys is not None:
            found |= {"curve": self._curve, "curve_accepted": self._keys.accepted}
        return found

    async def run(self) -> None:
        """Look at the files once a second; ends when cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            seen = look(self._secrets)
            if seen != self._seen and await self._renewed():
                self._seen = seen
            self._direct.tidy(time.monotonic())
            if self._keys is not None and self._keys.generation != self._curve and self._direct.settled:
                self._curve = self._keys.generation
                _log.info("curve: keys of generation %d are in use", self._curve)

    async def _renewed(self) -> bool:
        """Take up what has changed; False when something must be tried again."""
        try:
            if self._keys is not None and self._secrets is not None:
                self._keys = load_curve(self._secrets, self._name)
                self._direct.renew(self._keys)
            await self._door.renew()
            if (login := self._door.login) != self._login:  # also where the server was away in the middle
                for wire in self._redis:
                    await wire.renew()
                self._login = login
                _log.info("redis: password of generation %d is in use", login.generation)
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
