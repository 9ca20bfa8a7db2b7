"""Why a Redis is not reached: each cause with its remedy, asked of real sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trustme

from qts_cli.sockets import free_ports
from qts_messaging.redis_away import away
from qts_messaging.redis_connection import AWAY, options, shut
from qts_messaging.redis_line import Client
from qts_messaging.redis_refusals import Refusals

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _asked(url: str) -> str:
    client = Client.from_url(url, **options(url, None, 0.5))
    try:
        await client.ask(("PING",))
    except AWAY as error:
        return away(error)
    finally:
        await shut(client)
    return "reached"


async def _closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.close()


async def _is_another(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()
    writer.close()


async def _says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()  # until who asks gives up
    writer.close()


@asynccontextmanager
async def _server(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("serve", "scheme", "words"),
    [
        (_closes, "redis", "one that wants TLS does so; its address begins with rediss:// then"),
        (_is_another, "redis", "no Redis"),
        (_is_another, "rediss", "it speaks no TLS, or another one (WRONG_VERSION_NUMBER)"),
        (_says_nothing, "redis", "does not answer in time"),
    ],
)
async def test_a_server_that_is_no_redis_of_that_kind_is_told(serve: Serve, scheme: str, words: str) -> None:
    """What a wrong scheme or port looks like from here."""
    async with _server(serve) as port:
        assert words in await _asked(f"{scheme}://127.0.0.1:{port}")


async def test_an_address_without_anybody_is_told() -> None:
    """A wrong port, and a wrong name."""
    (port,) = free_ports(1)
    assert "nobody listens at its address" in await _asked(f"redis://127.0.0.1:{port}")
    assert "its name is not known to the DNS" in await _asked("redis://nobody.invalid:6379")


async def test_a_certificate_of_an_unknown_authority_is_told() -> None:
    """With the words of the check, and where the authority belongs."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    async with _server(_closes, tls) as port:
        told = await _asked(f"rediss://127.0.0.1:{port}")
    assert told.startswith(
        "its certificate is not trusted (unable to get local issuer certificate); give its"
    )
    assert "spec.redis.urlSecretRef" in told


def test_a_cause_lasts_until_the_same_part_succeeds() -> None:
    """What a server refuses is no reason why it is away; an unknown cause says nothing."""
    noted = Refusals()
    noted.note("beat", ConnectionRefusedError())
    assert noted.why_away("beat").startswith("nobody listens")
    assert noted.why_away("listen") == ""
    noted.note("beat", RuntimeError("closed"))
    assert noted.why_away("beat") == ""
    noted.note("beat", TimeoutError())
    noted.over("beat")
    assert noted.why_away("beat") == ""
