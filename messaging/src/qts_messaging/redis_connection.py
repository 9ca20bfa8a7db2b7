"""How this process reaches Redis: address, user, certificate, and settings chosen on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from qts_core.errors import ConfigError
from qts_messaging.keys import REDIS_DIR, load_password, read_secret

SOCKET_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 1.0
#: what "Redis is away or refuses" looks like; the last two: its connection was closed while in use
AWAY = (RedisError, OSError, TimeoutError, AttributeError, RuntimeError)


def address(url: str, secrets: Path | None, name: str) -> str:
    """Return the URL to use: redis/url of the secrets, else `url` with this agent's user and password."""
    given = None if secrets is None else secrets / REDIS_DIR / "url"
    if given is not None and given.exists():
        return read_secret(given).strip()
    password = load_password(secrets, name)
    parts = urlsplit(url)
    if password is None or parts.username or parts.password:
        return url
    login = f"{quote(name, safe='')}:{quote(password, safe='')}@"
    return urlunsplit(parts._replace(netloc=login + parts.netloc))


def options(url: str, secrets: Path | None, timeout_s: float) -> dict[str, Any]:
    """Return redis-py settings: no retries of its own (ours keep the id), every wait bounded."""
    chosen: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": timeout_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "health_check_interval": 5,
        "decode_responses": False,
        "protocol": 2,
    }
    authority = None if secrets is None else secrets / REDIS_DIR / "ca.crt"
    if url.startswith("rediss://"):
        chosen["ssl_check_hostname"] = True
        if authority is not None and authority.exists():
            chosen["ssl_ca_certs"] = str(authority)
    return chosen


def connector(url: str, secrets: Path | None, name: str) -> Callable[[float], Any]:
    """Return what makes a client with a socket time-out; files are read anew each time (rotation)."""
    plain = address(url, secrets, name)
    if urlsplit(plain).scheme not in ("redis", "rediss", "redis+sentinel", "unix"):
        raise ConfigError("redis_url: expected redis://, rediss:// or redis+sentinel://")

    def connect(timeout_s: float = SOCKET_TIMEOUT_S) -> Any:
        try:
            now = address(url, secrets, name)
        except ConfigError as error:  # it was readable at the start: a rotation, or no descriptor is left
            raise ConnectionError(str(error)) from error
        settings = options(now, secrets, timeout_s)
        if now.startswith("redis+sentinel://"):
            return _sentinel(now, settings)
        return Redis.from_url(now, **settings)

    return connect


def _sentinel(url: str, settings: dict[str, Any]) -> Any:
    """Return a client of the master that the sentinels of `redis+sentinel://h1:p,h2:p/NAME` agree on."""
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    pairs = [host.rsplit(":", 1) if ":" in host else [host, "26379"] for host in hosts.split(",")]
    user, _, password = login.partition(":")
    if password:
        settings |= {"username": user or None, "password": password}
    database = dict(parse_qsl(parts.query)).get("db", "0")
    asked = {k: v for k, v in settings.items() if k not in ("username", "password")}
    make: Any = Sentinel  # its constructor is untyped
    sentinel = make([(h, int(p)) for h, p in pairs], sentinel_kwargs=asked)
    return sentinel.master_for(parts.path.strip("/") or "mymaster", db=int(database), **settings)
