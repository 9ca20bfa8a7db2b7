"""A message is handled in the callback that brings it, as the dispatching task; what comes behind it is sorted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from qts_core.clock import SystemClock
from qts_messaging import examples
from qts_messaging.accounts import Book, Inflow, summary
from qts_messaging.dispatch import Arrival, Dispatch
from qts_messaging.messages import HIGH, LOW, NORMAL, Envelope, SystemCommand

KEY = ("pads", 1, "to.quasar")
mark: ContextVar[str] = ContextVar("mark", default="outside")


class Stand:
    """A dispatch at work, and wires that bring messages."""

    def __init__(self) -> None:
        self.book, self.sequence = Book("quasar", 1, 0), 0
        self.dispatch = Dispatch(SystemClock(), lambda _arrival, _failed: None)
        self.task = asyncio.create_task(self.dispatch.run(), context=self.dispatch.context)

    def bring(self, name: str, priority: int = NORMAL) -> None:
        """Put one message."""
        body = SystemCommand(name)
        envelope = Envelope(id=bytes(16), sender="pads", lane=KEY[2], priority=priority, body=body)
        self.dispatch.put(Arrival(envelope, self.next()))

    def next(self) -> Inflow:
        """Let the lane's next message arrive."""
        self.sequence += 1
        flow = self.book.arrived(KEY, self.sequence, 0)
        assert flow is not None
        return flow

    def callback(self, *names: str) -> None:
        """Let a wire's callback bring messages in the loop's next turn."""
        asyncio.get_running_loop().call_soon(lambda: [self.bring(name) for name in names])

    def handler(self, handle: Callable[[str], Awaitable[None]]) -> None:
        """Set what is called with the name of each message."""

        async def call(envelope: Envelope) -> None:
            assert isinstance(envelope.body, SystemCommand)
            await handle(envelope.body.command)

        self.dispatch.subscribe(SystemCommand, call)


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    """Give a dispatch whose task sleeps; it ends with balanced books."""
    made = Stand()
    await asyncio.sleep(0)
    yield made
    made.task.cancel()
    await asyncio.wait([made.task], timeout=60)
    made.dispatch.settle()
    found = summary(made.book.record())
    assert (found.unaccounted, found.in_flight) == (0, 0)


async def turns(count: int = 5) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_message_is_handled_before_its_callback_returns(stand: Stand) -> None:
    """No turn of the loop lies between, and the handler runs as the task that dispatches."""
    seen: list[Any] = []

    async def handle(name: str) -> None:
        seen.append((name, asyncio.current_task()))

    stand.handler(handle)

    def wire() -> None:
        stand.bring("a")
        seen.append("back")

    asyncio.get_running_loop().call_soon(wire)
    await turns()
    assert seen == [("a", stand.task), "back"]
    assert stand.dispatch.idle


async def test_what_comes_behind_is_taken_by_urgency(stand: Stand) -> None:
    """The first of a callback is at work when the others come; the wire says so, and the urgent one is next."""
    seen: list[str] = []

    async def handle(name: str) -> None:
        seen.append(name)

    stand.handler(handle)

    def wire() -> None:
        for name, priority in (("first", LOW), ("low", LOW), ("normal", NORMAL), ("high", HIGH)):
            stand.bring(name, priority)
            stand.dispatch.rush()

    asyncio.get_running_loop().call_soon(wire)
    await turns()
    assert seen == ["first", "high", "normal", "low"]


async def test_a_task_that_sends_is_not_interrupted_by_a_handler(stand: Stand) -> None:
    """A message that arrives within a task waits for the next turn."""
    seen: list[str] = []

    async def handle(name: str) -> None:
        seen.append(name)

    stand.handler(handle)
    stand.bring("a")
    assert seen == []
    await turns()
    assert seen == ["a"]


async def test_a_handler_that_brings_a_message_and_then_waits(stand: Stand) -> None:
    """Its own message comes after it; nothing is raised into the wire's callback."""
    seen: list[str] = []
    raised: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))

    async def handle(name: str) -> None:
        if name == "a":
            stand.bring("b")
            await asyncio.sleep(0.001)
        seen.append(name)

    stand.handler(handle)
    stand.callback("a")
    await asyncio.sleep(0.02)
    assert (["a", "b"], []) == (seen, raised)


async def test_a_handler_that_waits_goes_on_as_one_task_in_one_context(stand: Stand) -> None:
    """Time-outs, variables of the context and the current task are those of a plain task; one at a time."""
    seen: list[Any] = []

    async def handle(name: str) -> None:
        token = mark.set(name)
        seen.append((name, asyncio.current_task()))
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append((mark.get(), asyncio.current_task()))
        mark.reset(token)
        await asyncio.sleep(0)
        seen.append(mark.get())

    stand.handler(handle)
    stand.callback("a", "b")
    for _ in range(1000):
        if len(seen) == 6:
            break
        await asyncio.sleep(0.01)
    assert seen == [x for n in ("a", "b") for x in ((n, stand.task), (n, stand.task), "outside")]
    assert mark.get() == "outside"


async def test_a_future_may_have_another_waiter(stand: Stand) -> None:
    """A task that begins to wait between the two halves of a handler takes nothing from it."""
    shared: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    seen: list[str] = []

    async def handle(_: str) -> None:
        seen.append(await shared)

    async def other() -> None:
        seen.append(await shared)

    stand.handler(handle)

    def wire() -> None:
        waiter.append(asyncio.ensure_future(other()))  # its first step comes before the dispatching task's
        stand.bring("a")

    waiter: list[asyncio.Future[None]] = []
    asyncio.get_running_loop().call_soon(wire)
    await turns()
    shared.set_result("here")
    await turns()
    assert seen == ["here", "here"]
    assert not stand.dispatch.errors


async def test_an_error_is_counted_wherever_it_comes(stand: Stand) -> None:
    """Before the first wait and after it."""

    async def handle(name: str) -> None:
        if name == "late":
            await asyncio.sleep(0)
        raise ValueError(name)

    stand.handler(handle)
    stand.callback("early")
    await turns()
    stand.callback("late")
    await turns()
    assert stand.dispatch.errors == {"system_command": 2}
    assert summary(stand.book.record()).dropped == {"handler_error": 2}


@pytest.mark.parametrize("stubborn", [False, True])
async def test_a_cancellation_right_after_the_beginning_is_the_handlers(stand: Stand, stubborn: bool) -> None:
    """It is told, and its message is counted; one that holds out is waited for, as within a task."""
    seen: list[str] = []

    async def handle(_: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            if not stubborn:
                raise

    stand.handler(handle)

    def wire() -> None:
        stand.bring("a")
        stand.task.cancel()

    asyncio.get_running_loop().call_soon(wire)
    await turns()
    assert seen == ["cancelled"]
    assert stand.task.done() is not stubborn
    counts = stand.book.record().counts
    assert counts == {f"pads/to.quasar/system_command/{'delivered' if stubborn else 'shutdown'}": 1}


async def test_a_full_inbox_drops_what_nobody_stored(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """And counts it; a stored message may wait."""
    monkeypatch.setattr("qts_messaging.dispatch.INBOX", 1)
    go, ended = asyncio.Event(), []

    async def handle(_: str) -> None:
        await go.wait()

    stand.handler(handle)
    stand.callback("at work", "waits", "too much")
    await turns()
    assert summary(stand.book.record()).dropped == {"full": 1}
    stored = Envelope(id=bytes(16), sender="pads", lane=KEY[2], body=SystemCommand("stored"))
    stand.dispatch.put(Arrival(stored, stand.next(), ended.append, stored=True))
    go.set()
    await turns()
    assert ended == ["ok"]


class Hand(SystemClock):
    """A clock that is set by hand."""

    now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns


async def test_what_is_at_work_and_what_waits_is_told(stand: Stand) -> None:
    """Whose handler runs and for how long; idle is who neither handles nor holds a message."""
    clock, go = Hand(), asyncio.Event()
    stand.dispatch._clock = clock

    async def handle(_: str) -> None:
        await go.wait()

    stand.handler(handle)
    assert (stand.dispatch.idle, stand.dispatch.handling, len(stand.dispatch)) == (True, None, 0)
    stand.bring("waits for its turn")
    assert (stand.dispatch.idle, stand.dispatch.handling, len(stand.dispatch)) == (False, None, 1)
    await turns()
    clock.now_ns = 2_500_000_000
    assert stand.dispatch.handling == ("system_command", 2.5)
    assert (stand.dispatch.idle, len(stand.dispatch)) == (False, 0)
    stand.bring("behind")
    assert len(stand.dispatch) == 1
    go.set()
    await turns()
    assert (stand.dispatch.idle, stand.dispatch.handling, len(stand.dispatch)) == (True, None, 0)


async def test_messages_before_the_task_begins_are_its_first() -> None:
    """And while it is at the first of them, another one waits behind the rest."""
    stand, seen, go = Stand(), [], asyncio.Event()

    async def handle(name: str) -> None:
        seen.append(name)
        await go.wait()

    stand.handler(handle)
    stand.bring("a")
    stand.bring("b")
    assert seen == []
    await turns()
    stand.callback("c")
    await turns()
    assert (seen, len(stand.dispatch)) == (["a"], 2)
    go.set()
    await turns(10)
    assert seen == ["a", "b", "c"]
    stand.task.cancel()
    await asyncio.wait([stand.task], timeout=60)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_handler_is_timed_whatever_comes_of_it(stand: Stand, fails: bool) -> None:
    """By destination; beyond 50 ms it was slow."""
    clock, long = Hand(), {"at": 50_000_000, "over": 50_000_001}
    stand.dispatch._clock = clock

    async def handle(name: str) -> None:
        clock.now_ns += long[name]
        if fails:
            raise ValueError(name)

    stand.handler(handle)
    for name in ("at", "over", "over"):
        stand.bring(name)
        await turns()
    assert stand.dispatch.slow == {"system_command": 2}
    (took,) = stand.dispatch.took().values()
    assert (sum(took.counts), took.total_ns) == (3, 150_000_002)


async def test_a_wire_reads_on_when_half_of_the_inbox_or_all_is_handled(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops where there is no room, and is told twice while eight messages go out."""
    monkeypatch.setattr("qts_messaging.dispatch.INBOX", 8)
    room, told = [], []

    async def handle(_: str) -> None:
        pass

    stand.handler(handle)
    stand.dispatch.resume.append(lambda: told.append(len(stand.dispatch)))
    for number in range(8):
        room.append(stand.dispatch.room())
        stand.bring(str(number))
    assert (room, stand.dispatch.room()) == ([True] * 8, False)
    await turns()
    assert told == [4, 0]


@pytest.mark.parametrize("fails", [False, True])
async def test_the_end_of_a_stored_message_is_told_and_of_no_other(stand: Stand, fails: bool) -> None:
    """Whether its handler failed, to who counts them and to who stored it."""
    heard: list[Any] = []
    stand.dispatch._handled = lambda arrival, failed: heard.append((arrival.stored, failed))

    async def handle(name: str) -> None:
        if fails:
            raise ValueError(name)

    stand.handler(handle)
    stand.bring("not stored")
    stored = Envelope(id=bytes(16), sender="pads", lane=KEY[2], body=SystemCommand("stored"))
    stand.dispatch.put(Arrival(stored, stand.next(), heard.append, stored=True))
    await turns()
    assert heard == [(True, fails), "ValueError: stored" if fails else "ok"]


def test_only_messages_have_handlers() -> None:
    """A type that never arrives is a mistake of the caller."""

    async def handle(_: Envelope) -> None:
        pass

    dispatch = Dispatch(SystemClock(), lambda _arrival, _failed: None)
    with pytest.raises(TypeError, match="Column is not a message type"):
        dispatch.subscribe(type(examples.floats(1.0)), handle)
