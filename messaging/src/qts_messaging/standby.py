"""A process that stands by: it beats on its own channel and hears there who of its name is at work."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

from qts_messaging.beacon import BEACON_S, Beacon, Kind, read
from qts_messaging.bus import Credentials
from qts_messaging.ending import end, for_ever
from qts_messaging.reconnect import Backoff
from qts_messaging.redis_connection import AWAY, SOCKET_TIMEOUT_S, shut
from qts_messaging.redis_names import RedisNames
from qts_messaging.succession import Succession

_log = logging.getLogger(__name__)
WITHOUT_S = 5.0  # a process that has heard nobody goes to work without a server that does not answer


class Standby:
    """Waits until no other process of this name is at work; only then may the wires be opened."""

    def __init__(self, connect: Callable[[float], Any], names: RedisNames, epoch: int) -> None:
        self._connect, self._names = connect, names
        self._beacon = Beacon(epoch, ())
        self._succession = Succession(epoch)

    @property
    def follows(self) -> bool:
        """Tell whether another process of this name was heard at work."""
        return self._succession.follows

    async def turn(self, credentials: Credentials | None) -> None:
        """Return when no other process of this name is at work; follow changed credentials meanwhile."""
        following = [] if credentials is None else [asyncio.create_task(for_ever(credentials.run))]
        try:
            await self._turn()
        finally:
            await end(following)

    async def _turn(self) -> None:
        """Stand by, and begin again whenever the server comes back."""
        backoff, loop = Backoff(), asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                await self._follow()
                return
            except AWAY as error:
                _heed()
                if not self._succession.follows and loop.time() - began > WITHOUT_S:
                    _log.warning(
                        "redis is away: whether another %s is at work is not known", self._names.name
                    )
                    return
                _log.debug("standing by: %s", error)
            await asyncio.sleep(backoff.next(random.random()))

    async def _follow(self) -> None:
        """Beat and listen until it is our turn; an error when the server is away."""
        client = self._connect(SOCKET_TIMEOUT_S)
        ear = client.pubsub()
        loop = asyncio.get_running_loop()
        try:
            await ear.subscribe(self._names.own)
            self._succession.restart()
            while not self._succession.turn:
                _heed()
                await client.publish(self._names.own, self._beacon.next(Kind.WAITS))
                until = loop.time() + BEACON_S
                while not self._succession.turn and (left := until - loop.time()) > 0:
                    self._hear(await ear.get_message(ignore_subscribe_messages=True, timeout=left))
                    _heed()
        finally:
            await shut(ear)
            await shut(client)

    def _hear(self, said: Any) -> None:
        """Take a beacon of this name, which alone may write here."""
        beacon = None if said is None else read(said["data"])
        if beacon is None:
            return
        if beacon.epoch == self._succession.epoch:
            self._succession.own()
        elif beacon.kind is Kind.WAITS:
            self._succession.waits(beacon.epoch)
        elif beacon.kind is Kind.LEFT:
            self._succession.left()
        else:
            self._succession.at_work()


def _heed() -> None:
    """Raise the cancellation that the client library has swallowed, or made an error of its connection."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
