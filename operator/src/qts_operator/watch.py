"""Reflector: list, then watch, for ever; whatever fails, the store ends up equal to the server.

The rules are those of the design: full lists replace and report what vanished, uids are compared, every
failure takes the same back-off, 410 lists again, no error ends the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import Any, Protocol

import aiohttp
import orjson
import structlog

from qts_core.clock import Clock
from qts_operator.cluster import Api, refused
from qts_operator.metrics import Metrics
from qts_operator.middleware import ApiError
from qts_operator.objects import Kind
from qts_operator.unread import Unread

_log = structlog.get_logger("qts_operator.watch")
FIRST_S, LAST_S = 0.1, 30.0
#: how long a right that was there must be refused before it counts as missing, and how far apart tries get;
#: an API server that has just started refuses everybody until it has read the roles
DOUBT_S, DENIED_S = 10.0, 60.0
STEADY_S = 60.0
RELIST_S = 600.0
STALE_S = 140.0
Live = dict[str, Any]


class Sink(Protocol):
    """Where a reflector puts what it sees."""

    def digest(self, live: Live, /) -> Any:
        """Return what is kept of an object."""
        ...

    def read(self, line: bytes, /) -> Live:
        """Return an event, decoded as far as `put` and `remove` look at it."""
        ...

    def whole(self, line: bytes, /) -> Live:
        """Return an event, decoded as far as `digest` looks at it."""
        ...

    def replace(self, items: list[Any], within: str | None = None) -> int:
        """Take what a full list of one namespace, or of all, kept; return how much the watch had missed."""
        ...

    def put(self, live: Live) -> None:
        """Take an added or changed object."""
        ...

    def remove(self, live: Live) -> None:
        """Take a deletion."""
        ...


class Gone(Exception):  # noqa: N818 - an instruction to list again
    """The version is too old to watch from."""


class Reflector:
    """Keep one sink equal to one collection."""

    def __init__(
        self, api: Api, kind: Kind, sink: Sink, *, scope: tuple[str | None, dict[str, str]], tools: Tools
    ) -> None:
        self.kind, self.sink = kind, sink
        self._api, (self.namespace, self._params) = api, scope  # None: all namespaces
        self._tools = tools
        tools.metrics.missed.labels(kind.name)  # from 0 on: else the first one would be no increase
        self.synced = asyncio.Event()
        self.denied = ""
        self._refused_s: float | None = None  # since when
        self.heard_s = tools.now_s()
        self._tries = 0
        self._version = ""
        self._listed_s = 0.0

    def settled(self) -> bool:
        """Tell whether the kind was listed, or may not be; from any thread."""
        return self.synced.is_set() or bool(self.denied)

    def age_s(self) -> float:
        """Return seconds since the server was last heard."""
        return self._tools.now_s() - self.heard_s

    async def run(self) -> None:
        """List and watch until cancelled."""
        reason = "start"
        while True:
            try:
                await self._list(reason)
                reason = await self._follow()
            except ApiError as error:
                reason = "error"
                await self._pause(error)
            except Exception as error:
                # whatever it was: a reflector that ends is a kind that nobody sees again
                reason = "error"
                self._tools.metrics.stumbles.labels(self.kind.name).inc()
                _log.exception("watch failed", kind=self.kind.name, error=repr(error))
                await self._pause(ApiError(0, "Failed", repr(error)))

    async def _list(self, reason: str) -> None:
        scope, read = (self.namespace, self._params), self.sink.whole
        listing = await self._api.list(self.kind, *scope, self._kept, read)
        missed = self.sink.replace([kept for kept in listing.items if kept is not None], self.namespace)
        if self.synced.is_set() and missed and reason == "periodic":
            self._tools.metrics.missed.labels(self.kind.name).inc(missed)
        self._tools.metrics.relists.labels(self.kind.name, reason).inc()
        self._version, self.denied, self._refused_s = listing.version, "", None
        self._listed_s = self.heard_s = self._tools.now_s()
        self.synced.set()

    def _kept(self, live: Live) -> Any:
        return self._tools.unread.attempt(self.kind.name, live, self.sink.digest)

    async def _follow(self) -> str:
        """Watch from the last version until a full list is due; return why."""
        while True:
            due = RELIST_S * self._tools.random.uniform(0.9, 1.1)
            if self._tools.now_s() - self._listed_s >= due:
                return "periodic"
            started, heard = self._tools.now_s(), False
            try:
                heard = await self._watch()
            except Gone:
                return "gone"
            except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError) as error:
                await self._pause(ApiError(0, "NoAnswer", f"{type(error).__name__} {error}"))
                continue
            except ApiError as error:
                if error.code == 410:
                    return "gone"
                await self._pause(error)
                continue
            # an orderly end without an event is a failure too, or the loop would spin
            if heard or self._tools.now_s() - started >= STEADY_S:
                self._tries = 0
            else:
                await self._pause(ApiError(200, "Closed", "the watch ended without an event"))

    async def _watch(self) -> bool:
        seconds = int(self._tools.random.uniform(240, 300))
        params = self._params | {"resourceVersion": self._version, "timeoutSeconds": str(seconds)}
        heard = False
        async with self._api.watch(self.kind, self.namespace, params, self.sink.read) as events:
            self.denied, self._refused_s = "", None  # it is served, so the right is there (again)
            async for event in events:
                self._take(event)
                if event["type"] != "BOOKMARK":
                    heard, self._tries = True, 0  # a server that only marks and closes is not well
                self.heard_s = self._tools.now_s()
        return heard

    def _take(self, event: Live) -> None:
        kind, live = event["type"], event["object"]
        if kind == "ERROR":
            error = refused(live)
            raise Gone if error.code == 410 else error
        version = str(live.get("metadata", {}).get("resourceVersion", ""))
        if kind in ("ADDED", "MODIFIED"):
            self._tools.unread.attempt(self.kind.name, live, self.sink.put)
        elif kind == "DELETED":
            self._tools.unread.attempt(self.kind.name, live, self.sink.remove)
        self._version = version or self._version

    async def _pause(self, error: ApiError) -> None:
        """Wait with full jitter; longer where the server says so or rights are missing."""
        top = min(LAST_S, FIRST_S * float(2**self._tries))
        self._tries = min(self._tries + 1, 16)
        delay = self._tools.random.uniform(0.05, top) if top > 0.05 else top
        if error.code == 403:
            delay = self._refused(error)
        if error.retry_after is not None:
            delay = max(delay, error.retry_after)
        told = {
            "kind": self.kind.name,
            "namespace": self.namespace,
            "code": error.code,
            "reason": error.reason,
            "error": error.message,
        }
        _log.warning("watch paused", **told, delay_s=round(delay, 2))
        await self._tools.clock.sleep(delay)

    def _refused(self, error: ApiError) -> float:
        """Say that a right is missing once that is no start of a server; return when to try again."""
        now_s = self._tools.now_s()
        self._refused_s = now_s if self._refused_s is None else self._refused_s
        since_s = now_s - self._refused_s
        if since_s >= DOUBT_S or not self.synced.is_set():
            self.denied = error.message or f"cannot list {self.kind.plural}"
            self._tools.metrics.denied.labels(self.kind.name).inc()
        return min(DENIED_S, max(1.0, since_s))


class Tools:
    """What a reflector works with: clock, dice, metrics, and who notes what cannot be read."""

    def __init__(self, clock: Clock, random: Random, metrics: Metrics) -> None:
        self.clock, self.random, self.metrics = clock, random, metrics
        self.unread = Unread(metrics)

    def now_s(self) -> float:
        """Return monotonic seconds."""
        return self.clock.monotonic_ns() / 1e9


async def until(stop: Callable[[], Awaitable[None]], tasks: list[asyncio.Task[None]]) -> None:
    """Run until `stop` returns, then cancel the tasks and wait for them."""
    try:
        await stop()
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
