"""The reflector's rules, one by one, against a scripted server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from random import Random

import aiohttp
import orjson
import pytest

from qts_operator.cluster import Listing
from qts_operator.metrics import Metrics
from qts_operator.objects import BY_KIND
from qts_operator.session import ApiError
from qts_operator.view import View
from qts_operator.watch import DENIED_S, Reflector, Tools

KIND = BY_KIND["Service"]


class FastClock:
    """Sleeps take no time and are remembered."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, []

    def wall_ns(self) -> int:
        return int(self.now * 1e9)

    def monotonic_ns(self) -> int:
        return int(self.now * 1e9)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class Sink:
    def __init__(self) -> None:
        self.items: dict[str, str] = {}
        self.lists = 0

    def digest(self, live):
        return live["metadata"]["name"], live["metadata"]["resourceVersion"]

    read = whole = staticmethod(orjson.loads)

    def replace(self, items, within=None) -> int:
        self.lists += 1
        fresh = dict(items)
        changed = sum(1 for k in self.items.keys() | fresh.keys() if self.items.get(k) != fresh.get(k))
        self.items = fresh
        return changed

    def put(self, live) -> None:
        self.items[live["metadata"]["name"]] = live["metadata"]["resourceVersion"]

    def remove(self, live) -> None:
        self.items.pop(live["metadata"]["name"], None)


def obj(name: str, version: int) -> dict:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


class Script:
    """Each list and each watch takes the next entry; the end of the script is waited for."""

    def __init__(self, lists, watches) -> None:
        self.lists, self.watches = list(lists), list(watches)
        self.asked: list[dict[str, str]] = []
        self.over = asyncio.Event()

    async def list(self, kind, namespace, params, keep, read):
        if not self.lists:
            self.over.set()
            await asyncio.Event().wait()
        entry = self.lists.pop(0)
        if isinstance(entry, BaseException):
            raise entry
        return Listing([keep(obj(n, v)) for n, v in entry], str(max([v for _, v in entry], default=1)))

    @asynccontextmanager
    async def watch(self, kind, namespace, params, read):
        self.asked.append(params)
        if not self.watches:
            self.over.set()
            await asyncio.Event().wait()
        entry = self.watches.pop(0)
        if isinstance(entry, BaseException):
            raise entry

        async def events():
            for event in entry:
                if isinstance(event, BaseException):
                    raise event
                yield event

        yield events()


async def play(lists, watches):
    script, sink, clock, metrics = Script(lists, watches), Sink(), FastClock(), Metrics()
    reflector = Reflector(script, KIND, sink, scope=(None, {}), tools=Tools(clock, Random(1), metrics))
    task = asyncio.create_task(reflector.run())
    await asyncio.wait_for(script.over.wait(), 60)
    assert not task.done()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return sink, clock, script, reflector


def event(kind: str, name: str, version: int) -> dict:
    return {"type": kind, "object": obj(name, version)}


ERROR_410 = {"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}
ERROR_500 = {"type": "ERROR", "object": {"code": 500, "reason": "InternalError"}}


async def test_events_reach_the_sink_in_order() -> None:
    """Added, changed and deleted objects end as on the server; the next watch goes on from there."""
    sink, _, script, _ = await play(
        [[("a", 1)]], [[event("ADDED", "b", 2), event("MODIFIED", "a", 3), event("DELETED", "b", 4)]]
    )
    assert sink.items == {"a": "3"}
    assert [p["resourceVersion"] for p in script.asked] == ["1", "4"]


async def test_bookmarks_move_the_version_and_nothing_else() -> None:
    """A bookmark is no object."""
    sink, _, script, _ = await play([[("a", 1)]], [[event("BOOKMARK", "", 9)]])
    assert sink.items == {"a": "1"}
    assert script.asked[-1]["resourceVersion"] == "9"


@pytest.mark.parametrize(
    "gone", [[ERROR_410], ApiError(410, "Expired")], ids=["410 as event", "410 as status"]
)
async def test_an_expired_version_is_listed_anew(gone) -> None:
    """What vanished meanwhile is gone from the sink."""
    sink, _, _, _ = await play([[("a", 1), ("b", 1)], [("a", 5)]], [gone])
    assert sink.items == {"a": "5"}
    assert sink.lists == 2


@pytest.mark.parametrize(
    "fault",
    [
        [ERROR_500],
        ApiError(503, "ServiceUnavailable"),
        ApiError(0, "NoAnswer"),
        aiohttp.ClientPayloadError("cut"),
        TimeoutError(),
        [event("ADDED", "b", 2), aiohttp.ClientPayloadError("cut")],
        [],
        ValueError("a fault of ours"),
        [{"type": "ERROR", "object": {"code": "none"}}],
        [{"type": "ADDED", "object": ["b"]}],
    ],
    ids=[
        *("ERROR 500", "503", "no answer", "cut", "half-open", "cut after an event", "200 and close"),
        *("our own fault", "ERROR without a code", "an object that is none"),
    ],
)
async def test_no_fault_of_a_watch_ends_the_reflector(fault) -> None:
    """Each waits and watches again; events after it arrive."""
    sink, clock, _, _ = await play([[("a", 1)], [("a", 1)]], [fault, [event("ADDED", "c", 7)]])
    assert sink.items["c"] == "7"
    assert len(clock.slept) >= 1
    assert min(clock.slept) > 0


@pytest.mark.parametrize("told", [[], [event("BOOKMARK", "", 9)]], ids=["nothing", "a bookmark"])
async def test_a_server_that_closes_at_once_is_not_hammered(told) -> None:
    """An orderly end without an event backs off as a failure does; a bookmark is no event."""
    _, clock, _, _ = await play([[("a", 1)]], [told for _ in range(12)])
    assert len(clock.slept) == 12
    assert sum(clock.slept[6:]) > 10


async def test_missing_rights_are_named_and_waits_grow_to_a_minute() -> None:
    """403 keeps the process alive, says what is missing, and tries again: soon at first, then once a minute."""
    refused = [ApiError(403, "Forbidden", "cannot list") for _ in range(9)]
    sink, clock, _, reflector = await play([*refused, [("a", 1)]], [])
    assert clock.slept == [1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, DENIED_S, DENIED_S]
    assert reflector.denied == ""
    assert sink.items == {"a": "1"}


@pytest.mark.parametrize(("times", "missing"), [(4, False), (6, True)])
async def test_a_server_that_has_just_started_lacks_no_right(times: int, missing: bool) -> None:
    """Refused for some seconds by a server that allowed it before: no word of it; for longer it is said."""
    refused = [ApiError(403, "Forbidden", "cannot list") for _ in range(times)]
    sink, clock, _, reflector = await play([[("a", 1)], *refused, [("a", 2)]], [ApiError(410, "Expired")])
    told = reflector._tools.metrics.denied.labels(KIND.name)._value.get()
    assert (told > 0, reflector.denied) == (missing, "")
    assert (sink.items, clock.slept[:4]) == ({"a": "2"}, [1.0, 1.0, 2.0, 4.0])


@pytest.mark.parametrize("told", [[], [event("ADDED", "b", 2)]], ids=["quiet", "an event"])
async def test_a_right_that_is_back_is_seen_by_the_watch(told) -> None:
    """Refused for long enough to say so, then served: nobody waits for the next full list."""
    refused = [ApiError(403, "Forbidden", "cannot watch") for _ in range(6)]
    sink, _, _, reflector = await play([[("a", 1)]], [*refused, told])
    assert reflector._tools.metrics.denied.labels(KIND.name)._value.get() > 0
    assert (reflector.denied, sink.lists) == ("", 1)


async def test_retry_after_is_honoured() -> None:
    """429 with Retry-After waits at least that long."""
    _, clock, _, _ = await play([ApiError(429, "TooManyRequests", retry_after=17.0), [("a", 1)]], [])
    assert clock.slept[0] >= 17.0


async def test_a_full_list_is_due_after_ten_minutes() -> None:
    """Faults that last longer than the period lead to a fresh list."""
    faults = [ApiError(503, "ServiceUnavailable") for _ in range(200)]
    sink, _, _, _ = await play([[("a", 1)], [("a", 2)]], faults)
    assert sink.lists == 2


async def test_a_full_list_of_one_namespace_leaves_the_others_alone() -> None:
    """Reflectors of several namespaces fill one store; a deletion in one shows only what vanished there."""
    poked: list[str] = []
    specs: list[float] = []
    view = View(poked.append, specs.append)
    sink, clock = view.sink_systems(), FastClock()
    tools = Tools(clock, Random(1), Metrics())

    def system(namespace: str, name: str) -> dict:
        metadata = {"namespace": namespace, "name": name, "uid": f"{namespace}-{name}", "generation": 1}
        return {"metadata": metadata | {"resourceVersion": "5"}, "spec": {}}

    class Server:
        held = {"east": ["one", "two"], "west": ["three"]}  # noqa: RUF012 - one server a test

        async def list(self, kind, namespace, params, keep, read):
            return Listing([keep(system(namespace, name)) for name in self.held[namespace]], "9")

    server = Server()
    east, west = (
        Reflector(server, BY_KIND["Service"], sink, scope=(scope, {}), tools=tools)
        for scope in ("east", "west")
    )
    for reflector in (east, west):
        await reflector._list("start")
    assert sorted(poked) == ["east/one", "east/two", "west/three"]
    assert specs == []
    server.held["west"] = []
    poked.clear()
    for reflector in (west, east):
        await reflector._list("periodic")
    assert poked == ["west/three"]
    assert sorted(r.name for r in view.systems.all()) == ["one", "two"]


def test_what_was_missed_is_counted_from_0_on() -> None:
    """The goal is none at all: a counter that first appears with 1 shows no increase, and wakes nobody."""
    tools = Tools(FastClock(), Random(1), Metrics())
    Reflector(None, KIND, Sink(), scope=(None, {}), tools=tools)
    assert b'qts_reflector_missed_events_total{kind="Service"} 0.0' in tools.metrics.text()
