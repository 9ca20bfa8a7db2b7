"""/livez /readyz /startupz /statusz /bookz /keptz /scorez /metrics, from one record per workload."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from qts_core import names
from qts_core.errors import ConfigError
from qts_core.probes import KeptRounds, Status
from qts_messaging.accounts import Record

STUCK_S = 10.0
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
Answer = tuple[int, str, bytes]


class Health(msgspec.Struct):
    """What is known of one workload; the runtime writes it, the probes read it. Times are monotonic s."""

    name: str
    warm: bool = False  # its kernels are compiled
    bound: bool = False
    caught_up: bool = False  # it knows what had happened when it went to work
    standby: bool = False  # warm, while another process of its name is at work
    draining: bool = False
    ended: bool = False
    compute_moved_s: float = 0.0
    loop_moved_s: float = 0.0
    blockers: dict[str, str] = {}  # reason → plain words: why not ready
    troubles: dict[str, str] = {}  # reason → plain words: degraded, but at work
    past: dict[str, str] = {}  # reason → plain words: a loss of which no more can be mended

    def state(self) -> str:
        """Return starting, standby, ready, degraded, draining or ended."""
        if self.draining:
            return "draining"
        if self.standby:
            return "standby"
        if self.started() is not None:
            return "starting"
        if self.ended:
            return "ended"
        return "degraded" if self.blockers or self.troubles else "ready"

    def over(self, reason: str) -> None:
        """Make a trouble of the past: no longer degraded, and still told to who asks."""
        if (words := self.troubles.pop(reason, None)) is not None:
            self.past[reason] = words

    def started(self) -> str | None:
        """Return None once it is at work and has caught up, or while it stands by; else what is missing."""
        if self.standby:
            return None
        if not self.warm:
            return "kernels are not compiled yet"
        if not self.bound:
            return "sockets are not bound yet"
        return None if self.caught_up else "it has not caught up with the market yet"

    def live(self, now_s: float) -> str | None:
        """Return None while the event loop and the compute thread move, else what is stuck."""
        for part, moved_s in (("event loop", self.loop_moved_s), ("compute thread", self.compute_moved_s)):
            if now_s - moved_s > STUCK_S:
                return f"{part} has not moved for {now_s - moved_s:.0f} s"
        return None

    def unready(self) -> str | None:
        """Return None when ready, else every reason."""
        missing = self.started()
        if missing is not None:
            return missing
        if self.draining:
            return "draining"
        return "; ".join(self.blockers.values()) or None

    def reasons(self) -> list[str]:
        """Return everything that is not as it should be, in plain words."""
        missing = self.started()
        return [*([missing] if missing else []), *self.blockers.values(), *self.troubles.values()]


class Workplace(msgspec.Struct, frozen=True):
    """One workload as the HTTP server sees it."""

    health: Health
    status: Callable[[], Status]
    book: Callable[[], Record]
    kept: Callable[[], KeptRounds]
    scores: Callable[[], Awaitable[Any]]  # worked out when asked for


class HealthServer:
    """A GET-only HTTP/1.0 server for probes; several workloads answer together, worst first."""

    def __init__(
        self, places: Sequence[Workplace], metrics: Callable[[], bytes], now_s: Callable[[], float]
    ) -> None:
        self._places = {place.health.name: place for place in places}
        self._metrics = metrics
        self._now_s = now_s
        self._servers: list[asyncio.Server] = []

    async def start(self, host: str, ports: Sequence[int]) -> None:
        """Listen on each distinct port; ConfigError when one is taken or the address is not ours.

        Behind the first one there are metrics alone: who may scrape need not read decisions.
        """
        for number, port in enumerate(dict.fromkeys(ports)):
            serve = functools.partial(self._serve, only=names.PATH_METRICS if number else "")
            try:
                self._servers.append(await asyncio.start_server(serve, host, port, limit=8192))
            except OSError as error:
                number = error.errno or 0
                text = os.strerror(number) if number > 0 else error.strerror
                remedy = f"choose another {names.ENV_BIND}, {names.ENV_HTTP_PORT} or {names.ENV_METRICS_PORT}"
                raise ConfigError(f"cannot listen on {host}:{port}: {text}; {remedy}") from None

    async def close(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.close()
            await server.wait_closed()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, only: str = ""
    ) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2.0)
            method, _, rest = head.decode("latin-1").partition(" ")
            path = rest.split(" ", 1)[0]
            if only and path.split("?", 1)[0] != only:
                code, kind, body = 404, "text/plain", f"nothing at {path}; try {only}\n".encode()
            else:
                code, kind, body = await self.asked(method, path)
            start = f"HTTP/1.0 {code} {_REASONS[code]}\r\nContent-Type: {kind}\r\n"
            writer.write(f"{start}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await asyncio.wait_for(writer.drain(), 2.0)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # a broken client gets no answer; there is nobody to tell
        finally:
            writer.close()

    async def asked(self, method: str, path: str) -> Answer:
        """Answer a request; scores, which are also metrics, are worked out first."""
        path = path.split("?", 1)[0]
        if method == "GET" and path.startswith(names.PATH_SCORES):
            name = path[len(names.PATH_SCORES) :].strip("/")
            told = await place.scores() if (place := self._place(name)) else None
            return self._told(name, lambda _: told)
        if method == "GET" and path == names.PATH_METRICS:
            for place in self._places.values():
                await place.scores()
        return self.answer(method, path)

    def answer(self, method: str, path: str) -> Answer:
        """Return code, content type and body for a request that needs no work."""
        if method != "GET":
            return 405, "text/plain", b"only GET\n"
        path = path.split("?", 1)[0]
        if path == names.PATH_METRICS:
            return 200, "text/plain; version=0.0.4; charset=utf-8", self._metrics()
        for prefix, tell in _TELLS.items():
            if path.startswith(prefix):
                return self._told(path[len(prefix) :].strip("/"), tell)
        checks: dict[str, Callable[[Health], str | None]] = {
            names.PATH_STARTUP: Health.started,
            names.PATH_LIVE: lambda health: health.live(self._now_s()),
            names.PATH_READY: Health.unready,
        }
        check = checks.get(path)
        if check is None:
            return 404, "text/plain", f"nothing at {path}; try {', '.join(checks)}\n".encode()
        wrong = [f"{name}: {text}" for name, p in self._places.items() if (text := check(p.health))]
        return (
            (503, "text/plain", ("\n".join(wrong) + "\n").encode()) if wrong else (200, "text/plain", b"ok\n")
        )

    def _place(self, name: str) -> Workplace | None:
        return self._places.get(name) if name else next(iter(self._places.values()))

    def _told(self, name: str, tell: Callable[[Workplace], Any]) -> Answer:
        place = self._place(name)
        if place is None:
            return 404, "text/plain", f"no {name} here; there is {', '.join(self._places)}\n".encode()
        return 200, "application/json", msgspec.json.encode(tell(place)) + b"\n"


#: what a workload tells without work
_TELLS: dict[str, Callable[[Workplace], Any]] = {
    names.PATH_STATUS: lambda place: place.status(),
    names.PATH_BOOK: lambda place: place.book(),
    names.PATH_KEPT: lambda place: place.kept(),
}
