"""A Redis client with a short way for what is said all the time: one connection, answers in order.

redis-py gives each command a task, two timers and some forty calls of Python, most of what a store costs
(`python -m bench.redis_line`). It still connects, logs in and does what is seldom.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import hiredis
from redis.asyncio import Redis
from redis.exceptions import InvalidResponse

Command = tuple[str | bytes | int, ...]
_pack: Any = hiredis.pack_command  # its stub takes one word
Heard = Callable[["Ear", Sequence["Said"]], None]
_MORE = object()  # what the parser says while an answer is not whole


class Said(NamedTuple):
    """A message as a subscription brings it."""

    pattern: bytes
    channel: bytes
    data: bytes


class Client(Redis):
    """redis-py's client, with `ask` and `listen` beside its own methods."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._line: Line | None = None
        self.lines = 0  # so many were opened: one that is lost while nobody waits is opened anew unseen
        self._opening = asyncio.Lock()

    async def ask(self, *commands: Command) -> list[Any]:
        """Send commands together; return their answers as the server gave them, or raise the first refusal.

        ConnectionError or TimeoutError when it is not known what the server did. Who is cancelled meanwhile
        leaves the connection to others, and the answer to nobody.
        """
        if not commands:
            return []
        line = self._line
        if line is None or line.lost:
            line = await self._opened()
        return await line.ask(commands)

    async def listen(self, patterns: Sequence[str], heard: Heard) -> Ear:
        """Subscribe a connection of its own to patterns."""
        pool: Any = self.connection_pool
        return Ear(await pool.get_connection(), patterns, heard)

    async def _opened(self) -> Line:
        """Return a line that stands: a connection as redis-py makes and checks it, taken over."""
        async with self._opening:
            before = self._line
            if before is not None:
                if not before.lost:
                    return before
                self._line = None
                await before.connection.disconnect(nowait=True)
                await self.connection_pool.release(before.connection)
            pool: Any = self.connection_pool
            self._line = Line(await pool.get_connection())
            self.lines += 1
            return self._line


class _Wire(asyncio.Protocol):
    """A connection of redis-py's that has logged in; its transport reports here from now on."""

    def __init__(self, connection: Any) -> None:
        self.connection, self.lost = connection, False
        self._parser = hiredis.Reader(
            protocolError=InvalidResponse, replyError=connection._parser.parse_error, notEnoughData=_MORE
        )
        self._transport: asyncio.Transport = connection._writer.transport
        self._before: Any = self._transport.get_protocol()
        self._transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        """Take all whole answers together."""
        if self.lost:
            return
        self._parser.feed(data)
        came = []
        while (answer := self._parser.gets()) is not _MORE:
            came.append(answer)
        if came:
            self._took(came)

    def _took(self, answers: list[Any]) -> None:
        raise NotImplementedError

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits; redis-py's own reader must know as well."""
        self._give_up(ConnectionError(f"Connection lost: {exc or 'closed'}"))
        self._before.connection_lost(exc)

    def _give_up(self, error: Exception) -> None:
        """End every wait; nothing that still comes is taken for an answer."""
        self.lost = True
        self._fail(error)
        self._transport.abort()

    def _fail(self, error: Exception) -> None:
        raise NotImplementedError


class _Asked:
    """Commands that were sent together, and who waits for their answers."""

    __slots__ = ("answers", "count", "future")

    def __init__(self, future: asyncio.Future[list[Any]], count: int) -> None:
        self.future, self.count = future, count
        self.answers: list[Any] = []


class Line(_Wire):
    """Questions of anybody, answered in their order."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._patience_s: float = connection.socket_timeout
        self._loop = asyncio.get_running_loop()
        self._asked: deque[_Asked] = deque()
        self._moved_s = 0.0  # when something came last, or the first of those who wait began to
        self._look: asyncio.TimerHandle | None = None

    def ask(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Send commands; the future holds their answers."""
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if self.lost or self._transport.is_closing():
            future.set_exception(ConnectionError("Connection lost: closed"))
            return future
        if not self._asked:
            self._moved_s = self._loop.time()
        self._asked.append(_Asked(future, len(commands)))
        self._transport.write(b"".join([_pack(each) for each in commands]))
        if self._look is None:  # one timer for all: it is not made anew for each question
            self._look = self._loop.call_later(self._patience_s, self._late)
        return future

    def _late(self) -> None:
        """Give the connection up where nothing has come for too long; look again where somebody waits."""
        self._look = None
        if not self._asked:
            return
        left_s = self._moved_s + self._patience_s - self._loop.time()
        if left_s > 0:
            self._look = self._loop.call_later(left_s, self._late)
        else:
            self._give_up(TimeoutError(f"No answer for {self._patience_s:g} s"))

    def _took(self, answers: list[Any]) -> None:
        self._moved_s = self._loop.time()
        for answer in answers:
            if not self._asked:
                raise InvalidResponse("an answer to no question")
            asked = self._asked[0]
            asked.answers.append(answer)
            if len(asked.answers) == asked.count:
                self._asked.popleft()
                _settle(asked)

    def _fail(self, error: Exception) -> None:
        if self._look is not None:
            self._look.cancel()
        while self._asked:
            asked = self._asked.popleft()
            if not asked.future.done():
                asked.future.set_exception(error)


class Ear(_Wire):
    """A subscription to patterns; `heard` is called in the callback that brings messages."""

    def __init__(self, connection: Any, patterns: Sequence[str], heard: Heard) -> None:
        super().__init__(connection)
        self._heard = heard
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # by an error
        self.say(("PSUBSCRIBE", *patterns))

    def say(self, command: Command) -> None:
        """Send a command of subscriptions; what is answered is passed over unless it is a refusal."""
        self._transport.write(_pack(command))

    def close(self) -> None:
        """Hear nothing more."""
        self._transport.abort()

    def _took(self, answers: list[Any]) -> None:
        for answer in answers:
            if isinstance(answer, Exception):  # subscribing is refused
                self._give_up(answer)
                return
        if said := [Said(*answer[1:]) for answer in answers if answer[0] == b"pmessage"]:
            self._heard(self, said)

    def _fail(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)


def _settle(asked: _Asked) -> None:
    """End a wait; nobody may be there any more."""
    if asked.future.done():
        return
    refusal = next((each for each in asked.answers if isinstance(each, Exception)), None)
    if refusal is None:
        asked.future.set_result(asked.answers)
    else:
        asked.future.set_exception(refusal)
