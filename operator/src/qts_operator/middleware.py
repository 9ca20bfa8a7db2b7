"""What every request passes on its way to the API server, outermost first: MIDDLEWARES of a session.

A middleware takes the call and the rest of the way; it may wait, raise, go on twice, or look at the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Literal

import msgspec
from prometheus_client import Counter, Histogram

from qts_core.errors import RemoteError
from qts_operator.metrics import Metrics

LONGEST_HOLD_S = 30.0
LEASE = "Lease"  # whoever holds it must renew it however busy the rest is


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What we ask of the API server at most: under way, a second, and at once after a rest."""

    in_flight: int = 64
    a_second: float = 400.0
    burst: float = 800.0


class ApiError(RemoteError):
    """The API server's refusal, or its silence (code 0)."""

    def __init__(self, code: int, reason: str = "", message: str = "", **more: Any) -> None:
        super().__init__(message or f"{code} {reason}")
        self.code, self.reason, self.message = code, reason, message
        self.field: str = more.get("field", "")
        self.retry_after: float | None = more.get("retry_after")


class SimulatedCrash(BaseException):
    """The process is to be taken for dead from here on; no handler of errors may catch it."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request."""

    verb: str
    path: str
    kind: str
    params: dict[str, str] | None = None
    body: Any = None
    headers: dict[str, str] | None = None

    @property
    def writes(self) -> bool:
        """Tell whether the request changes something."""
        return self.verb != "GET" and "dryRun" not in (self.params or {})


Handler = Callable[[Call], Awaitable[Any]]
Middleware = Callable[[Call, Handler], Awaitable[Any]]
Observe = Callable[[str, str, str, float], None]  # verb, kind, code, seconds
Point = Literal["before", "sent", "answered", "refused"]
Crash = Callable[[Point, Call], bool]


def chain(middlewares: tuple[Middleware, ...], last: Handler) -> Handler:
    """Return one handler that passes a call through all middlewares, the first one outermost."""
    handler = last
    for middleware in reversed(middlewares):
        handler = _linked(middleware, handler)
    return handler


def _linked(middleware: Middleware, rest: Handler) -> Handler:
    async def handler(call: Call) -> Any:
        return await middleware(call, rest)

    return handler


class Bucket:
    """Token bucket: at most `burst` at once and `rate` a second; may be held by the server's wish."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at, self._held_until = burst, 0.0, 0.0

    def take(self, now: float) -> float:
        """Take one token; return the seconds to wait before using it."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self._rate, self._held_until - now)

    def hold(self, seconds: float, now: float) -> None:
        """Let nothing through for a while, at most LONGEST_HOLD_S."""
        self._held_until = max(self._held_until, now + min(seconds, LONGEST_HOLD_S))


def renewing(expire: Callable[[], None]) -> Middleware:
    """One more try after a 401, with the token read anew: bound tokens live an hour."""

    async def middleware(call: Call, rest: Handler) -> Any:
        try:
            return await rest(call)
        except ApiError as error:
            if error.code != 401:
                raise
            expire()
        return await rest(call)

    return middleware


def limited(bucket: Bucket, slots: asyncio.Semaphore) -> Middleware:
    """Keep to the client's rate and to the server's Retry-After; the Lease waits for nobody."""

    async def middleware(call: Call, rest: Handler) -> Any:
        if call.kind == LEASE:
            return await rest(call)
        async with slots:
            delay = bucket.take(time.monotonic())
            if delay > 0.0:
                await asyncio.sleep(delay)
            try:
                return await rest(call)
            except ApiError as error:
                if error.code == 429 and error.retry_after is not None:
                    bucket.hold(error.retry_after, time.monotonic())
                raise

    return middleware


def observer(metrics: Metrics) -> Observe:
    """Return what counts and times a try by verb, kind and code (0: no answer)."""

    @lru_cache(1024)  # prometheus_client looks a series up under a lock, by its labels as text
    def series(*labels: str) -> tuple[Counter, Histogram]:
        return metrics.requests.labels(*labels), metrics.request_seconds.labels(*labels)

    def observe(verb: str, kind: str, code: str, seconds: float) -> None:
        count, lengths = series(verb, kind, code)
        count.inc()
        lengths.observe(seconds)

    return observe


def counted(observe: Observe) -> Middleware:
    """Count and time each try, up to the end of its answer."""

    async def middleware(call: Call, rest: Handler) -> Any:
        started, code = time.perf_counter(), "0"
        try:
            answer = await rest(call)
            code = "200"
            return answer
        except ApiError as error:
            code = str(error.code)
            raise
        finally:
            observe(call.verb, call.kind, code, time.perf_counter() - started)

    return middleware


def crashing(crash: Crash) -> Middleware:
    """Die where `crash` says so: before a request, once sent (it still arrives), after answer or refusal."""
    sent: set[asyncio.Future[Any]] = set()

    def survive(point: Point, call: Call) -> None:
        if crash(point, call):
            raise SimulatedCrash(f"{point} {call.verb} {call.path}")

    async def middleware(call: Call, rest: Handler) -> Any:
        survive("before", call)
        if crash("sent", call):
            # the wire keeps what the process gave it; nobody reads the answer
            task = asyncio.ensure_future(rest(call))
            sent.add(task)
            task.add_done_callback(sent.discard)
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.sleep(0)
            raise SimulatedCrash(f"sent {call.verb} {call.path}")
        try:
            answer = await rest(call)
        except ApiError:
            survive("refused", call)
            raise
        survive("answered", call)
        return answer

    return middleware
