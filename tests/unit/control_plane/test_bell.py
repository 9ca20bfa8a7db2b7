"""One piece of news wakes one worker; what is due later is never slept over."""

from __future__ import annotations

import asyncio

import pytest

from qts_operator.bell import Bell
from qts_operator.bell import taken as take
from qts_operator.workqueue import WorkQueue


async def _asleep(bell: Bell, count: int, seconds: float | None = None) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(bell.sleep(seconds)) for _ in range(count)]
    await asyncio.sleep(0)
    assert len(bell) == count
    return tasks


async def test_a_ring_wakes_one_the_longest_asleep() -> None:
    bell = Bell()
    tasks = await _asleep(bell, 3)
    bell.ring()
    await tasks[0]
    assert [task.done() for task in tasks] == [True, False, False]
    assert len(bell) == 2
    for _ in range(5):  # more rings than sleepers
        bell.ring()
    await asyncio.gather(*tasks)
    bell.ring()
    assert len(bell) == 0


async def test_sleep_ends_in_time_and_leaves_nothing_behind() -> None:
    """A timer, a ring and a cancellation each take the sleeper away; a ring is not spent on who is gone."""
    bell = Bell()
    await bell.sleep(0.001)
    assert len(bell) == 0
    gone, stays = await _asleep(bell, 2)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    bell.ring()
    await stays


@pytest.mark.timeout(600)
async def test_workers_take_every_key_however_it_is_asked_for() -> None:
    """Keys at once, later, and again while they are worked on: each is taken, with more and fewer workers."""
    loop = asyncio.get_running_loop()
    for workers in (1, 3, 40):
        bell, queue, done = Bell(), WorkQueue(), {}

        async def work(bell: Bell = bell, queue: WorkQueue = queue, taken: dict[str, int] = done) -> None:
            while True:
                key = await take(queue, bell, loop.time)
                await asyncio.sleep(0.002)
                taken[key] = taken.get(key, 0) + 1
                if taken[key] == 1:
                    queue.add_after(key, 0.01, loop.time())
                queue.done(key, loop.time())

        tasks = [asyncio.create_task(work()) for _ in range(workers)]
        await asyncio.sleep(0)
        keys = [f"n/{number}" for number in range(30)]
        for number, key in enumerate(keys):
            if number % 2:
                queue.add(key, loop.time())
            else:
                queue.add_after(key, 0.005, loop.time())
            bell.ring()
        while set(done) != set(keys) or min(done.values()) < 2:
            await asyncio.sleep(0.005)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(bell) == 0
