"""Keys and passwords of a local run; they live in the run folder only while it runs."""

from __future__ import annotations

from pathlib import Path

import msgspec

from qts_cli import redis_server
from qts_cli.launch import Setting
from qts_cli.redis_server import Redis
from qts_core import names
from qts_core.acl import users_acl
from qts_core.errors import QtsError
from qts_core.roster import ROSTER
from qts_core.spec import System

_WIRES = tuple(w.wire for w in ROSTER)


def write(run: Path, system: str, redis: Redis | None) -> None:
    """Write CURVE pairs, and what is needed to log in to the Redis, under `keys/` (0700, files 0600)."""
    from qts_messaging import keys

    keys.create_curve(run / "keys", _WIRES)
    if redis is not None:
        write_login(run, system, redis)


def write_login(run: Path, system: str, redis: Redis) -> None:
    """Write what is needed to log in to `redis`, and the configuration of an embedded one."""
    from qts_messaging import keys

    if redis.embedded:
        passwords = keys.create_passwords(run / "keys", _WIRES)
        redis_server.write_config(run, redis.port, users_acl(system, passwords))
    elif redis.secret_url is not None:
        folder = run / "keys" / keys.REDIS_DIR
        folder.mkdir(mode=0o700)
        path = folder / "url"
        path.touch(mode=0o600)
        path.write_text(redis.secret_url, encoding="utf-8")


def without_secret(system: System) -> System:
    """Return the settings with user and password taken out of `redis_url`."""
    return msgspec.structs.replace(system, redis_url=redis_server.bare(system.redis_url))


def forget(setting: Setting) -> None:
    """Remove this run's keys from a Redis that is not ours."""
    redis = setting.redis
    if redis is None or redis.embedded or redis.url.startswith("redis+sentinel"):
        return
    import redis as client

    try:
        with client.Redis.from_url(redis.secret_url or redis.url, socket_timeout=2.0) as server:
            for key in server.scan_iter(match=names.redis_prefix(setting.name) + "*", count=500):
                server.unlink(key)
    except client.RedisError as error:
        raise QtsError(f"keys {names.redis_prefix(setting.name)}* stay in {redis.url}: {error}") from None
