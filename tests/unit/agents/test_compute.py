"""What is short is done on the loop, what is not on the compute thread, and never both at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from qts_agents import context
from qts_agents.context import SHORT_S, Compute
from qts_agents.health import Health
from qts_core.clock import SystemClock


@pytest.fixture
def compute() -> Any:
    made = Compute("test", SystemClock(), Health("test"))
    yield made
    made.close()


def here() -> int:
    """Return which thread this is."""
    return threading.get_ident()


async def test_short_work_is_done_where_it_is_asked_for_from_its_second_time_on(compute: Compute) -> None:
    assert await compute(here) != here()
    assert [await compute(here) for _ in range(3)] == [here()] * 3


async def test_long_work_stays_on_the_thread_until_it_has_been_short_for_a_while(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long is what took much processor time; each shorter call lets a tenth of that be forgotten."""
    took_s = iter([2.0 * SHORT_S] + [0.0] * 20)
    times = iter(t for s in took_s for t in (0.0, s))
    monkeypatch.setattr(context.time, "thread_time", lambda: next(times))
    apart = [await compute(here) != here() for _ in range(12)]
    assert apart == [True] * 8 + [False] * 4  # 2 x 0.9^7 is below 1


async def test_short_work_waits_for_what_the_thread_is_doing(compute: Compute) -> None:
    """An agent is never used by two threads: also not where whoever asked for the long work has given up."""
    begun, go, done = threading.Event(), threading.Event(), list[str]()

    def long() -> None:
        begun.set()
        go.wait(10.0)
        done.append("long")

    def short() -> int:
        done.append("short")
        return here()

    await compute(short)
    asked = asyncio.create_task(compute(long))
    while not begun.is_set():
        await asyncio.sleep(0)
    asked.cancel()
    after = asyncio.create_task(compute(short))
    await asyncio.sleep(0.01)
    assert done == ["short"]
    go.set()
    assert await after != here()
    assert done == ["short", "long", "short"]
    assert await compute(short) == here()


async def test_the_look_at_the_thread_goes_through_it(compute: Compute) -> None:
    """However short it is, or a thread that hangs would be taken for one that moves."""
    health = compute._health
    for _ in range(2):
        await compute.beat()
    go = threading.Event()
    asked = asyncio.create_task(compute(go.wait, 10.0))
    while not compute._given:
        await asyncio.sleep(0)
    before_s = health.compute_moved_s
    beat = asyncio.create_task(compute.beat())
    await asyncio.sleep(0.01)
    assert health.compute_moved_s == before_s > 0.0
    go.set()
    await asyncio.gather(asked, beat)
    assert health.compute_moved_s > before_s


async def test_what_fails_on_the_loop_fails_as_on_the_thread(compute: Compute) -> None:
    def fails() -> None:
        raise ValueError("odd")

    for _ in range(2):
        with pytest.raises(ValueError, match="odd"):
            await compute(fails)


async def test_each_work_that_one_function_is_given_has_a_time_of_its_own(compute: Compute) -> None:
    """A shell lets one function call the agent's many: a long one must not follow a short one to the loop."""

    def call(work: Callable[[], int]) -> int:
        return work()

    def slow() -> int:
        until_s = time.thread_time() + 1.5 * SHORT_S
        while time.thread_time() < until_s:
            pass
        return here()

    assert [await compute(call, here) == here() for _ in range(2)] == [False, True]
    assert [await compute(call, slow) == here() for _ in range(2)] == [False, False]
    assert await compute(call, here) == here()
