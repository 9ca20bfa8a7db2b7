"""Side container of Redis: sends ACL LOAD when the access list changes.

`python -m qts_messaging.acl FILE URL PASSWORD_FILE`

A mounted Secret changes by a swap of links, so the content is compared, not its time.
"""

from __future__ import annotations

import hashlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import redis

from qts_core.acl import RELOADER

_log = logging.getLogger(__name__)
PERIOD_S = 2.0


def digest(path: Path) -> bytes:
    """Return the hash of the file; of nothing while it is being swapped."""
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return b""


def follow(path: Path, reload: Callable[[], None], wait: Callable[[float], bool]) -> None:
    """Call `reload` at first and after each change until `wait` says that it is over; retry what fails."""
    loaded = b""
    over = False
    while not over:
        found = digest(path)
        if found and found != loaded:
            try:
                reload()
                loaded = found
                _log.info("access list loaded")
            except redis.RedisError as error:
                _log.warning("access list not loaded yet: %.200s", error)
        over = wait(PERIOD_S)


def main(arguments: Sequence[str]) -> int:
    """Follow the file until SIGTERM."""
    if len(arguments) != 3:
        sys.stderr.write("usage: python -m qts_messaging.acl FILE URL PASSWORD_FILE\n")
        return 2
    path, url, password = Path(arguments[0]), arguments[1], Path(arguments[2])
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())

    def reload() -> None:
        login = {"username": RELOADER, "password": password.read_text().strip()}
        with redis.Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=1.0, **login) as server:
            server.acl_load()

    follow(path, reload, over.wait)
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    sys.exit(main(sys.argv[1:]))
