"""The session and its middlewares against a server on loopback."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager

import aiohttp
import orjson
import pytest
from aiohttp import web

from qts_operator.cluster import PAGE, PODS, SYSTEMS, Cluster, Listing
from qts_operator.metrics import Metrics
from qts_operator.middleware import ApiError, Bucket, Call, Pace, SimulatedCrash, crashing
from qts_operator.session import Access, FencedError, Session

USUAL = Pace()


class Server:
    """Remembers what arrived; `answer` makes each answer."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []
        self.answer = lambda request: web.json_response({"ok": True})
        self.delay_s = 0.0
        self.inside = self.most = 0
        self.open = asyncio.Event()  # while it is not set nobody is answered
        self.open.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        self.seen.append((request.method, request.path, request.headers.get("Authorization", "")))
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(self.delay_s)
        await self.open.wait()
        self.inside -= 1
        return self.answer(request)


@asynccontextmanager
async def serving(tmp_path, *middlewares, pace=USUAL):
    server, app = Server(), web.Application()
    app.router.add_route("*", "/{rest:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    (tmp_path / "token").write_text("one")
    access = Access(server=f"http://127.0.0.1:{port}", token_file=str(tmp_path / "token"), pace=pace)
    session = Session(access, Metrics(), "test", middlewares)
    await session.open()
    try:
        yield server, session
    finally:
        await session.close()
        await runner.cleanup()


async def read(session: Session) -> list[bytes]:
    async with session.stream("/w", {}, 5.0, verb="watch", kind="Pod") as lines:
        return [line async for line in lines]


async def test_a_token_that_changed_is_used_at_once(tmp_path) -> None:
    """Bound tokens are replaced in their file; the next request carries the new one."""
    async with serving(tmp_path) as (server, session):
        await session.call("GET", "/a", kind="Pod")
        (tmp_path / "token").write_text("two")
        os.utime(tmp_path / "token", (1, 1))
        await session.call("GET", "/a", kind="Pod")
        (tmp_path / "token").unlink()
        await session.call("GET", "/a", kind="Pod")
    assert [s[2] for s in server.seen] == ["Bearer one", "Bearer two", "Bearer two"]


@pytest.mark.parametrize("lasting", [False, True])
async def test_a_401_is_tried_once_more_with_the_token_read_anew(tmp_path, lasting) -> None:
    """One retry, not two, for requests and for watches."""
    async with serving(tmp_path) as (server, session):

        def answer(_: web.Request) -> web.Response:
            # the file changes without a new time, as on file systems with coarse clocks
            at = (tmp_path / "token").stat().st_mtime_ns
            (tmp_path / "token").write_text("two")
            os.utime(tmp_path / "token", ns=(at, at))
            refused = lasting or len(server.seen) == 1
            return web.json_response({}, status=401 if refused else 200)

        server.answer = answer
        if lasting:
            with pytest.raises(ApiError) as caught:
                await session.call("GET", "/a", kind="Pod")
            assert caught.value.code == 401
        else:
            await session.call("GET", "/a", kind="Pod")
        assert [s[2] for s in server.seen] == ["Bearer one", "Bearer two"]
        server.seen.clear()
        (tmp_path / "token").write_text("one")
        session.expire()
        if lasting:
            with pytest.raises(ApiError) as caught:
                await read(session)
            assert caught.value.code == 401
        else:
            assert await read(session) == [b"{}"]
        assert [s[2] for s in server.seen] == ["Bearer one", "Bearer two"]


async def test_retry_after_holds_every_request_but_the_leases(tmp_path) -> None:
    """429 with Retry-After: the next request waits that long; the Lease is renewed meanwhile."""
    async with serving(tmp_path) as (server, session):
        server.answer = lambda _: web.json_response({}, status=429, headers={"Retry-After": "1"})
        with pytest.raises(ApiError) as caught:
            await session.call("GET", "/a", kind="Pod")
        assert caught.value.retry_after == 1.0
        server.answer = lambda _: web.json_response({})
        held = asyncio.create_task(session.call("GET", "/held", kind="Pod"))
        await session.call("GET", "/lease", kind="Lease")
        await held
    assert [s[1] for s in server.seen] == ["/a", "/lease", "/held"]


def test_the_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    """Waits are exact on any clock; a hold ends by itself and is never longer than half a minute."""
    bucket = Bucket(rate=10.0, burst=3.0)
    assert [bucket.take(100.0) for _ in range(5)] == pytest.approx([0, 0, 0, 0.1, 0.2])
    assert bucket.take(101.0) == pytest.approx(0.0)
    bucket.hold(5.0, 200.0)
    assert bucket.take(201.0) == pytest.approx(4.0)
    bucket.hold(1e9, 300.0)
    assert bucket.take(300.0) == pytest.approx(30.0)


@pytest.mark.parametrize("most", [1, 3])
async def test_no_more_requests_are_under_way_than_the_pace_says(tmp_path, most) -> None:
    async with serving(tmp_path, pace=Pace(in_flight=most)) as (server, session):
        server.delay_s = 0.02
        await asyncio.gather(*(session.call("GET", f"/{n}", kind="Pod") for n in range(7)))
    assert (len(server.seen), server.most) == (7, most)


@pytest.mark.parametrize("turn", [1, 2], ids=["before connecting", "with the connection in hand"])
@pytest.mark.parametrize("warm", [False, True], ids=["new connection", "kept connection"])
async def test_a_fenced_write_never_reaches_the_wire(tmp_path, turn, warm) -> None:
    """Without the Lease no write is sent; the second question is asked when the connection is in hand."""
    async with serving(tmp_path) as (server, session):
        if warm:
            await session.call("GET", "/warm", kind="Pod")
        asked = 0

        def fence() -> bool:
            nonlocal asked
            asked += 1
            return asked < turn

        session.fence = fence
        with pytest.raises(FencedError):
            await session.call("PATCH", "/a", kind="Service", body={})
        await session.call("GET", "/b", kind="Service")
        await session.call("PUT", "/lease", kind="Lease", body={})
    assert [s[1] for s in server.seen if s[1] != "/warm"] == ["/b", "/lease"]


@pytest.mark.parametrize(("point", "arrived"), [("before", 0), ("sent", 1), ("answered", 1)])
async def test_a_crash_point_dies_where_it_says(tmp_path, point, arrived) -> None:
    """Before: nothing arrives; sent: it arrives though nobody waits; answered: it was done."""

    def crash(at: str, call: Call) -> bool:
        return at == point and call.verb == "PATCH"

    async with serving(tmp_path, crashing(crash)) as (server, session):
        server.delay_s = 0.05
        await session.call("GET", "/a", kind="Service")
        with pytest.raises(SimulatedCrash):
            await session.call("PATCH", "/b", kind="Service", body={})
        in_time = len([s for s in server.seen if s[1] == "/b"])
        await asyncio.sleep(0.2)
        assert len([s for s in server.seen if s[1] == "/b"]) == arrived
        assert in_time == (0 if point == "sent" else arrived)


async def test_a_crash_point_dies_after_a_refusal_too(tmp_path) -> None:
    """The process that dies knows of the refusal and has told nobody."""

    def crash(at: str, _: Call) -> bool:
        return at == "refused"

    async with serving(tmp_path, crashing(crash)) as (server, session):
        await session.call("PATCH", "/a", kind="Service", body={})
        server.answer = lambda _: web.json_response({"reason": "Invalid"}, status=422)
        with pytest.raises(SimulatedCrash, match="refused PATCH /b"):
            await session.call("PATCH", "/b", kind="Service", body={})
    assert [s[1] for s in server.seen] == ["/a", "/b"]


async def test_an_answer_that_is_cut_is_no_answer(tmp_path) -> None:
    """A body that is not JSON on a 200 may mean that the write was done; it is code 0, never a crash."""
    async with serving(tmp_path) as (server, session):
        server.answer = lambda _: web.Response(text='{"kind": "Ser')
        with pytest.raises(ApiError) as caught:
            await session.call("PATCH", "/a", kind="Service", body={})
    assert caught.value.code == 0


async def test_a_page_is_digested_before_the_next_is_asked_for(tmp_path) -> None:
    """Else a start over a thousand systems holds every object of theirs decoded at once."""
    happened: list[str] = []
    pages = iter([(["a", "b"], "more"), (["c"], "")])

    def answer(request: web.Request) -> web.Response:
        found, token = next(pages)
        happened.append(f"page {request.query['limit']} {request.query.get('continue', '')}".strip())
        metadata = {"resourceVersion": "7"} | ({"continue": token} if token else {})
        items = [{"metadata": {"name": name}} for name in found]
        return web.json_response({"metadata": metadata, "items": items})

    def keep(live: dict) -> str:
        happened.append(live["metadata"]["name"])
        return live["metadata"]["name"].upper()

    async with serving(tmp_path) as (server, session):
        server.answer = answer
        listing = await Cluster(session).list(SYSTEMS, None, {}, keep)
    assert listing == Listing(["A", "B", "C"], "7")
    assert happened == [f"page {PAGE}", "a", "b", f"page {PAGE} more", "c"]


def _line(told: str, name: str, version: str, **more: object) -> bytes:
    return (
        orjson.dumps(
            {"type": told, "object": {"metadata": {"name": name, "resourceVersion": version} | more}}
        )
        + b"\n"
    )


DONE = _line("BOOKMARK", "", "9", annotations={"k8s.io/initial-events-end": "true"})


def _name_and_version(live: dict) -> tuple[str, str]:
    return live["metadata"]["name"], live["metadata"]["resourceVersion"]


async def test_a_list_is_the_beginning_of_a_watch_where_the_server_has_that(tmp_path) -> None:
    """What changes before the end is told may come in between; the list is what is there in the end."""
    asked: list[dict] = []
    lines = [_line("ADDED", name, "5") for name in ("a", "b", "c")]
    lines += [_line("BOOKMARK", "", "6"), _line("MODIFIED", "b", "7"), _line("DELETED", "c", "8"), DONE]
    lines += [_line("ADDED", "later", "10")]

    def answer(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        return web.Response(body=b"".join(lines))

    async with serving(tmp_path) as (server, session):
        server.answer = answer
        listing = await Cluster(session, streaming=True).list(
            SYSTEMS, None, {"labelSelector": "a=b"}, _name_and_version
        )
    assert listing == Listing([("a", "5"), ("b", "7")], "9")
    expected = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    assert asked == [expected | {"watch": "true", "labelSelector": "a=b"}]


async def test_a_server_without_such_watches_is_asked_for_pages_from_then_on(tmp_path) -> None:
    asked: list[bool] = []

    def answer(request: web.Request) -> web.Response:
        asked.append("sendInitialEvents" in request.query)
        if asked[-1]:
            return web.json_response({"reason": "Invalid", "message": "forbidden"}, status=422)
        return web.json_response({"metadata": {"resourceVersion": "7"}, "items": []})

    async with serving(tmp_path) as (server, session):
        server.answer, cluster = answer, Cluster(session, streaming=True)
        assert await cluster.list(SYSTEMS, None, {}, _name_and_version) == Listing([], "7")
        assert await cluster.list(SYSTEMS, None, {}, _name_and_version) == Listing([], "7")
    assert asked == [True, False, False]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (_line("ADDED", "a", "5"), 0),  # the connection ends before all was told
        (b'{"type": "ADDED", "obj', 0),
        (b'{"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}', 410),
    ],
)
async def test_half_a_list_is_none(tmp_path, body: bytes, code: int) -> None:
    async with serving(tmp_path) as (server, session):
        server.answer = lambda _: web.Response(body=body)
        with pytest.raises(ApiError) as caught:
            await Cluster(session, streaming=True).list(SYSTEMS, None, {}, _name_and_version)
    assert caught.value.code == code


def _told(session: Session, verb: str, code: str) -> tuple[float | None, float | None]:
    """Return how often such a stream was counted, and timed."""
    labels, value = {"verb": verb, "kind": "Pod", "code": code}, session.metrics.registry.get_sample_value
    return (
        value("qts_api_requests_total", labels),
        value("qts_api_request_duration_seconds_count", labels),
    )


async def test_a_stream_is_counted_and_timed_when_its_head_is_there(tmp_path) -> None:
    """Not when it ends, minutes later; a try that is refused is one, and so is one that nobody answers."""
    answers = [401, 200, 403, 410]
    async with serving(tmp_path) as (server, session):
        server.answer = lambda _: web.Response(status=answers.pop(0), body=b'{"reason": "x"}')
        async with session.stream("/w", {}, 5.0, verb="watch", kind="Pod") as lines:
            assert _told(session, "watch", "401") == _told(session, "watch", "200") == (1, 1)
            assert [line async for line in lines] == [b'{"reason": "x"}']
        assert _told(session, "watch", "200") == (1, 1)
        for code in ("403", "410"):
            with pytest.raises(ApiError):
                await read(session)
            assert _told(session, "watch", code) == (1, 1)
    session.access = Access(server="http://127.0.0.1:1")
    await session.open()
    with pytest.raises(aiohttp.ClientError):
        await read(session)
    await session.close()
    assert _told(session, "watch", "0") == (1, 1)


async def test_a_list_that_is_streamed_is_counted_as_a_list(tmp_path) -> None:
    """It is one request, as a page is; what is watched afterwards is another."""
    async with serving(tmp_path) as (server, session):
        server.answer = lambda _: web.Response(body=DONE)
        cluster = Cluster(session, streaming=True)
        await cluster.list(PODS, None, {}, _name_and_version)
        assert (_told(session, "list", "200"), _told(session, "watch", "200")) == ((1, 1), (None, None))
        async with cluster.watch(PODS, None, {"resourceVersion": "9"}):
            assert (_told(session, "list", "200"), _told(session, "watch", "200")) == ((1, 1), (1, 1))
