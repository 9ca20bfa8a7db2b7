"""What kopf sees beside the engine's own watch: it copies nothing, and asks for no pass that nobody needs."""

from __future__ import annotations

import asyncio
import threading

import kopf
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kopf._cogs.aiokits.aioadapters import wait_flag
from kopf._cogs.clients.api import iter_jsonlines

from qts_core import names
from qts_operator.digests import resource
from qts_operator.main import GATHER_S, Engine, Options
from qts_operator.session import Access
from qts_operator.shell import Forgetful, KopfThread, _session, configure, registry_of
from qts_operator.testing import FakeCluster
from qts_operator.view import View


def system(version: str) -> dict:
    metadata = {"namespace": "trading", "name": "desk-1", "uid": "u", "generation": 1}
    return {"metadata": metadata | {"resourceVersion": version}, "spec": {"suspend": True}}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Return an engine that knows version 5 of a system, and has not begun to run; no moment of it lasts."""
    monkeypatch.setattr("qts_operator.main.DOUBT_S", 0.0)
    engine = Engine(Options(access=Access(server="http://nowhere"), identity="test"))
    engine.view.systems.put(resource(system("5")))
    return engine


async def heard(engine: Engine, version: str) -> bool:
    """Tell whether a pass is asked for a moment after kopf told of a version."""
    engine._loop = asyncio.get_running_loop()
    handlers = registry_of(engine, owns=False)._watching.get_all_handlers()
    await asyncio.to_thread(lambda: asyncio.run(_told(handlers[0], version)))
    return await asked(engine)


async def asked(engine: Engine) -> bool:
    """Tell whether a pass is asked for, once what was to happen at once has happened."""
    for _ in range(10):
        await asyncio.sleep(0.001)
    return engine.queue.busy("trading/desk-1")


async def _told(handler, version: str) -> None:
    await handler.fn(namespace="trading", name="desk-1", meta=kopf.Meta(system(version)))


@pytest.mark.parametrize(("version", "asks"), [("4", False), ("5", False), ("6", True)])
async def test_kopf_asks_for_a_pass_only_over_what_the_engine_has_not_seen(engine, version, asks) -> None:
    assert await heard(engine, version) is asks


async def test_kopf_that_is_first_asks_for_nothing(engine) -> None:
    """Its watch is often before ours, of our own writes too; a pass before ours would see nothing new."""
    engine._doubt("trading", "desk-1", "6")
    engine.view.systems.put(resource(system("6")))
    assert not await asked(engine)
    engine._doubt("trading", "desk-1", "8")
    engine.view.systems.put(resource(system("7")))
    assert await asked(engine)


async def test_events_of_one_moment_wake_one_worker(engine) -> None:
    """A roll-out tells dozens of changes within the time that gathers them; a later one wakes one again."""
    rings = 0

    def ring() -> None:
        nonlocal rings
        rings += 1

    engine._bell.ring = ring
    for _ in range(10):
        engine._gather("trading/desk-1")
    assert rings == 1
    assert engine.queue.take(engine._now_s() + GATHER_S) == "trading/desk-1"
    engine._gather("trading/desk-1")
    assert rings == 2


async def test_kopf_asks_for_a_pass_over_a_system_that_is_gone(engine) -> None:
    engine.view.systems.remove(resource(system("7")))
    assert await heard(engine, "8")


def test_kopf_keeps_no_copy_of_what_it_sees() -> None:
    settings = kopf.OperatorSettings()
    configure(settings, owns=False)
    storage, patch = settings.persistence.diffbase_storage, kopf.Patch()
    body = kopf.Body(system("5") | {"apiVersion": names.API_VERSION, "kind": names.KIND})
    essence = storage.build(body=body, extra_fields=[])
    storage.store(body=body, patch=patch, essence=essence)
    assert essence == {}
    assert storage.fetch(body=body) is None
    assert not patch


async def as_kopf_hears(told: dict, shows=lambda *_: False) -> dict:
    """Return what kopf is given of a server's answer; `shows`: what the engine has seen."""

    async def listed(_: web.Request) -> web.Response:
        return web.json_response(told)

    application = web.Application()
    application.add_routes([web.get("/", listed)])
    async with TestServer(application) as server:
        session = _session(Access(server=str(server.make_url("/"))), shows).aiohttp_session
        async with session, session.get(server.make_url("/")) as answer:
            return await answer.json()


async def test_kopf_remembers_no_object_and_not_who_manages_its_fields() -> None:
    """Its list of a thousand systems waits for its workers, and each would be kept for ever."""
    body = system("5")
    body["metadata"] |= {"managedFields": [{"manager": "m"}]}
    heard = await as_kopf_hears({"items": [body], "metadata": {"resourceVersion": "7"}})
    assert heard == {"items": [system("5")], "metadata": {"resourceVersion": "7"}}
    memories = Forgetful()
    await memories.recall(heard["items"][0], noticed_by_listing=True)
    assert list(memories.iter_all_memories()) == []


async def test_kopf_is_not_told_of_a_list_what_the_engine_has_listed(engine) -> None:
    """Each item would be a task, a queue and three loggers: a quarter of a start over thousands of systems."""
    told = {"items": [system("5"), system("6")], "metadata": {"resourceVersion": "7"}}
    assert await as_kopf_hears(told, engine.shows) == told | {"items": [system("6")]}


def event(told: str, version: str) -> bytes:
    return orjson.dumps({"type": told, "object": system(version)})


async def as_kopf_watches(engine: Engine, told: list[bytes], later: str = "5") -> list[bytes]:
    """Return the lines that kopf is given of a server's watch; the engine sees `later` a moment afterwards."""

    async def watched(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"".join(line + b"\n" for line in told))
        await asyncio.sleep(0.1)
        engine.view.systems.put(resource(system(later)))
        return response

    application = web.Application()
    application.add_routes([web.get(f"/{names.PLURAL}", watched)])
    async with TestServer(application) as server:
        access = Access(server=str(server.make_url("/")))
        session, url = _session(access, engine.shows).aiohttp_session, server.make_url(f"/{names.PLURAL}")
        async with session, session.get(url, params={"watch": "true"}) as answer:
            return [line async for line in iter_jsonlines(answer.content)]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (event("MODIFIED", "5"), False),
        (event("ADDED", "4"), False),
        (event("MODIFIED", "6"), True),
        (event("DELETED", "5"), True),
        (b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"5"}}}', True),
        (b'{"type":"ERROR","object":{"code":410}}', True),
        (b'{"type":"MODIFIED","object":{"metadata":null}}', True),
        (b'{"type":"MODIFIED"}', True),
        (b"no event", True),
    ],
)
async def test_kopf_is_told_what_the_engine_has_not_seen(engine, monkeypatch, line, told) -> None:
    monkeypatch.setattr("qts_operator.shell.LATER_S", 0.0)
    assert await as_kopf_watches(engine, [line]) == [line] * told


async def test_kopf_is_not_told_what_the_engine_sees_a_moment_later(engine, monkeypatch) -> None:
    """Its watch is often the first, and to handle an event takes it longer than us."""
    monkeypatch.setattr("qts_operator.shell.LATER_S", 0.5)
    lines = [event("MODIFIED", "6"), event("MODIFIED", "7")]
    assert await as_kopf_watches(engine, lines, later="6") == lines[1:]


async def test_an_empty_list_of_metadata_which_comes_as_null_is_a_list() -> None:
    empty = {"items": None, "metadata": {"resourceVersion": "7"}}
    assert await as_kopf_hears(empty) == empty | {"items": []}


@pytest.mark.parametrize("dies", [True, False])
def test_kopf_that_ended_unasked_is_started_again_and_ends_when_asked(engine, monkeypatch, dies) -> None:
    """Where it waited for its flag in a thread of its loop, that loop was never closed: nobody began it again."""
    monkeypatch.setattr("qts_operator.shell.FIRST_S", 0.0)
    begun = threading.Semaphore(0)

    async def operator(*, stop_flag, **_: object) -> None:
        begun.release()
        waits = asyncio.create_task(wait_flag(stop_flag))
        await asyncio.sleep(0)
        if dies:
            raise RuntimeError("a refused list")
        await waits

    monkeypatch.setattr(kopf, "operator", operator)
    engine.synced = lambda: True
    thread = KopfThread(engine)
    thread.start()
    for _ in range(3 if dies else 1):
        assert begun.acquire(timeout=10)
    thread.leave()
    thread.stop(10)
    assert not thread._thread.is_alive()


@pytest.mark.parametrize("kinds", [0, 2])
def test_kopf_begins_when_the_engine_knows_everything(engine, monkeypatch, kinds) -> None:
    """A kind that may not be listed is not waited for, nor is what waits kept from ending."""
    begun = threading.Event()

    async def operator(**_: object) -> None:
        begun.set()

    monkeypatch.setattr(kopf, "operator", operator)
    monkeypatch.setattr("qts_operator.shell.LOOK_S", 0.01)
    seen = engine.reflectors = engine._reflect(FakeCluster())[:kinds]
    thread = KopfThread(engine)
    thread.start()
    assert not begun.wait(0.1)
    for each in seen[:1]:
        each.synced.set()
    assert not begun.wait(0.1)
    for each in seen[1:]:
        each.denied = "may not be listed"
    assert begun.wait(10 if seen else 0.1) is bool(seen)
    thread.stop(10)
    assert not thread._thread.is_alive()


def test_a_version_that_is_known_is_not_digested_again() -> None:
    """The watch brings each of our own writes once more."""
    digested: list[str] = []
    view = View(lambda _: None)
    sink = view.sink_systems()
    sink.digest = lambda live: digested.append(live["metadata"]["resourceVersion"]) or resource(live)
    for version in ("5", "5", "4", "6"):
        sink.put(system(version))
    assert digested == ["5", "6"]
