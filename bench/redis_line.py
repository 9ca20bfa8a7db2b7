"""What a command to Redis costs the loop's thread, beside redis-py: `python -m bench.redis_line --json`.

µs of processor time a command, one at a time, on one connection to a real server: the median of calls with a
pause and a walk through memory before each, as a process has that speaks ten times a second, and the least
mean of calls without.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import numpy as np
from bench import server
from bench.harness import Row, command, told

STREAMS = tuple(f"s{n}" for n in range(8))
FRAME = b"d" * 1_000  # as long as a decision on one symbol
OTHERS = 8 << 20  # bytes that others leave in the caches between two calls
PAUSE_S = 0.01
Call = Callable[[], Awaitable[object]]


async def spent_us(call: Call, count: int) -> float:
    """Return µs of this thread's processor time a call."""
    began = time.thread_time()
    for _ in range(count):
        await call()
    return 1e6 * (time.thread_time() - began) / count


async def measured(pairs: dict[str, tuple[Call, Call]], calls: int) -> dict[str, tuple[float, float]]:
    """Return by name what ours and redis-py's take, in turns."""
    found, others = {}, np.zeros(OTHERS, dtype=np.uint8)
    for name, pair in pairs.items():
        cold: tuple[list[float], list[float]] = ([], [])
        warm: tuple[list[float], list[float]] = ([], [])
        for _ in range(calls):
            for taken, call in zip(cold, pair, strict=True):
                await asyncio.sleep(PAUSE_S)
                others += 1
                taken.append(await spent_us(call, 1))
        for _ in range(5):
            for taken, call in zip(warm, pair, strict=True):
                taken.append(await spent_us(call, calls))
        found[f"{name} after a pause"] = (float(np.median(cold[0])), float(np.median(cold[1])))
        found[f"{name} at once"] = (min(warm[0]), min(warm[1]))
    return found


async def compare(port: int, calls: int) -> dict[str, tuple[float, float]]:
    """Store a message, and look for new ones in eight streams."""
    client = server.client(port, 2.0)
    for name in STREAMS:
        await client.xgroup_create(name, "g", id="0", mkstream=True)
    read = ("XREADGROUP", "GROUP", "g", "g", "COUNT", 64, "STREAMS", *STREAMS, *(">" for _ in STREAMS))

    async def piped() -> None:
        pipe = client.pipeline(transaction=False)
        pipe.xadd("stored", {b"m": FRAME})
        await pipe.execute()

    pairs: dict[str, tuple[Call, Call]] = {
        "storing": (lambda: client.ask(("XADD", "stored", "*", b"m", FRAME)), piped),
        "looking for new": (
            lambda: client.ask(read),
            lambda: client.xreadgroup("g", "g", dict.fromkeys(STREAMS, ">"), count=64),
        ),
    }
    try:
        return await measured(pairs, calls)
    finally:
        await client.aclose()


def rows(smoke: bool) -> Iterator[Row]:
    """Yield one row a command and way of calling."""
    with server.running() as port:
        for name, (ours, theirs) in asyncio.run(compare(port, 20 if smoke else 200)).items():
            yield Row(name, round(ours, 1), "us", "redis-py", round(theirs, 1))


def main() -> int:
    """Print every row."""
    options = command(__doc__, "few calls").parse_args()
    return told(rows(options.smoke), options.json)


if __name__ == "__main__":
    raise SystemExit(main())
