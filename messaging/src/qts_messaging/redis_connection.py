"""How this process reaches Redis: address, user, certificate, and settings chosen on purpose."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

import msgspec
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from qts_core.errors import ConfigError
from qts_core.spec import ports_in
from qts_messaging.keys import REDIS_DIR, load_password, read_secret
from qts_messaging.redis_line import Client

SOCKET_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 1.0
SCHEMES = ("redis://", "rediss://", "redis+sentinel://")
#: what "Redis is away or refuses" looks like; the last two: its connection was closed while in use
AWAY = (RedisError, OSError, TimeoutError, AttributeError, RuntimeError)


class Login(msgspec.Struct, frozen=True):
    """An address with user and password; `generation` is 0 where the login is not this agent's own."""

    url: str
    generation: int = 0


def login(url: str, secrets: Path | None, name: str) -> Login:
    """Return the login to use: at redis/url of the secrets, else `url`, with this agent's own password.

    A login in the settings is meant so; one in the secret is for agents without a password of their own, and
    its address was not looked at before: ConfigError names its file.
    """
    given = None if secrets is None else secrets / REDIS_DIR / "url"
    secret = given is not None and given.exists()
    url = _address(given) if secret and given is not None else url
    found, parts = load_password(secrets, name), urlsplit(url)
    if found is None or (not secret and (parts.username or parts.password)):
        return Login(url)
    password, generation = found
    user = f"{quote(name, safe='')}:{quote(password, safe='')}@"
    return Login(urlunsplit(parts._replace(netloc=user + parts.netloc.rpartition("@")[2])), generation)


def _address(path: Path) -> str:
    """Return the address in a file of the secrets."""
    url = read_secret(path).strip()
    try:
        if not url.startswith(SCHEMES):
            raise ValueError(f"expected an address that begins with {', '.join(SCHEMES)}")
        ports_in(url)
    except ValueError as error:
        where = "in a cluster it is in the Secret of spec.redis.urlSecretRef"
        raise ConfigError(f"{path}: {error}; {where}") from None
    return url


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


class Door:
    """Makes clients with the login that was accepted last; takes a new one up once the server accepts it."""

    def __init__(self, url: str, secrets: Path | None, name: str) -> None:
        self._url, self._secrets, self._name = url, secrets, name
        self.login = login(url, secrets, name)

    def __call__(self, timeout_s: float = SOCKET_TIMEOUT_S) -> Any:
        """Return a client that waits `timeout_s` for an answer."""
        return self._client(self.login, timeout_s)

    async def renew(self) -> bool:
        """Take up the login that the files hold now, if it is another; an error keeps the one in use."""
        fresh = login(self._url, self._secrets, self._name)
        if fresh == self.login:
            return False
        client = self._client(fresh, SOCKET_TIMEOUT_S)
        try:
            await client.ping()
        finally:
            await shut(client)
        self.login = fresh
        return True

    def _client(self, chosen: Login, timeout_s: float) -> Any:
        settings = options(chosen.url, self._secrets, timeout_s)
        if chosen.url.startswith("redis+sentinel://"):
            return _sentinel(chosen.url, settings)
        return Client.from_url(chosen.url, **settings)


async def shut(client: Any) -> None:
    """Close a client or subscription whatever state its connection is in."""
    if client is not None:
        with contextlib.suppress(*AWAY):
            await client.aclose()


async def accepted(client: Any) -> Any:
    """Return a client whose login the server takes; close it and raise where it does not."""
    try:
        await client.ping()
    except AWAY:
        await shut(client)
        raise
    return client


def _sentinel(url: str, settings: dict[str, Any]) -> Any:
    """Return a client of the master that the sentinels of `redis+sentinel://h1:p,h2:p/NAME` agree on."""
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    pairs = [host.rsplit(":", 1) if ":" in host else [host, "26379"] for host in hosts.split(",")]
    user, _, password = login.partition(":")
    if password:
        settings |= {"username": unquote(user) or None, "password": unquote(password)}
    database = dict(parse_qsl(parts.query)).get("db", "0")
    asked = {k: v for k, v in settings.items() if k not in ("username", "password")}
    make: Any = Sentinel  # its constructor is untyped
    sentinel = make([(h, int(p)) for h, p in pairs], sentinel_kwargs=asked)
    name = parts.path.strip("/") or "mymaster"
    return sentinel.master_for(name, redis_class=Client, db=int(database), **settings)
