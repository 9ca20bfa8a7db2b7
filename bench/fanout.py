"""One publisher to four subscribers, ours and bare redis-py: `python -m bench.fanout --json`.

Open loop: a message is published at set times; its latency counts from the planned time to each subscriber's
hand, so each message gives four. Ours and the peer share one process, one loop and one real server, and
publish in one pipeline what became due meanwhile. Ours subscribes by pattern, reads the writer off the
channel and hears the beacons of all five; the peer knows one channel.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from bench import server
from bench.harness import Rounds, command, end, rounds_rows, told
from bench.pace import STAMP, Pace, Taken, arrived, frame

from qts_core.roster import AGENTS
from qts_messaging.redis_names import RedisNames
from qts_messaging.redis_pubsub import RedisTopics

EARS, TOPIC, KEY = 4, "market", "raw"
ALLOWED = {"p50": 1.3, "p99": 1.3, "p99.9": 1.5}


async def raw_hear(ear: Any, ages: list[int]) -> None:
    """Listen as one would with redis-py alone."""
    while True:
        message = await ear.get_message(ignore_subscribe_messages=True, timeout=1.0)
        if message is not None and message["type"] == "message":
            ages.append(time.monotonic_ns() - STAMP.unpack_from(message["data"])[0])


class Outbox:
    """Collects what is due while the last batch is under way, as the bus does for a topic."""

    def __init__(self, publish: Callable[[list[bytes]], Awaitable[None]]) -> None:
        self._publish, self._work = publish, asyncio.Event()
        self._due: list[bytes] = []
        self.task = asyncio.create_task(self._run())

    async def send(self, planned: int) -> None:
        """Take one message."""
        self._due.append(frame(planned))
        self._work.set()

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            batch, self._due = self._due, []
            await self._publish(batch)


async def measure(port: int, rates: list[tuple[int, int]], rounds: int) -> dict[int, tuple[Rounds, Rounds]]:
    """Return the ages (ns) of ours and raw by rate and round."""
    connect = partial(server.client, port)
    ages: tuple[list[int], list[int]] = ([], [])
    feed = RedisTopics(connect, RedisNames("bench", "market"), 1)
    ours = [RedisTopics(connect, RedisNames("bench", agent.wire), 1) for agent in AGENTS[:EARS]]
    await feed.start(Taken())
    for topics in ours:
        await topics.start(Taken(ages[0]))
    command, ears = connect(5.0), [connect(5.0).pubsub() for _ in range(EARS)]
    for ear in ears:
        await ear.subscribe(KEY)
    listening = [asyncio.create_task(raw_hear(ear, ages[1])) for ear in ears]
    while not all(topics.up and topics.listening for topics in (feed, *ours)):
        await asyncio.sleep(0.01)

    async def publish(batch: list[bytes]) -> None:
        await feed.publish([(TOPIC, one) for one in batch])

    async def raw(batch: list[bytes]) -> None:
        pipe = command.pipeline(transaction=False)
        for one in batch:
            pipe.publish(KEY, one)
        await pipe.execute()

    boxes = Outbox(publish), Outbox(raw)
    found: dict[int, tuple[Rounds, Rounds]] = {rate: ([], []) for rate, _ in rates}
    gc.collect()
    gc.freeze()
    for turn in range(-1, rounds):  # the first turn warms up
        for rate, count in rates:
            for which in (0, 1) if turn % 2 else (1, 0):
                await Pace(rate).run(count, boxes[which].send)
                await arrived(lambda: len(ages[which]) >= count * EARS)  # noqa: B023
                if turn >= 0:
                    found[rate][which].append(ages[which][:])
                ages[which].clear()
    for task in (*listening, *(box.task for box in boxes)):
        task.cancel()
    for topics in (feed, *ours):
        await topics.close()
    return found


def main(arguments: list[str]) -> int:
    """Print one line a figure."""
    chosen = command(__doc__, "a few seconds, to see that it runs").parse_args(arguments)
    rates = [(250, 50), (1_250, 250)] if chosen.smoke else [(250, 250), (1_250, 1_250)]
    rounds = 3 if chosen.smoke else 9
    with server.running() as port:
        found = asyncio.run(measure(port, rates, rounds))
    return told(
        row
        for rate, count in rates
        for row in rounds_rows(
            f"fan-out to {EARS}, {rate * EARS} deliveries a second",
            "redis-py",
            ALLOWED,
            found[rate],
            count * EARS,
        )
    )


if __name__ == "__main__":
    end(main)
