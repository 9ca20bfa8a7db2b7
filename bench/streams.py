"""Durable messages through a real server, ours and bare redis-py: `python -m bench.streams --json`.

Open loop: batches of 64 at set times, added in a pipeline, read by a group (COUNT 64), acknowledged. Latency
counts from the planned time to the reader's hand. Ours and the peer share one process, one loop, one server.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from bench import server
from bench.harness import Rounds, command, end, rounds_rows, told
from bench.pace import STAMP, Pace, Send, Taken, arrived, frame

from qts_messaging.redis_names import RedisNames
from qts_messaging.redis_streams import RedisStreams

BATCH = 64
TOPIC, KEY = "feedback", "raw"
ALLOWED = {"p50": 1.5, "p99": 1.5, "p99.9": 1.5}


def frames(planned: int) -> list[bytes]:
    """Return one batch."""
    return [frame(planned)] * BATCH


async def raw_read(client: Any, ages: list[int]) -> None:
    """Read and acknowledge as one would with redis-py alone."""
    while True:
        answer = await client.xreadgroup("reader", "reader", {KEY: ">"}, count=BATCH, block=1000)
        for _, entries in answer or []:
            now = time.monotonic_ns()
            ages.extend(now - STAMP.unpack_from(fields[b"m"])[0] for _, fields in entries)
            await client.xack(KEY, "reader", *(entry for entry, _ in entries))


async def measure(port: int, rates: list[tuple[int, int]], rounds: int) -> dict[int, tuple[Rounds, Rounds]]:
    """Return the ages (ns) of ours and raw by rate and round."""
    connect = partial(server.client, port)
    sink, ages = Taken(), []
    reader, writer = (
        RedisStreams(connect, RedisNames("bench", name), ("reader", "writer"), trims=False)
        for name in ("reader", "writer")
    )
    await reader.start(sink)
    command, listener = server.client(port, 5.0), server.client(port, 5.0)
    await command.xgroup_create(KEY, "reader", id="0", mkstream=True)
    reading = asyncio.create_task(raw_read(listener, ages))
    while not reader.up:
        await asyncio.sleep(0.01)

    async def ours(planned: int) -> None:
        await writer.append([(TOPIC, frame) for frame in frames(planned)])

    async def raw(planned: int) -> None:
        pipe = command.pipeline(transaction=False)
        for one in frames(planned):
            pipe.xadd(KEY, {b"m": one})
        await pipe.execute()

    sends: tuple[Send, Send] = (ours, raw)
    found: dict[int, tuple[Rounds, Rounds]] = {rate: ([], []) for rate, _ in rates}
    for turn in range(-1, rounds):
        for rate, batches in rates:
            for which, taken in enumerate((sink.ages, ages)):
                await Pace(rate / BATCH).run(batches, sends[which])
                await arrived(lambda: len(taken) >= batches * BATCH)  # noqa: B023
                if turn >= 0:
                    found[rate][which].append(taken[:])
                taken.clear()
    reading.cancel()
    await reader.close()
    await writer.close()
    return found


def main(arguments: list[str]) -> int:
    """Print one line a figure."""
    chosen = command(__doc__, "a few seconds, to see that it runs").parse_args(arguments)
    rates = [(2_000, 12), (10_000, 60)] if chosen.smoke else [(2_000, 30), (10_000, 160)]
    rounds = 3 if chosen.smoke else 15
    with server.running("--appendonly", "yes") as port:
        found = asyncio.run(measure(port, rates, rounds))
    return told(
        row
        for rate, batches in rates
        for row in rounds_rows(f"stream at {rate}/s", "redis-py", ALLOWED, found[rate], batches * BATCH)
    )


if __name__ == "__main__":
    end(main)
