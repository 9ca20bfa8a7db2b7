"""The short way to a real server: answers in order, refusals, lost connections, silence, subscriptions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from bench import server
from redis.exceptions import NoPermissionError, ResponseError
from tests.loops import until

from qts_messaging.redis_connection import AWAY, shut
from qts_messaging.redis_line import Client, Ear, Said
from qts_messaging.testing import Proxy

pytestmark = pytest.mark.processes
PATIENCE_S = 1.0


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """Give a way to a server that can be cut and blocked."""
    with server.running() as port:
        made = Proxy("127.0.0.1", port)
        await made.start()
        yield made
        await made.close()


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[Client]:
    """Give a client of that server, over the proxy."""
    made = Client(port=proxy.port, socket_timeout=PATIENCE_S, protocol=2)
    yield made
    await shut(made)


async def test_everybody_gets_his_own_answers(client: Client) -> None:
    """Many ask at once over one connection; answers of any size come whole and in order."""
    sizes = [1, 10, 100_000, 3, 3_000_000, 7]
    asked = [client.ask(("SET", f"k{n}", b"x" * size), ("STRLEN", f"k{n}")) for n, size in enumerate(sizes)]
    assert await asyncio.gather(*asked) == [[b"OK", size] for size in sizes]
    (whole,) = await client.ask(("GET", "k4"))
    assert whole == b"x" * sizes[4]
    assert await asyncio.wait_for(client.ask(), PATIENCE_S) == []
    (found,) = await client.ask(("CLIENT", "LIST"))
    assert len(found.splitlines()) == 1


async def test_a_refusal_is_raised_and_leaves_the_rest_in_order(client: Client) -> None:
    """The first refused command of several is named; those after it were done, and the next answers fit."""
    with pytest.raises(ResponseError, match="NOGROUP"):
        await client.ask(
            ("SET", "a", "1"), ("XREADGROUP", "GROUP", "g", "g", "STREAMS", "s", ">"), ("INCR", "a")
        )
    assert await client.ask(("GET", "a")) == [b"2"]


async def test_who_gives_up_leaves_the_connection_to_others(client: Client) -> None:
    """A cancelled question's answer goes to nobody; the next one gets its own, on the same connection."""
    waits = asyncio.create_task(client.ask(("BLPOP", "none", "0.2")))
    await asyncio.sleep(0.05)
    line = client._line
    waits.cancel()
    assert await client.ask(("ECHO", "mine")) == [b"mine"]
    assert client._line is line


async def test_a_server_that_says_nothing_is_given_up(client: Client, proxy: Proxy) -> None:
    """Everybody who waits hears of it within the patience; afterwards there is a new connection."""
    assert await client.ask(("PING",)) == [b"PONG"]
    proxy.open.clear()
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(10 * PATIENCE_S):
        found = await asyncio.gather(*(client.ask(("ECHO", n)) for n in "ab"), return_exceptions=True)
    took_s = asyncio.get_running_loop().time() - began
    assert [type(each) for each in found] == [TimeoutError] * 2
    assert took_s >= PATIENCE_S
    proxy.open.set()
    assert await client.ask(("ECHO", "c")) == [b"c"]


async def test_a_slow_answer_is_waited_for_while_others_come(client: Client) -> None:
    """Patience begins anew with each answer, as redis-py's does: a long batch is not silence."""
    waits = [client.ask(("BLPOP", "none", str(0.6 * PATIENCE_S))) for _ in range(3)]
    assert await asyncio.gather(*waits) == [[None]] * 3


async def test_a_connection_that_ends_is_an_error_and_the_next_one_is_new(
    client: Client, proxy: Proxy
) -> None:
    """Who waits cannot know what was done; who asks afterwards is not told of it."""
    waits = asyncio.create_task(client.ask(("BLPOP", "none", "5")))
    await asyncio.sleep(0.05)
    proxy.cut()
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(waits, 4.0)
    assert await client.ask(("ECHO", "again")) == [b"again"]
    assert len(client.connection_pool._in_use_connections) == 1  # type: ignore[attr-defined]


async def test_a_subscription_brings_what_matches_until_it_ends(client: Client, proxy: Proxy) -> None:
    """Messages come with pattern and channel; the end of the connection is an error for who waits for it."""
    came: list[Said] = []

    def heard(_: Ear, said: Sequence[Said]) -> None:
        came.extend(said)

    ear = await client.listen(("a@*", "b@*"), heard)
    while await client.ask(("PUBLISH", "a@x", b"0")) == [0]:  # the server has not heard of it yet
        await asyncio.sleep(0.01)
    await client.ask(("PUBLISH", "b@y", b"1"), ("PUBLISH", "c@z", b"2"), ("PUBLISH", "a@y", b"3"))
    await until(lambda: any(said.data == b"3" for said in came))
    ours = [said for said in came if said.data != b"0"]
    assert ours == [(b"b@*", b"b@y", b"1"), (b"a@*", b"a@y", b"3")]
    proxy.cut()
    with pytest.raises(AWAY):
        await ear.ended
    assert ear.lost


async def test_a_subscription_that_is_refused_ends(client: Client, proxy: Proxy) -> None:
    """Who may not listen hears why, as redis-py names it, and no connection is left."""
    await client.ask(("ACL", "SETUSER", "deaf", "on", ">word", "~*", "+@all", "resetchannels"))
    deaf = Client(port=proxy.port, socket_timeout=PATIENCE_S, protocol=2, username="deaf", password="word")
    ear = await deaf.listen(("a@*",), lambda *_: None)
    with pytest.raises(NoPermissionError):
        await ear.ended
    await until(ear._transport.is_closing)
    await shut(deaf)
