"""A watch whose events may wait: what comes meanwhile is read at once, all of it, and nothing stands still."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web

from qts_operator import main, shell
from qts_operator.cluster import BEGINNING, GATHER_S, NODES, PODS, SYSTEMS, Cluster
from qts_operator.main import Engine, Options
from qts_operator.metrics import Metrics
from qts_operator.objects import BY_KIND, Kind
from qts_operator.session import Access, Session, beat, gathered

SLICE = 1000  # bytes; a record of TLS comes in many
Tell = Callable[[web.StreamResponse], Any]


@asynccontextmanager
async def told(folder: Path, tell: Tell, *, secure: bool) -> AsyncIterator[tuple[Session, list[int]]]:
    """Yield a session to a server that tells its watches by `tell`, over a line that hands on in slices.

    The list has the sizes of what the session read.
    """
    authority, context, given = trustme.CA(), None, {}
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.cert_pem.write_to_path(str(folder / "ca"))
        given = {"ca_file": str(folder / "ca")}

    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await tell(response)
        return response

    async with AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_get("/w", watch)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port = await stack.enter_async_context(sliced(site._server.sockets[0].getsockname()[1]))
        access = Access(server=f"http{'s' * secure}://127.0.0.1:{port}", **given)
        session, sizes = Session(access, Metrics(), "test"), list[int]()
        session._in.inc = sizes.append
        await session.open()
        stack.push_async_callback(session.close)
        yield session, sizes


@asynccontextmanager
async def sliced(port: int) -> AsyncIterator[int]:
    """Yield the port of a line to `port` that hands everything on in slices."""

    async def hand_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while got := await source.read(SLICE):
            target.write(got)
            await target.drain()
            await asyncio.sleep(0)
        target.close()

    async def line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far, away = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(hand_on(reader, away), hand_on(far, writer), return_exceptions=True)

    server = await asyncio.start_server(line, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def heard(session: Session, gather_s: float) -> list[bytes]:
    """Return the lines of a watch; TimeoutError where it stands still."""
    async with asyncio.timeout(8.0):
        async with session.stream("/w", {}, 5.0, verb="watch", kind="Pod", gather_s=gather_s) as lines:
            return [line async for line in lines]


@pytest.mark.parametrize("secure", [True, False])
async def test_what_comes_meanwhile_is_read_at_once(tmp_path: Path, secure: bool) -> None:
    async def tell(response: web.StreamResponse) -> None:
        for number in range(30):
            await response.write(b"%d\n" % number)
            await asyncio.sleep(0.005)

    async with told(tmp_path, tell, secure=secure) as (session, sizes):
        assert await heard(session, 0.5) == [b"%d" % number for number in range(30)]
    assert len(sizes) < 10


@pytest.mark.parametrize("now", [0.0, 0.09, 0.1, 0.11, 12.3, 12.34, 12.4, 12.4001])
def test_who_gathers_as_long_goes_on_at_the_same_moments(now: float) -> None:
    at = beat(now, 0.2)
    assert at / 0.2 == pytest.approx(round(at / 0.2))
    assert now < at <= now + 0.2 + 1e-9


async def test_the_first_after_silence_is_read_at_once(tmp_path: Path) -> None:
    over = asyncio.Event()

    async def tell(response: web.StreamResponse) -> None:
        await response.write(b"first\n")
        await over.wait()

    async with told(tmp_path, tell, secure=True) as (session, _), asyncio.timeout(5.0):
        async with session.stream("/w", {}, 60.0, verb="watch", kind="Pod", gather_s=60.0) as lines:
            assert await anext(lines) == b"first"
        over.set()  # else the server waits for its handler


@pytest.mark.parametrize("secure", [True, False])
async def test_much_is_read_on_and_a_record_that_comes_in_pieces_ends_nothing(
    tmp_path: Path, secure: bool
) -> None:
    """Two buffers of 64 KiB each time would take 40 s."""
    lines = [b"%d" % number * 50_000 for number in range(60)]

    async def tell(response: web.StreamResponse) -> None:
        for line in lines:
            await response.write(line + b"\n")

    async with told(tmp_path, tell, secure=secure) as (session, sizes):
        assert await heard(session, 1.0) == lines
    assert sum(sizes) == sum(map(len, lines)) + len(lines) > 64 * 65_536


async def test_a_watch_that_is_left_while_it_gathers_ends(tmp_path: Path) -> None:
    async def tell(response: web.StreamResponse) -> None:
        for _ in range(1000):
            await response.write(b"x\n")
            await asyncio.sleep(0.01)

    async with told(tmp_path, tell, secure=True) as (session, _):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await heard(session, 60.0)
        async with asyncio.timeout(5.0):
            await session.close()


@pytest.mark.parametrize("secure", [True, False])
async def test_a_connection_that_is_lost_while_it_gathers_is_told_as_lost(
    tmp_path: Path, secure: bool
) -> None:
    """What has come meanwhile has paused TLS, which then has nothing left to go on with."""

    async def tell(response: web.StreamResponse) -> None:
        for _ in range(500):
            await response.write(b"x" * 1000 + b"\n")
            await asyncio.sleep(0.002)

    async with (
        told(tmp_path, tell, secure=secure) as (session, _),
        session._client().get(f"{session.access.server}/w") as response,
    ):
        await response.content.readany()
        gathering = asyncio.create_task(gathered(response, 0.3))
        await asyncio.sleep(0.2)
        assert response.connection is not None
        assert response.connection.transport is not None
        response.connection.transport.abort()
        await gathering
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


WAITS = [PODS, BY_KIND["Deployment"], BY_KIND["StatefulSet"]]


@pytest.mark.parametrize(
    ("kind", "params", "waits"),
    [
        *((kind, {}, True) for kind in WAITS),
        (SYSTEMS, {}, False),
        (NODES, {}, False),
        (PODS, BEGINNING, False),
    ],
)
async def test_who_waits_for_more(kind: Kind, params: dict[str, str], waits: bool) -> None:
    """Changes of these are gathered anyway; a spec, a node and a list are waited for."""
    asked: list[float] = []

    class Noting:
        @asynccontextmanager
        async def stream(self, *_: Any, gather_s: float, **__: Any) -> AsyncIterator[AsyncIterator[bytes]]:
            asked.append(gather_s)
            yield nothing()

    async def nothing() -> AsyncIterator[bytes]:
        return
        yield b""

    for gather_s in (0.2, 0.0):
        cluster: Any = Cluster(Noting(), gather_s=gather_s)  # type: ignore[arg-type]
        async with cluster.watch(kind, None, params):
            pass
    assert asked == [0.2 if waits else 0.0, 0.0]


def virtual(seconds: float, each: float = 0.01, whole: float = 10.0) -> tuple[float, float]:
    """Return of a storm of events how often a second its reader wakes, and how late it reads one at most."""
    events = [123.4567 + each * number for number in range(int(whole / each))]
    wakes, latest, at = 0, 0.0, -1.0
    for told in events:
        if told <= at:
            latest = max(latest, at - told)
            continue
        wakes, at = wakes + 1, beat(told, seconds)
    return wakes / whole, latest


def test_a_storm_wakes_the_loop_rarely_and_a_pass_still_follows_within_half_a_second() -> None:
    """At 0 each of its events wakes the loop, and five times a second were most of what a slow start costs;
    at 10 s a system would say Ready that late, and a drift would stand that long: a second and two are allowed."""
    wakes, latest = virtual(GATHER_S)
    assert wakes <= 3.0
    assert latest + main.GATHER_S <= 0.5
    assert main.GATHER_S < GATHER_S, "a pass is to find all watches read that go on at the same moment"


async def test_kopfs_watch_is_read_once_a_second_and_still_soon_enough_where_ours_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At 0 each of our own writes wakes the loop for what ours has shown already; at 10 s a change that only kopf
    hears of would wait that long, though a drift is repaired within two seconds."""
    asked: list[float] = []

    async def noting(_: Any, gather_s: float) -> AsyncIterator[bytes]:
        asked.append(gather_s)
        return
        yield b""

    monkeypatch.setattr("qts_operator.shell.lines_of", noting)
    news = shell.News(SimpleNamespace(content=None), lambda *_: True)  # type: ignore[arg-type]
    assert [line async for line in news.iter_chunked(1)] == []
    wakes, latest = virtual(*asked)
    assert wakes <= 1.5
    assert latest + shell.LATER_S <= 2.0


async def test_the_engine_gathers_and_no_other_client_unless_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who measures or judges the operator must hear each event when it comes."""
    asked: list[float] = []

    class StoppedError(Exception):
        pass

    def noting(session: Session, **given: Any) -> Any:
        asked.append(Cluster(session, **given)._gather_s)
        raise StoppedError

    monkeypatch.setattr("qts_operator.main.Cluster", noting)
    with pytest.raises(StoppedError):
        await Engine(Options(access=Access(server="http://nowhere"), identity="test")).run()
    assert asked == [GATHER_S]
    assert Cluster(Session(Access(server="http://nowhere"), Metrics(), "test"))._gather_s == 0.0
