"""Ports and the small HTTP client, on real loopback sockets."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from qts_cli import launch, sockets
from qts_core import config
from qts_core.errors import ConfigError


def test_free_ports_are_different_and_free() -> None:
    """As many ports as asked for, each once, each bindable."""
    ports = sockets.free_ports(6)
    assert len(set(ports)) == 6
    assert [sockets.taken(port) for port in ports] == [False] * 6


def test_free_ports_leave_out_what_is_settled_taken_or_given_to_connections() -> None:
    """A port that a setting names is not given away, nor one in use, nor one a connection may start from."""
    outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    held = sockets.free_ports(1)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", held[0]))
        settled = range(15_010, 30_000)
        ports = sockets.free_ports(20, settled)
        everything = sockets.free_ports(20_000)
    assert 0 < len(ports) <= 10
    assert max(ports) < 15_010
    assert held[0] not in everything
    assert max(everything) < outgoing


@pytest.mark.parametrize("url", ["redis://127.0.0.1:20000", "redis+sentinel://a:26379,b:26379/main"])
def test_probe_ports_keep_off_those_of_the_settings(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Neither the port of `redis_url`, which nobody may hold yet, nor one of `zmq_ports`."""
    monkeypatch.setattr(sockets, "_PORTS", range(20_000, 20_012))
    sets = (f"redis_url={url}", "zmq_ports.pads=20001")
    found = launch.probe_ports(config.load(env={}, sets=sets).system)
    assert {"pads", "qbmia", "quasar", "amos", "market"} == set(found)
    assert not {20_001, *({20_000} if ":20000" in url else ())} & set(found.values())


def test_taken_port_is_named_with_key_and_owner() -> None:
    """A port in use is refused with its key, its number, the owner's pid and the flag that helps."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            sockets.check_ports({"qbmia": port})
    text = str(caught.value)
    assert text.startswith(f"zmq_ports.qbmia: port {port} is in use")
    assert f"pid {os.getpid()}" in text
    assert "--set zmq_ports.qbmia=PORT" in text


@pytest.mark.parametrize("length", [True, False])
async def test_http_get_reads_status_and_body(length: bool) -> None:
    """Status and body come back, whether or not the server says the length."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        assert asked.startswith(b"GET /readyz HTTP/1.1\r\n")
        head = b"Content-Length: 5\r\n" if length else b""
        writer.write(b"HTTP/1.0 503 Service Unavailable\r\n" + head + b"\r\ncold\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        assert await sockets.http_get(server.sockets[0].getsockname()[1], "/readyz") == (503, b"cold\n")


async def test_http_get_from_nobody() -> None:
    """Nobody there, or somebody who speaks no HTTP, is status 0."""
    (port,) = sockets.free_ports(1)
    assert await sockets.http_get(port, "/livez") == (0, b"")

    async def garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-ERR unknown command\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    async with server:
        assert await sockets.http_get(server.sockets[0].getsockname()[1], "/livez") == (0, b"")


async def test_http_get_gives_up() -> None:
    """A server that accepts and says nothing costs the time-out and no more."""
    server = await asyncio.start_server(lambda r, w: asyncio.sleep(3600), "127.0.0.1", 0)
    async with server:
        assert await sockets.http_get(server.sockets[0].getsockname()[1], "/livez", 0.1) == (0, b"")
