"""Probes answer what the health record says, and nothing else."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
from opentelemetry.sdk.resources import Resource

from qts_agents.health import Health, HealthServer, Workplace
from qts_agents.round_notes import RoundNotes
from qts_agents.round_spans import DECIDED
from qts_cli.sockets import free_ports, http_get
from qts_core import names
from qts_core.probes import Status
from qts_core.telemetry import Tracing
from qts_messaging.accounts import Book, Record

worked: list[str] = []  # whose scores were asked for


def server(now_s: float = 0.0, **facts: object) -> tuple[HealthServer, Health]:
    """Return a server over one workload."""
    health = Health("pads", **facts)
    book = Book("pads", 7, 0)

    async def scores() -> dict[str, int]:
        worked.append("pads")
        return {"resolved": 3}

    worked.clear()
    notes = RoundNotes(Tracing("pads", 1.0, None, Resource.create({})))
    notes.note(bytes(25), DECIDED, 10**9, 3 * 10**9, "r", "expired")
    notes.keep(bytes(25), "r", "expired")
    place = Workplace(
        health, lambda: Status(agent="pads", state=health.state()), book.record, notes.told, scores
    )
    return HealthServer([place], lambda: b"up 1\n", lambda: now_s), health


def test_starting_until_it_has_caught_up() -> None:
    """A cold process is alive, not started, not ready; nor is one at work that does not know what happened."""
    http, health = server()
    assert [http.answer("GET", path)[0] for path in ("/startupz", "/livez", "/readyz")] == [503, 200, 503]
    health.warm = health.bound = True
    assert (health.state(), http.answer("GET", "/readyz")[0]) == ("starting", 503)
    assert "has not caught up" in http.answer("GET", "/startupz")[2].decode()
    health.caught_up = True
    assert [http.answer("GET", path)[0] for path in ("/startupz", "/livez", "/readyz")] == [200, 200, 200]
    assert health.state() == "ready"


def test_the_book_of_a_process_can_be_read() -> None:
    """What became of every message, as data that adds up with that of others; by name as well."""
    http, _ = server()
    for path in ("/bookz", "/bookz/pads"):
        code, kind, body = http.answer("GET", path)
        assert (code, kind) == (200, "application/json")
        assert msgspec.json.decode(body, type=Record).epoch == 7
    assert http.answer("GET", "/bookz/nobody")[0] == 404


def test_the_kept_rounds_of_a_process_can_be_read() -> None:
    """Also where no collector is: round, trace, reason, and each stage with start and length."""
    http, _ = server()
    part = {"stage": "decide", "start_ns": 10**9, "duration_s": 2.0, "error": "expired"}
    kept = {"round_id": "r", "trace_id": "0" * 32, "why": "expired", "stages": [part]}
    for path in ("/keptz", "/keptz/pads"):
        code, kind, body = http.answer("GET", path)
        assert (code, kind) == (200, "application/json")
        assert json.loads(body) == {"agent": "pads", "rounds": [kept]}
    assert http.answer("GET", "/keptz/nobody")[0] == 404


async def test_scores_are_worked_out_for_who_asks_and_before_metrics() -> None:
    """No other probe costs them."""
    http, _ = server()
    for path in ("/livez", "/statusz", "/bookz"):
        await http.asked("GET", path)
    assert worked == []
    for path in ("/scorez", "/scorez/pads", "/scorez/pads?x"):
        assert json.loads((await http.asked("GET", path))[2]) == {"resolved": 3}
    assert (await http.asked("GET", "/scorez/nobody"))[0] == 404
    assert worked == ["pads"] * 3
    assert (await http.asked("GET", "/metrics"))[2] == b"up 1\n"
    assert worked == ["pads"] * 4
    assert (await http.asked("POST", "/scorez"))[0] == 405


def test_a_spare_is_ready_and_says_so() -> None:
    """It is compiled and waits: ready for its turn, neither bound nor heard."""
    http, health = server()
    health.standby = True
    assert [http.answer("GET", path)[0] for path in ("/startupz", "/livez", "/readyz")] == [200, 200, 200]
    assert health.state() == "standby"
    health.draining = True
    assert http.answer("GET", "/readyz")[0] == 503


@pytest.mark.parametrize("part", ["event loop", "compute thread"])
def test_a_stuck_part_is_named(part: str) -> None:
    """Liveness turns red after 10 s without movement, and says of what."""
    field = "loop_moved_s" if part == "event loop" else "compute_moved_s"
    other = "compute_moved_s" if part == "event loop" else "loop_moved_s"
    http, _ = server(now_s=30.5, **{field: 20.0, other: 30.0})
    code, _, body = http.answer("GET", "/livez")
    assert code == 503
    assert f"pads: {part} has not moved for 10 s" in body.decode()


def test_a_trouble_degrades_but_keeps_ready_and_a_blocker_does_not() -> None:
    """Degraded is said; readiness is red only for blockers."""
    http, health = server(
        warm=True, bound=True, caught_up=True, troubles={"journal": "journal cannot be written"}
    )
    assert (health.state(), http.answer("GET", "/readyz")[0]) == ("degraded", 200)
    health.blockers["redis"] = "Redis has not answered for 6 s"
    code, _, body = http.answer("GET", "/readyz")
    assert (code, body) == (503, b"pads: Redis has not answered for 6 s\n")


def test_status_is_json_and_unknown_paths_are_told_what_exists() -> None:
    """/statusz answers the struct; others 404 or 405."""
    http, _ = server(warm=True, bound=True, caught_up=True)
    assert json.loads(http.answer("GET", "/statusz")[2])["state"] == "ready"
    assert json.loads(http.answer("GET", "/statusz/pads")[2])["agent"] == "pads"
    assert http.answer("GET", "/statusz/amos")[0] == 404
    assert http.answer("GET", "/metrics")[2] == b"up 1\n"
    assert http.answer("GET", "/")[0] == 404
    assert http.answer("POST", "/livez")[0] == 405


async def test_a_garbage_client_disturbs_nobody() -> None:
    """Bytes that are no request end that connection only."""
    http, _ = server(warm=True, bound=True, caught_up=True)
    await http.start("127.0.0.1", [0])
    port = http._servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x00" * 20_000)
    assert await reader.read() == b""
    writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.0 200 OK\r\n")
    writer.close()
    await http.close()


async def test_only_metrics_are_behind_the_second_port() -> None:
    """Whoever may scrape need not read decisions, books and scores."""
    http, _ = server()
    first, second = free_ports(2)
    await http.start("127.0.0.1", (first, second))
    try:
        found = {
            (number, path): (await http_get(port, path))[0]
            for number, port in enumerate((first, second))
            for path in (names.PATH_METRICS, names.PATH_STATUS, names.PATH_BOOK, names.PATH_LIVE)
        }
    finally:
        await http.close()
    assert {path for (number, path), code in found.items() if number == 0 and code == 404} == set()
    second_tells = {path for (number, path), code in found.items() if number == 1 and code != 404}
    assert second_tells == {names.PATH_METRICS}
