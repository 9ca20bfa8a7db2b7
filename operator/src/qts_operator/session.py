"""One HTTP session to the API server: credentials that age, fenced writes, a chain of middlewares."""

from __future__ import annotations

import asyncio
import math
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from weakref import WeakSet

import aiohttp
import msgspec
import orjson
import structlog
import yaml

from qts_core.errors import ConfigError
from qts_operator.metrics import Metrics
from qts_operator.middleware import (
    LEASE,
    ApiError,
    Bucket,
    Call,
    Middleware,
    Pace,
    chain,
    counted,
    limited,
    observer,
    renewing,
)

__all__ = ["Access", "ApiError", "Session", "from_kubeconfig", "gathered", "in_cluster", "lines_of"]
_log = structlog.get_logger("qts_operator.session")
TIMEOUT_S = 10.0
WRITE_TIMEOUT_S = 3.0
_TOKEN_AGE_S = 60.0
MUCH = 32 * 1024  # bytes at once: more of them wait, and are read first
TURNS = 4  # of the loop, in which what waited is taken in
_ACCEPTED = {"Accept": "application/json", "Content-Type": "application/json"}
_sending: ContextVar[Call | None] = ContextVar("sending", default=None)
Fence = Callable[[], bool]


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Where the API server is, who we are to it and how much we ask of it."""

    server: str
    ca_file: str | None = None
    token: str | None = None
    token_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True
    pace: Pace = Pace()


class FencedError(ApiError):
    """A write that was not sent, because the Lease is not ours any more."""

    def __init__(self, call: Call) -> None:
        super().__init__(0, "Fenced", f"{call.verb} {call.path}: not sent, the Lease is not ours any more")


class Session:
    """Requests with fresh credentials; every refusal is an ApiError.

    `fence` is asked before each write but the Lease's, last of all when the connection is already in hand:
    nothing runs between that answer and the first byte on the socket.
    """

    def __init__(
        self, access: Access, metrics: Metrics, agent: str, more: tuple[Middleware, ...] = ()
    ) -> None:
        self.access, self.metrics = access, metrics
        self.write_s = WRITE_TIMEOUT_S
        self.fence: Fence = lambda: True
        self._agent = agent
        self._in, self._out = metrics.bytes.labels("in"), metrics.bytes.labels("out")
        self._http: aiohttp.ClientSession | None = None
        self._pool: _Fenced | None = None
        self._token, self._token_at, self._token_mtime = access.token, float("-inf"), 0.0
        pace = access.pace
        limit = limited(Bucket(pace.a_second, pace.burst), asyncio.Semaphore(pace.in_flight))
        self._observe = observer(metrics)
        self._handler = chain((renewing(self.expire), limit, counted(self._observe), *more), self._send)

    async def open(self) -> None:
        """Open the connection pool."""
        self._pool = _Fenced(self._check, limit=0, ssl=tls(self.access))
        self._http = aiohttp.ClientSession(
            connector=self._pool,
            cookie_jar=aiohttp.DummyCookieJar(),  # the API server sets none
            headers={"User-Agent": self._agent},
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    def drop(self) -> None:
        """End the connections of writes at once: those begun get no answer, what comes next opens others."""
        if self._pool is not None:
            self._pool.drop()

    def expire(self) -> None:
        """Read the token anew at the next request."""
        self._token_at = float("-inf")

    async def call(
        self,
        verb: str,
        path: str,
        *,
        kind: str,
        params: dict[str, str] | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """Send one request through all middlewares and return the decoded answer."""
        return await self._handler(
            Call(verb=verb, path=path, kind=kind, params=params, body=body, headers=headers)
        )

    async def _send(self, call: Call) -> Any:
        limit = TIMEOUT_S if call.verb == "GET" else self.write_s
        self._check(call)
        sent = None if call.body is None else orjson.dumps(call.body)
        self._out.inc(len(sent or b""))
        mark = _sending.set(call)
        try:
            async with self._client().request(
                call.verb,
                self.access.server + call.path,
                params=call.params,
                data=sent,
                headers=self._headers(call.headers),
                timeout=aiohttp.ClientTimeout(total=limit),
            ) as response:
                raw = await response.read()
                self._in.inc(len(raw))
                if response.status >= 400:
                    raise _refusal(response.status, raw, response.headers.get("Retry-After"))
                return orjson.loads(raw) if raw else None
        except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError) as error:
            text = f"{call.verb} {call.path}: {type(error).__name__} {error}"
            raise ApiError(0, "NoAnswer", text) from error
        finally:
            _sending.reset(mark)

    def _check(self, call: Call) -> None:
        if call.writes and call.kind != LEASE and not self.fence():
            raise FencedError(call)

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        params: dict[str, str],
        read_s: float,
        *,
        verb: str,
        kind: str,
        gather_s: float = 0.0,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a watch; yield its lines; a silence of `read_s` ends it (half-open connection).

        `gather_s`: after what came, nothing is read for so long; then all that came meanwhile, at once.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_S, sock_read=read_s)
        for last in (False, True):
            async with await self._begun(path, params, timeout, (verb, kind)) as response:
                if response.status == 401 and not last:
                    self.expire()
                    continue
                if response.status >= 400:
                    raw = await response.read()
                    raise _refusal(response.status, raw, response.headers.get("Retry-After"))
                yield lines_of(response, self._in.inc, gather_s)
                return

    async def _begun(
        self, path: str, params: dict[str, str], timeout: aiohttp.ClientTimeout, labels: tuple[str, str]
    ) -> aiohttp.ClientResponse:
        """Return an answer whose head is there; how long a stream goes on says nothing of the server."""
        started, code = time.perf_counter(), 0
        try:
            response = await self._client().get(
                self.access.server + path, params=params, headers=self._headers(None), timeout=timeout
            )
            code = response.status if response.status >= 400 else 200
            return response
        finally:
            self._observe(*labels, str(code), time.perf_counter() - started)

    def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            raise ApiError(0, "Closed", "the session is closed")
        return self._http

    def _headers(self, more: dict[str, str] | None) -> dict[str, str]:
        token = self._fresh_token()
        return _ACCEPTED | (more or {}) | ({"Authorization": f"Bearer {token}"} if token else {})

    def _fresh_token(self) -> str | None:
        """Re-read the token file when it changed or 60 s have passed; keep the last one if that fails."""
        if self.access.token_file is None:
            return self._token
        path, now = self.access.token_file, time.monotonic()
        try:
            changed = os.stat(path).st_mtime  # noqa: PTH116 - at each request, where a Path costs as much again
            if changed != self._token_mtime or now - self._token_at >= _TOKEN_AGE_S:
                self._token = Path(path).read_text(encoding="utf-8").strip()
                self._token_at, self._token_mtime = now, changed
        except OSError as error:
            _log.warning("token not read", error=str(error))
        return self._token


def tls(access: Access) -> ssl.SSLContext | bool:
    """Return how to speak to the API server, False without TLS; ConfigError when a file of it is no good."""
    if access.server.startswith("http://"):
        return False
    where = access.ca_file
    try:
        context = ssl.create_default_context(cafile=where)
        if not access.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if where := access.cert_file:
            context.load_cert_chain(access.cert_file, access.key_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{where}: not to be used for TLS ({why}); give a file in PEM form") from None
    return context


class _Fenced(aiohttp.TCPConnector):
    """A pool that asks `check` of a call when its connection is in hand.

    aiohttp's own hook for that, its traces, costs a fifth of a request.
    """

    def __init__(self, check: Callable[[Call], None], **more: Any) -> None:
        super().__init__(**more)
        self._asked = check
        self._writing: WeakSet[asyncio.Transport] = WeakSet()  # their newest request changes something

    def drop(self) -> None:
        """End the connections of writes at once, with what they have not sent yet."""
        for transport in list(self._writing):
            transport.abort()

    async def connect(self, *given: Any, **more: Any) -> Any:
        """Return a connection, unless the call may not be sent any more."""
        connection = await super().connect(*given, **more)
        call = _sending.get()
        if (transport := connection.transport) is not None:
            (self._writing.add if call is not None and call.writes else self._writing.discard)(transport)
        try:
            if call is not None:
                self._asked(call)
        except ApiError:
            connection.release()  # nothing was sent on it
            raise
        return connection


async def lines_of(
    response: aiohttp.ClientResponse, read: Callable[[int], None] = lambda _: None, gather_s: float = 0.0
) -> AsyncIterator[bytes]:
    """Yield lines of any length; tell `read` the bytes that came; after them read nothing for `gather_s`."""
    rest = b""
    async for chunk in response.content.iter_any():
        read(len(chunk))
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line
        if gather_s and len(chunk) < MUCH:
            await gathered(response, gather_s)
    if rest:
        yield rest


async def gathered(response: aiohttp.ClientResponse, seconds: float) -> None:
    """Read nothing for a while: to wake for each event of a storm costs more than the event.

    All that wait as long go on at the same moment, which wakes the loop once for all of them.
    """
    connection = response.connection
    transport = connection.transport if connection is not None else None
    if transport is None:  # all has been read
        return
    # under TLS a pause alone would go on taking in what is encrypted, up to 256 KiB
    limit: Callable[..., None] = getattr(transport, "set_read_buffer_limits", _unlimited)
    # of a connection that is lost meanwhile TLS has nothing left to pause: whoever reads on is told so
    with suppress(AttributeError):
        limit(high=1, low=0)
        transport.pause_reading()
    try:
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(beat(now, seconds) - now)
    finally:
        with suppress(AttributeError):
            limit()  # the half of a record that has come must not end reading
            transport.resume_reading()
    for _ in range(TURNS):
        await asyncio.sleep(0)


def beat(now: float, seconds: float) -> float:
    """Return the next multiple of `seconds`."""
    return seconds * (math.floor(now / seconds) + 1) if seconds else now


def _unlimited(**_: int) -> None:
    """Take the limits of a transport that reads nothing while it is paused."""


def _refusal(code: int, raw: bytes, retry_after: str | None) -> ApiError:
    """Return the error of a Status answer, or of whatever a proxy said."""
    try:
        told: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        told = {"message": raw[:300].decode(errors="replace")}
    if not isinstance(told, dict):
        told = {}
    causes = (told.get("details") or {}).get("causes") or [{}]
    wait = float(retry_after) if retry_after and retry_after.isdigit() else None
    return ApiError(
        code,
        str(told.get("reason", "")),
        str(told.get("message", "")),
        field=str(causes[0].get("field", "")),
        retry_after=wait,
    )


def in_cluster(folder: Path, host: str, port: str) -> Access:
    """Return the access of a pod's ServiceAccount; ConfigError when there is none."""
    if not host or not (folder / "token").is_file():
        raise ConfigError("not in a cluster and no --kubeconfig given; give one, or run in a pod")
    where = f"[{host}]" if ":" in host else host
    return Access(
        server=f"https://{where}:{port}",
        ca_file=str(folder / "ca.crt"),
        token_file=str(folder / "token"),
    )


def from_kubeconfig(path: str | None) -> Access:
    """Return the access that a kubeconfig describes, exec plugins included, or raise ConfigError."""
    from kubernetes import client, config  # a second of imports that a pod never pays

    try:
        settings = client.Configuration()
        load: Any = config.load_kube_config
        load(config_file=path, client_configuration=settings)
    except config.ConfigException as error:
        raise ConfigError(f"kubeconfig: {error}") from None
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:  # not looked at by it
        what = " ".join(str(error).split())[:200]
        raise ConfigError(f"kubeconfig: cannot be read as one ({type(error).__name__}: {what})") from None
    # one of the environment is no word of the kubeconfig
    if settings.tls_server_name or settings.proxy != client.Configuration(host=settings.host).proxy:
        raise ConfigError("kubeconfig: proxy-url and tls-server-name are not followed here; use one without")
    bearer = (settings.api_key or {}).get("authorization", "")
    return Access(
        server=settings.host.rstrip("/"),
        ca_file=settings.ssl_ca_cert,
        cert_file=settings.cert_file,
        key_file=settings.key_file,
        token=bearer.removeprefix("Bearer ").strip() or None,
        verify=settings.verify_ssl,
    )
