"""Broadcasts over Redis channels: publish, subscribe, notice deafness, begin again."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from qts_messaging.beacon import BEACON_S, Beacon, Kind, is_beacon, read
from qts_messaging.bus import Sink
from qts_messaging.ending import end, for_ever
from qts_messaging.reconnect import Backoff
from qts_messaging.redis_connection import AWAY, SOCKET_TIMEOUT_S, accepted, shut
from qts_messaging.redis_line import Command, Ear, Said
from qts_messaging.redis_names import RedisNames, writer
from qts_messaging.redis_refusals import Refusals

_log = logging.getLogger(__name__)
REACHED_S = 5.0
FAREWELL_S = 0.5
RENEW_STEPS = 100  # of 50 ms: how long a new subscription may take beside the old one


class RedisTopics:
    """The broadcast wire of one process: one connection to speak, one to listen."""

    def __init__(self, connect: Callable[[float], Any], names: RedisNames, epoch: int) -> None:
        self._connect, self._names = connect, names
        self._beacon = Beacon(epoch, names.heard)
        self._commands: Any = None
        self._ear: Any = None  # the subscribed connection
        self._sink: Sink | None = None
        self._speaker: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._answered_s = float("-inf")
        self.up = False
        self.deaf = False
        self.deposed = False  # another process of our name has taken over
        self.resubscribed = 0  # subscriptions thrown away for deafness
        self._said_away = False
        self._refused = Refusals()
        self._thrown: Any = None  # the subscription that was found deaf
        self._proven: Any = None  # the subscription that has heard a beacon

    @property
    def reached(self) -> bool:
        """Tell whether the server answered within the last 5 s."""
        return time.monotonic() - self._answered_s < REACHED_S

    @property
    def refuses(self) -> dict[str, str]:
        """Return kind → what the server refuses, in plain words."""
        return self._refused.found

    @property
    def away(self) -> str:
        """Return why the server does not answer our beats."""
        return self._refused.why_away("beat")

    @property
    def listening(self) -> bool:
        """Tell whether the own subscription stands."""
        return self._ear is not None

    async def start(self, sink: Sink) -> None:
        """Begin to speak, listen and reconnect, in the background."""
        self._sink = sink
        self._speaker = asyncio.create_task(for_ever(self._speak))
        self._listener = asyncio.create_task(for_ever(functools.partial(self._listen, sink)))

    async def renew(self) -> None:
        """Log in anew on both connections; the old ones end later, so nothing is refused or missed."""
        sink, ear, listener = self._sink, self._ear, self._listener
        if sink is None or listener is None:
            return
        fresh = await accepted(self._connect(SOCKET_TIMEOUT_S))
        before, self._commands = self._commands, fresh
        self._listener = asyncio.create_task(for_ever(functools.partial(self._listen, sink)))
        try:
            for _ in range(RENEW_STEPS):
                if self._ear is not None and self._ear is not ear:
                    break
                await asyncio.sleep(0.05)
            await asyncio.sleep(SOCKET_TIMEOUT_S)  # commands under way end, and what waits is read
        finally:
            await end([listener])
            await shut(before)

    async def close(self) -> None:
        """End both connections; who stands by for us need not wait until we are missed."""
        await end(task for task in (self._speaker, self._listener) if task is not None)
        if self.up and not self.deposed:
            with contextlib.suppress(*AWAY):
                farewell = self._commands.publish(self._names.own, self._beacon.next(Kind.LEFT))
                await asyncio.wait_for(farewell, FAREWELL_S)
        self.up = False
        await shut(self._commands)
        self._commands = None

    async def publish(self, batch: Sequence[tuple[str, bytes]]) -> list[int] | None:
        """Publish (channel, frame) in order; None when it is not known what arrived."""
        client = self._commands
        if client is None:
            return None
        try:
            said = [("PUBLISH", self._names.channel(channel), frame) for channel, frame in batch]
            counts = await client.ask(*said)
        except AWAY as error:
            self._lost("publish", error)
            return None
        self._refused.over("publish")
        self._answered_s = time.monotonic()
        return [int(n) for n in counts]

    # -- speaking -----------------------------------------------------------------------------------
    def _lost(self, part: str, error: BaseException) -> None:
        """Note that the server is away; one line per change of state."""
        self.up = False
        self._refused.note(part, error)
        if not self._said_away:
            self._said_away = True
            _log.warning("redis is away: %.200s", error)

    async def _speak(self) -> None:
        """Keep the command connection, beat at a steady pace however slowly the server answers."""
        backoff, loop = Backoff(), asyncio.get_running_loop()
        while True:
            try:
                began = loop.time()
                await self._beat()
                backoff.reset()
                self._refused.over("beat")
                await asyncio.sleep(max(0.0, began + BEACON_S - loop.time()))
            except AWAY as error:
                self._lost("beat", error)
                await shut(self._commands)
                self._commands = None
                await asyncio.sleep(backoff.next(random.random()))

    async def _beat(self) -> None:
        """Publish one beacon to every pattern of ours; look whether the last ones came back."""
        if self._commands is None:
            self._commands = self._connect(SOCKET_TIMEOUT_S)
        if self._ear is not None and self._beacon.deaf:
            self._deafened("own beacons did not come back")
        ear = self._proven  # a newer subscription may not have reached the server yet
        said: list[Command] = [("PING",)]
        if self._ear is not None:
            beacon = self._beacon.next()
            said = [("PUBLISH", p.removesuffix("*") + self._names.name, beacon) for p in self._names.heard]
        receivers = await self._commands.ask(*said)
        self._answered_s = time.monotonic()
        if ear is not None and ear is self._ear and not all(receivers):
            self._deafened("the server knows no subscriber of an own channel")
        if not self.up:
            self.up = True
            if self._said_away:
                _log.info("redis is back")
            self._said_away = False

    def _deafened(self, why: str) -> None:
        """Throw the deaf subscription away; the listener makes a new one."""
        self.deaf = True
        self.resubscribed += 1
        _log.error("deaf: %s; subscribing again", why)
        self._thrown, self._ear = self._ear, None
        self._thrown.close()

    # -- listening ----------------------------------------------------------------------------------
    async def _listen(self, sink: Sink) -> None:
        """Keep the subscription."""
        backoff = Backoff()
        while True:
            client, ear = self._connect(SOCKET_TIMEOUT_S), None
            try:
                ear = await client.listen(self._names.heard, functools.partial(self._hear, sink))
                self._beacon.restart()
                self._ear = ear
                backoff.reset()
                await ear.ended
            except AWAY as error:
                if self._refused.note("listen", error) and self._refused.found:
                    _log.warning("subscribing is refused: %.200s", error)
                _log.debug("subscription ended: %s", error)
            finally:
                if self._ear is ear:
                    self._ear = None
                await shut(client)
            await asyncio.sleep(backoff.next(random.random()))

    def _hear(self, sink: Sink, ear: Ear, news: Sequence[Said]) -> None:
        """Hand on what came together."""
        if ear is self._thrown:  # what it still heard proves nothing of the new one
            return
        if sum(not is_beacon(said.data) for said in news) > 1:
            sink.rush()
        for said in news:
            if is_beacon(said.data):
                self._beacon.heard(said.pattern.decode(), said.data)
                self.deaf, self._proven = False, ear
                self._refused.over("listen")
                if writer(said.channel) == self._names.name:
                    self._look(said.data)
            else:
                self._beacon.sign()
                sink.arrived(said.data, writer(said.channel))

    def _look(self, beacon: bytes) -> None:
        """Notice another process of our name at work: of two, the one that began later stays."""
        sign = read(beacon)
        if sign is not None and sign.kind is Kind.WORKS and sign.epoch > self._beacon.epoch:
            self.deposed = True
