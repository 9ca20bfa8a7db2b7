"""Side container of Redis: sends ACL LOAD when the access list changes, tells at /statusz which one it has.

`python -m qts_messaging.acl FILE URL PASSWORD_FILE [PORT]`

A mounted Secret changes by a swap of links, so the content is compared, not its time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import redis

from qts_core.acl import RELOADER
from qts_core.names import PATH_STATUS

_log = logging.getLogger(__name__)
PERIOD_S = 2.0


def digest(path: Path) -> bytes:
    """Return the hash of the file; of nothing while it is being swapped."""
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return b""


def follow(
    path: Path,
    reload: Callable[[], None],
    wait: Callable[[float], bool],
    told: Callable[[bytes], None] = lambda _: None,
) -> None:
    """Call `reload` at first and after each change until `wait` says that it is over; retry what fails.

    `told` is given the digest of each list once the server has loaded it.
    """
    loaded = b""
    over = False
    while not over:
        found = digest(path)
        if found and found != loaded:
            try:
                reload()
                # a file that was swapped while the server read it is loaded once more
                loaded = found if digest(path) == found else b""
                told(loaded)
                _log.info("access list loaded")
            except (redis.RedisError, OSError) as error:  # server or file is not there yet
                _log.warning("access list not loaded yet: %.200s", error)
        over = wait(PERIOD_S)


class Page:
    """What /statusz answers: the fingerprint of the loaded list, as the operator writes it on the Secret."""

    def __init__(self) -> None:
        self.body = b'{"acl": ""}'

    def tell(self, loaded: bytes) -> None:
        """Take the digest of a list that the server has loaded."""
        self.body = json.dumps({"acl": loaded.hex()[:16]}).encode()

    @contextlib.contextmanager
    def served(self, port: int) -> Iterator[int]:
        """Serve it on all addresses of the pod; gives the port."""
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = self.path == PATH_STATUS
                self.send_response(200 if known else 404)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(page.body if known else b"{}")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing: it is asked each second."""

        with ThreadingHTTPServer(("", port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield int(server.server_address[1])
            finally:
                server.shutdown()
                thread.join()


def main(arguments: Sequence[str]) -> int:
    """Follow the file until SIGTERM."""
    port = arguments[3] if len(arguments) == 4 else "0"
    if len(arguments) not in (3, 4) or not (port.isascii() and port.isdigit() and int(port) < 65536):
        sys.stderr.write("usage: python -m qts_messaging.acl FILE URL PASSWORD_FILE [PORT]\n")
        return 2
    path, url, password = Path(arguments[0]), arguments[1], Path(arguments[2])
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())

    def reload() -> None:
        # after a rotation the line ends with its generation
        word, _, _ = password.read_text().strip().partition(" ")
        # in version 3 redis-py greets with a command that Redis and Valkey refuse, and count
        login = {"username": RELOADER, "password": word, "protocol": 2}
        with redis.Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=1.0, **login) as server:
            server.acl_load()

    page = Page()
    with page.served(int(port)) if len(arguments) == 4 else contextlib.nullcontext():
        follow(path, reload, over.wait, page.tell)
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    sys.exit(main(sys.argv[1:]))
