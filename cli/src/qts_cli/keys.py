"""`qts keys`: key pairs for the wire, and logins for a Redis that is not ours, as files."""

from __future__ import annotations

import re
from pathlib import Path

from cyclopts import App

from qts_core.acl import users_acl
from qts_core.errors import ConfigError
from qts_core.parts import DNS_NAME
from qts_core.roster import ROSTER

app = App(name="keys", help="Make key pairs for the wire, and logins for an external Redis.")


@app.command
def new(directory: Path) -> int:
    """Write a new CURVE key pair for every agent and the feed into DIRECTORY (0700, files 0600).

    Parameters
    ----------
    directory
        Folder for the files; it is created, and must not hold keys yet.
    """
    from qts_messaging import keys

    held = sorted(directory.glob("curve/*.key")) if directory.is_dir() else []
    if held:
        raise ConfigError(f"{held[0]}: exists already; keys are never overwritten, name an empty folder")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys.create_curve(directory, (w.wire for w in ROSTER))
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be written: {error.strerror}") from None
    print(f"{directory}: {len(ROSTER)} key pairs written; give each process its own .key and every .pub")
    return 0


@app.command
def redis(system: str, directory: Path) -> int:
    """Write a password for each agent, and the access list that lets each write in its own name only.

    An external Redis that loads the list proves who speaks. The passwords go into the Secret of
    spec.redis.urlSecretRef, each under its file's name.

    Parameters
    ----------
    system
        NAMESPACE.NAME of the system.
    directory
        Folder for the files; it is created, and must not hold passwords yet.
    """
    from qts_messaging import keys

    namespace, _, name = system.partition(".")
    # no dots in either: a namespace has none, and the definition allows none in a system's name
    if "." in name or not all(re.fullmatch(DNS_NAME, part) for part in (namespace, name)):
        raise ConfigError(f'SYSTEM: expected NAMESPACE.NAME such as trading.desk, found "{system}"')
    if (directory / keys.REDIS_DIR).exists():
        raise ConfigError(f"{directory / keys.REDIS_DIR}: exists already; passwords are never overwritten")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        passwords = keys.create_passwords(directory, (w.wire for w in ROSTER))
        users = directory / keys.REDIS_DIR / "users.acl"
        users.touch(mode=0o600)
        users.write_text(users_acl(system, passwords), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be written: {error.strerror}") from None
    print(
        f"{users}: append its lines to the server's list, but not the first where others use the server: it "
        f"locks out who gives no login; {len(passwords)} passwords lie beside it"
    )
    return 0
