"""Where the time of one request and its answer goes: the loop's thread as a whole, and its parts one by one.

A row's value is µs of processor time an exchange (two messages); what the parts leave over is the path
between them: outboxes, checks on arrival, one turn of the loop for each handler, the look at sockets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

from bench.harness import Row

from qts_messaging import codec, examples
from qts_messaging.accounts import Book
from qts_messaging.correlation import Correlation
from qts_messaging.messages import DecisionRequest, DecisionResponse, Envelope

Rate = Callable[[Callable[[], Awaitable[object]], int], Awaitable[float]]


async def rows(
    ours: Callable[[], Awaitable[object]], raw: Callable[[], Awaitable[object]], rate: Rate, calls: int
) -> list[Row]:
    """Measure both exchanges with many in flight, in turns, then the parts of ours."""

    async def thread(ask: Callable[[], Awaitable[object]]) -> float:
        began = time.thread_time()
        await rate(ask, calls)
        return (time.thread_time() - began) / calls * 1e6

    pairs = [(await thread(ours), await thread(raw)) for _ in range(3)]
    mine, theirs = (min(pair[n] for pair in pairs) for n in (0, 1))  # others on the machine only add
    whole = Row("exchange, the loop's thread", mine, "us", "pyzmq", theirs)
    return [whole, *(Row(f"exchange, of these {name}", us, "us") for name, us in parts(calls))]


def parts(calls: int) -> Iterator[tuple[str, float]]:
    """Yield (part, µs an exchange)."""
    request, answer = examples.messages()[0], DecisionResponse("r-1", opinion=examples.vote())
    loop = asyncio.get_running_loop()
    book, table = Book("a", 1, 0), Correlation[asyncio.Future[None]]()
    at = iter(range(1, 1 << 62))

    def encode(message: DecisionRequest | DecisionResponse) -> bytes:
        return codec.encode(Envelope(id=bytes(16), sender="pads", lane="to.quasar", body=message))

    frames = encode(request), encode(answer)

    def booked() -> None:
        now = next(at)
        for lane in ("to.quasar", "to.pads"):
            book.out[lane].passed("x", "quasar", now)
            flow = book.arrived(("pads", 1, lane), now, now)
            assert flow is not None
            flow.finished("x", "delivered")

    def awaited() -> None:
        key = next(at).to_bytes(16, "big")
        table.register(key, "quasar", loop.create_future(), 1, 1)
        waiter = table.resolve(key, "quasar")[1]
        assert waiter is not None
        waiter.set_result(None)

    yield "encoding", _timed(lambda: (encode(request), encode(answer)), calls)
    yield "decoding", _timed(lambda: [codec.decode(frame) for frame in frames], calls)
    yield "books", _timed(booked, calls)
    yield "the table of requests and a future", _timed(awaited, calls)


def _timed(call: Callable[[], object], calls: int) -> float:
    """Return µs a call, the least of five rounds."""
    taken = []
    for _ in range(5):
        began = time.thread_time()
        for _ in range(calls):
            call()
        taken.append((time.thread_time() - began) / calls * 1e6)
    return min(taken)
