"""Ports of this machine: free ones, taken ones and by whom, and a small HTTP GET."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
from collections.abc import Collection
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from qts_core import names
from qts_core.errors import ConfigError

LOOPBACK = "127.0.0.1"
_LISTEN = "0A"
#: below the ports that the system gives to outgoing connections, and those of Kubernetes services
_PORTS = range(15_000, 30_000)


def free_ports(count: int, avoid: Collection[int] = ()) -> list[int]:
    """Return `count` different free TCP ports of the loopback address, none of them in `avoid`.

    Until its process listens, nobody gets such a port by chance: no connection starts from it.
    """
    first = random.SystemRandom().randrange(len(_PORTS))  # which no test can seed: runs differ
    ports = chain(_PORTS[first:], _PORTS[:first])
    return list(islice((port for port in ports if port not in avoid and not taken(port)), count))


def taken(port: int) -> bool:
    """Tell whether nobody but another process could bind `port` on loopback."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


def listens(host: str, port: int, timeout_s: float = 1.0) -> bool:
    """Tell whether a server accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout_s):
            return True
    except (OSError, UnicodeError):  # no name that a DNS could have
        return False


def owner(port: int) -> str:
    """Return ` (pid 123, name)` of the process that listens on `port`, or nothing when unknown."""
    inodes = _inodes(port)
    for link in Path("/proc").glob("[0-9]*/fd/*") if inodes else ():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith("socket:[") and target[8:-1] in inodes:
            pid = link.parts[2]
            with contextlib.suppress(OSError):
                return f" (pid {pid}, {Path('/proc', pid, 'comm').read_text().strip()})"
            return f" (pid {pid})"
    return ""


def _inodes(port: int) -> set[str]:
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                cells = line.split()
                if cells[3] == _LISTEN and int(cells[1].rpartition(":")[2], 16) == port:
                    found.add(cells[9])
    return found


def check_ports(ports: dict[str, int]) -> None:
    """Refuse to start when a port of `zmq_ports` is taken; ConfigError names key, port and owner."""
    for wire, port in ports.items():
        if taken(port):
            raise ConfigError(
                f"zmq_ports.{wire}: port {port} is in use{owner(port)}; "
                f"end that process or choose another with --set zmq_ports.{wire}=PORT"
            )


async def http_get(port: int, path: str, timeout_s: float = 2.0) -> tuple[int, bytes]:
    """Return status and body of GET `path` on loopback; (0, b"") when nothing usable answers in time."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)\ncontent-length:\s*(\d+)", head)
                body = await (reader.readexactly(int(length[1])) if length else reader.read(-1))
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return 0, b""
    status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    return (int(status[1]), body) if status else (0, b"")


async def ask(port: int, path: str, name: str = "", timeout_s: float = 2.0) -> bytes:
    """Return what a process says at `path`, of its workload `name` if it holds several; else b""."""
    code, body = await http_get(port, f"{path}/{name}" if name else path, timeout_s)
    return body if code == 200 else b""


async def ask_status(port: int, name: str = "", timeout_s: float = 2.0) -> dict[str, Any]:
    """Return what /statusz of a process says; {} without an answer."""
    return told(await ask(port, names.PATH_STATUS, name, timeout_s))


def told(body: bytes) -> dict[str, Any]:
    """Return a process's words about itself; {} where there are none."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any]) if body else {}
    except msgspec.DecodeError:
        return {}
