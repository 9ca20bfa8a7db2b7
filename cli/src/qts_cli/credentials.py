"""Keys and passwords of a local run; they live in the run folder only while it runs.

What a run that was killed leaves of them the next run in the same home removes.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec

from qts_cli import folder, redis_server
from qts_cli.launch import Setting
from qts_cli.redis_server import Redis
from qts_core import names
from qts_core.acl import users_acl
from qts_core.errors import ConfigError, QtsError
from qts_core.roster import ROSTER
from qts_core.spec import System

_WIRES = tuple(w.wire for w in ROSTER)
_PATIENCE_S = 5.0  # with a server of others, whose answers somebody waits for


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
        place = run / "keys" / keys.REDIS_DIR
        place.mkdir(mode=0o700)
        path = place / "url"
        path.touch(mode=0o600)
        path.write_text(redis.secret_url, encoding="utf-8")


def without_secret(system: System) -> System:
    """Return the settings with user and password taken out of `redis_url`."""
    return msgspec.structs.replace(system, redis_url=redis_server.bare(system.redis_url))


def forget(setting: Setting) -> None:
    """Remove this run's keys from a Redis that is not ours."""
    redis = setting.redis
    if redis is not None and not redis.embedded:
        _forget(redis.secret_url or redis.url, setting.name)


def clean_killed(home: Path) -> list[str]:
    """Clean up every run of `home` that was killed, in a Redis of others too; return what stays there.

    The caller holds the lock of `home`, so that none of them is at work. What time does not suffice for is
    left to the next call.
    """
    left: list[str] = []
    deadline_s = time.monotonic() + _PATIENCE_S
    for run in folder.uncleaned(home):
        try:
            where = _others_redis(run)
            if where is not None and time.monotonic() >= deadline_s:
                continue
            if where is not None:
                _forget(*where)
        except QtsError as error:
            left.append(str(error))
        folder.clean_run(run)
    return left


def _others_redis(run: Path) -> tuple[str, str] | None:
    """Return url and system name of a run that used a server of others; None where it did not."""
    from qts_messaging import keys

    try:
        told = folder.read_run(run)
        secret = run / "keys" / keys.REDIS_DIR / "url"
        settings = json.loads((run / names.CONFIG_FILE).read_bytes())
        url = secret.read_text(encoding="utf-8") if secret.is_file() else settings["redis_url"]
        name = told["system"]
    except (ConfigError, OSError, ValueError, LookupError, TypeError):
        return None  # it was killed before any process was started
    own = redis_server.config_file(run).is_file()
    return None if own or told.get("redis") is None else (url, name)


def _forget(url: str, system: str) -> None:
    """Remove the keys of `system` from the server at `url`; QtsError when it does not let us in time."""
    if url.startswith("redis+sentinel"):
        return
    import redis as client
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    deadline_s = time.monotonic() + _PATIENCE_S
    prefix = names.redis_prefix(system)
    try:
        with client.Redis.from_url(url, socket_timeout=2.0, retry=Retry(NoBackoff(), 0)) as server:
            for key in server.scan_iter(match=f"{prefix}*", count=500):
                server.unlink(key)
                if time.monotonic() > deadline_s:
                    raise client.TimeoutError(f"not all removed in {_PATIENCE_S:g} s")
    except (client.RedisError, ValueError) as error:
        raise QtsError(f"keys {prefix}* stay in {redis_server.bare(url)}: {error}") from None
