"""From the inbox to a handler: one at a time, urgent ones first, at once where nobody is before it."""

from __future__ import annotations

import asyncio
import logging
import types
from asyncio.tasks import _enter_task, _leave_task
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from typing import Any

import msgspec

from qts_core.clock import Clock
from qts_messaging.accounts import Inflow
from qts_messaging.bus import Done, Handler
from qts_messaging.durations import Durations
from qts_messaging.messages import HIGH, KIND, LOW, NORMAL, Envelope, Route

_log = logging.getLogger(__name__)
INBOX = 4096
SLOW_NS = 50_000_000


class Arrival(msgspec.Struct):
    """A message in the inbox. The collector must see it: `done` leads back to the bus that holds it."""

    envelope: Envelope
    flow: Inflow  # where its account ends
    done: Done | None = None
    stored: bool = False  # in a stream too: `done` is there, or may come while this waits


class Dispatch:
    """The inbox of a process and the one task that all its handlers run in."""

    def __init__(self, clock: Clock, handled: Callable[[Arrival, bool], None]) -> None:
        self._clock = clock
        self._handled = handled  # told of each stored message whose handler ended, and whether it failed
        self._queues: dict[int, deque[Arrival]] = {HIGH: deque(), NORMAL: deque(), LOW: deque()}
        self._waiting = 0  # in all queues
        self._handlers: dict[type, Handler] = {}
        self._handling: tuple[type, int] | None = None  # type whose handler runs, and since when
        self._wake: asyncio.Future[None] | None = None  # the task sleeps on it
        self._task: asyncio.Task[Any] | None = None
        self._begun: tuple[Coroutine[Any, Any, None], Any] | None = None  # and what it waits for
        self.context = copy_context()  # of the task and of what is begun for it
        self._took: dict[tuple[type, str], Durations] = {}  # type, lane → how long its handler took
        self.slow: dict[str, int] = {}  # type → handler calls over 50 ms
        self.errors: dict[str, int] = {}  # type → handler exceptions
        self.resume: list[Callable[[], None]] = []  # wires that stopped reading

    def __len__(self) -> int:
        return self._waiting

    def subscribe(self, kind: type, handler: Handler) -> None:
        """Set the handler of a type."""
        if kind not in KIND:
            raise TypeError(f"{kind.__name__} is not a message type")
        self._handlers[kind] = handler

    def room(self) -> bool:
        """Tell whether a wire may go on reading."""
        return self._waiting < INBOX

    @property
    def idle(self) -> bool:
        """Tell whether nothing waits and no handler runs."""
        return self._handling is None and not self._waiting

    @property
    def handling(self) -> tuple[str, float] | None:
        """Return the type whose handler runs and for how many seconds; None while none does."""
        if self._handling is None:
            return None
        kind, since_ns = self._handling
        return KIND[kind], (self._clock.monotonic_ns() - since_ns) / 1e9

    # -- entering -----------------------------------------------------------------------------------
    def put(self, arrival: Arrival) -> None:
        """Begin to handle a message if the task sleeps and a wire's callback brings it; else let it wait.

        A turn of the loop between both would be a fifth of a vote's time. The handler runs as the sleeping
        task up to its first wait, and that task goes on with it when it wakes; where another task is at work,
        its callee is not interrupted by a handler.
        """
        wake, task = self._wake, self._task
        if wake is None or task is None or wake.done():
            self._queue(arrival)
            return
        loop = wake.get_loop()
        if asyncio.current_task(loop) is not None:  # to try and be refused would write a text of both tasks
            self._queue(arrival)
            wake.set_result(None)
            return
        _enter_task(loop, task)
        work = self._handle(arrival)
        try:
            waits_for = self.context.run(work.send, None)
        except StopIteration:  # so a coroutine says that it has returned: the task sleeps on
            return
        else:
            if waits_for is not None:
                # this mark tells a task what it is to wait for; until ours is, another may wait for the same
                waits_for._asyncio_future_blocking = False
            self._begun = (work, waits_for)
            self.rush()  # or not: a message that the handler's first step brought has woken the task already
        finally:
            _leave_task(loop, task)

    def rush(self) -> None:
        """Let what comes next wait for the task, which takes the most urgent first."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _queue(self, arrival: Arrival) -> None:
        """Let a message wait; one that nobody stored is dropped where there is no room."""
        if not self.room() and arrival.done is None:
            arrival.flow.finished(KIND[type(arrival.envelope.body)], "full")
            return
        self._queues[arrival.envelope.priority].append(arrival)
        self._waiting += 1

    # -- leaving ------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Hand messages to handlers; ends when cancelled. Its task must have `context`."""
        self._task, loop = asyncio.current_task(), asyncio.get_running_loop()
        while True:
            if not self._waiting:
                self._wake = loop.create_future()
                await self._sleep(self._wake)
            if self._begun is not None:
                begun, self._begun = self._begun, None
                await _rest(*begun)
            elif self._waiting:
                high, normal, low = self._queues.values()
                arrival = (high or normal or low).popleft()
                self._waiting -= 1
                await self._handle(arrival)
            if self._waiting == INBOX // 2 or not self._waiting:
                for resume in self.resume:
                    resume()

    async def _sleep(self, wake: asyncio.Future[None]) -> None:
        """Wait for a message; a cancellation that comes after one has been begun is for its handler."""
        try:
            await wake
        except asyncio.CancelledError:
            if self._begun is None or self._task is None:
                raise
            self._task.cancel()

    async def _handle(self, arrival: Arrival) -> None:
        """Let the handler see one message; an exception in it is counted, never fatal."""
        kind, stored = type(arrival.envelope.body), arrival.stored
        handler, began = self._handlers.get(kind), self._clock.monotonic_ns()
        self._handling = (kind, began)
        try:
            if handler is not None:
                await handler(arrival.envelope)
        except asyncio.CancelledError:
            arrival.flow.finished(KIND[kind], "shutdown")
            raise
        except Exception as error:
            self._failed(arrival, KIND[kind], error)
            return
        finally:
            self._handling = None
            self._note(kind, arrival.envelope.lane, self._clock.monotonic_ns() - began)
        if stored:
            self._handled(arrival, False)
        arrival.flow.finished(KIND[kind], "delivered")
        if stored:
            _finish(arrival, "ok")

    def _note(self, kind: type, lane: str, took_ns: int) -> None:
        """Count how long a handler took, whatever came of it."""
        took = self._took.get((kind, lane))
        if took is None:
            took = self._took[kind, lane] = Durations()
        took.add(took_ns)
        if took_ns > SLOW_NS:
            self.slow[KIND[kind]] = self.slow.get(KIND[kind], 0) + 1

    def took(self) -> dict[str, Durations]:
        """Return by destination how long handlers took."""
        found: dict[str, Durations] = {}
        for (kind, lane), took in self._took.items():
            route: Route = kind.ROUTE  # type: ignore[attr-defined]
            topic = route.topic if "to." in lane else route.open_topic
            found[topic] = found[topic].merged(took) if topic in found else took
        return found

    def _failed(self, arrival: Arrival, kind: str, error: Exception) -> None:
        """Count an exception of a handler, which is being handled."""
        self.errors[kind] = self.errors.get(kind, 0) + 1
        _log.exception("handler of %s failed", kind)
        arrival.flow.finished(kind, "dead_letter" if arrival.done else "handler_error")
        if arrival.stored:
            self._handled(arrival, True)
            _finish(arrival, f"{type(error).__name__}: {error}")

    def settle(self) -> None:
        """Close the accounts of what was not handled; durable messages stay unacknowledged."""
        for queue in self._queues.values():
            while queue:
                arrival = queue.popleft()
                self._waiting -= 1
                arrival.flow.finished(KIND[type(arrival.envelope.body)], "shutdown")


def _finish(arrival: Arrival, outcome: str) -> None:
    """End a durable delivery, also one whose stored copy came while the handler ran."""
    if arrival.done is not None:
        arrival.done(outcome)


@types.coroutine
def _rest(work: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """Go on, as the task that runs this, with `work`, which began outside of it and waits for something."""
    if waits_for is not None:
        waits_for._asyncio_future_blocking = True
    try:
        while True:
            try:
                answer = yield waits_for
            except BaseException as error:
                waits_for = work.throw(error)
            else:
                waits_for = work.send(answer)
    except StopIteration:
        return
