"""A cluster in memory whose answers are late and get lost, and a loop whose time jumps to what is due next."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeVar
from unittest.mock import patch

import aiohttp

from qts_core import names
from qts_operator import leader, main
from qts_operator.cluster import Listing, Read
from qts_operator.middleware import ApiError
from qts_operator.objects import Kind
from qts_operator.session import TIMEOUT_S, WRITE_TIMEOUT_S
from qts_operator.testing import FakeCluster

T = TypeVar("T")
Live = dict[str, Any]


class _Jump(selectors.DefaultSelector):
    """Waits for nothing: what would be waited has passed."""

    now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            assert timeout is not None, "everybody waits, and nothing is due"
            self.now_s += timeout
        return found


class Jumping(asyncio.SelectorEventLoop):
    """A loop in which minutes take no time, and its clock."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now_s

    def wall_ns(self) -> int:
        return 1_700_000_000 * 10**9 + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        return int(self.time() * 1e9)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def play(story: Coroutine[Any, Any, T]) -> T:
    """Run a story on a loop of its own, whose time is the engine's; return what it returns."""
    with asyncio.Runner(loop_factory=Jumping) as runner:
        loop = runner.get_loop()
        clocks = patch.object(main, "SystemClock", lambda: loop), patch.object(leader, "boot_s", loop.time)
        with clocks[0], clocks[1]:
            return runner.run(story)


class Weather(FakeCluster):
    """`slow_s`: how long each way of a call takes on average; `lost`, `cut`: share of calls and of watch events."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.dice = Random(seed)
        self.slow_s = self.lost = self.cut = 0.0

    def clear(self) -> None:
        self.slow_s = self.lost = self.cut = 0.0

    async def _way(self) -> None:
        await asyncio.sleep(self.dice.expovariate(1.0) * self.slow_s)
        if self.dice.random() < self.lost:
            raise ApiError(0, "NoAnswer", "lost")

    async def _through(self, name: str, limit_s: float, call: Callable[[], Awaitable[T]]) -> T:
        """Do a call whose way there and whose answer may be late or lost; `name` is for who plays more."""
        try:
            async with asyncio.timeout(limit_s):
                await self._way()
                answer = await call()
                await self._way()
                return answer
        except TimeoutError:
            raise ApiError(0, "NoAnswer", "late") from None

    async def list(
        self,
        kind: Kind,
        namespace: str | None,
        params: dict[str, str],
        keep: Callable[[Live], T],
        *read: Any,
    ) -> Listing[T]:
        call = super().list
        return await self._through("list", TIMEOUT_S, lambda: call(kind, namespace, params, keep, *read))

    async def get(self, kind: Kind, namespace: str, name: str, *, metadata: bool = False) -> Live | None:
        call = super().get
        return await self._through("get", TIMEOUT_S, lambda: call(kind, namespace, name, metadata=metadata))

    async def apply(self, manifest: Live, *, uid: str | None, manager: str = names.FIELD_MANAGER) -> Live:
        call = super().apply
        return await self._through("apply", WRITE_TIMEOUT_S, lambda: call(manifest, uid=uid, manager=manager))

    async def create(self, kind: Kind, manifest: Live) -> Live:
        call = super().create
        return await self._through("create", WRITE_TIMEOUT_S, lambda: call(kind, manifest))

    async def update(self, kind: Kind, manifest: Live) -> Live:
        call = super().update
        return await self._through("update", WRITE_TIMEOUT_S, lambda: call(kind, manifest))

    async def put_status(self, namespace: str, name: str, uid: str, status: Live) -> Live:
        call = super().put_status
        return await self._through("status", WRITE_TIMEOUT_S, lambda: call(namespace, name, uid, status))

    @asynccontextmanager
    async def watch(
        self, kind: Kind, namespace: str | None, params: dict[str, str], *read: Read
    ) -> AsyncIterator[AsyncIterator[Live]]:
        await self._way()
        async with super().watch(kind, namespace, params, *read) as events:

            async def late() -> AsyncIterator[Live]:
                async for event in events:
                    await asyncio.sleep(self.dice.expovariate(1.0) * self.slow_s / 5)
                    if self.dice.random() < self.cut:
                        raise aiohttp.ClientPayloadError("cut")
                    yield event

            yield late()
