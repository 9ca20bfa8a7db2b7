"""CPU of the operator for an event of a watch: python -m bench.operator_watch --json.

A server of its own process tells changes of pods over TLS at a steady rate; a session of the operator reads
them into the cache. The peer reads each event when it comes, which is what a watch of systems does; others
gather what comes within `cluster.GATHER_S`. Each event tells when it was sent, so how late one is read is
measured too; the goal of that is the time of gathering and 50 ms.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import trustme
from aiohttp import web
from bench.harness import Row, run
from bench.operator_cache import objects_of_one

from qts_operator import cluster
from qts_operator.cluster import PODS, Cluster
from qts_operator.metrics import Metrics
from qts_operator.session import Access, Session
from qts_operator.view import View

RATES = (20, 100, 400)  # events a second
SECONDS, SMOKE_S = 5, 1
AT_ONCE, SLACK_MS = "read at once", 50.0


class Heard(NamedTuple):
    """What reading took."""

    cpu_us: float  # an event
    late_ms: float  # the most
    whole: bool  # every event was read, in order


def _lines(pod: dict[str, Any]) -> Callable[[int], bytes]:
    """Return what makes the line of an event: a pod that becomes ready, and unready again."""
    metadata, status = pod["metadata"], pod["status"]

    def line(number: int) -> bytes:
        ready = {"type": "Ready", "status": str(number % 2 == 0), "lastTransitionTime": None}
        sent = {"sent": str(time.monotonic())}
        live = pod | {
            "metadata": metadata | {"resourceVersion": str(number + 1), "labels": metadata["labels"] | sent},
            "status": status | {"conditions": [ready]},
        }
        return orjson.dumps({"type": "MODIFIED", "object": live}) + b"\n"

    return line


async def _serve(folder: Path, pod: dict[str, Any], port: Connection) -> None:
    """Tell watches at the rate that they ask for, until the process is ended."""
    context, line = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), _lines(pod)
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "ca"))

    async def watch(request: web.Request) -> web.StreamResponse:
        response, asked = web.StreamResponse(), request.query
        rate, count = int(asked["rate"]), int(asked["count"])
        await response.prepare(request)
        began = time.monotonic()
        for number in range(count):
            await asyncio.sleep(began + number / rate - time.monotonic())
            await response.write(line(number))
        return response

    app = web.Application()
    app.router.add_get("/{rest:.*}", watch)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port.send(runner.addresses[0][1])
    await asyncio.Event().wait()


def _served(folder: Path, pod: dict[str, Any], port: Connection) -> None:
    asyncio.run(_serve(folder, pod, port))


async def _heard(access: Access, rate: int, seconds: int, gather_s: float) -> Heard:
    session, sink = Session(access, Metrics(), "bench"), View(lambda _: None).sink_pods()
    await session.open()
    versions, late, count = list[str](), 0.0, rate * seconds
    params = {"rate": str(rate), "count": str(count)}
    async with Cluster(session, gather_s=gather_s).watch(PODS, None, params, sink.read) as events:
        spent = time.process_time()
        async for event in events:
            metadata = event["object"]["metadata"]
            sink.put(event["object"])
            versions.append(metadata["resourceVersion"])
            late = max(late, time.monotonic() - float(metadata["labels"]["sent"]))
        spent = time.process_time() - spent
    await session.close()
    whole = versions == [str(number + 1) for number in range(count)]
    return Heard(spent / max(1, len(versions)) * 1e6, late * 1000, whole)


@cache
def _both(rate: int, seconds: int) -> tuple[Heard, Heard]:
    """Return what it took of who gathers, and of who reads at once."""
    pod = next(live for live in asyncio.run(objects_of_one()) if live["kind"] == "Pod")
    gather_s, (ours, theirs) = cluster.GATHER_S, multiprocessing.Pipe()
    with tempfile.TemporaryDirectory() as given:
        server = multiprocessing.get_context("spawn").Process(target=_served, args=(Path(given), pod, theirs))
        server.start()
        try:
            access = Access(server=f"https://127.0.0.1:{ours.recv()}", ca_file=f"{given}/ca")
            at_once = asyncio.run(_heard(access, rate, seconds, 0.0))
            return asyncio.run(_heard(access, rate, seconds, gather_s)), at_once
        finally:
            server.terminate()
            server.join()


def cpu_of(rate: int, smoke: bool) -> Row:
    """Return the CPU of an event at a rate."""
    found, other = _both(rate, SMOKE_S if smoke else SECONDS)
    title, agrees = f"{rate} events a second, CPU each", found.whole and other.whole
    return Row(title, round(found.cpu_us), "us", AT_ONCE, round(other.cpu_us), agrees=agrees)


def late_of(rate: int, smoke: bool) -> Row:
    """Return how late the latest event of a rate is read."""
    found, other = _both(rate, SMOKE_S if smoke else SECONDS)
    title, goal = f"{rate} events a second, the latest", cluster.GATHER_S * 1000 + SLACK_MS
    return Row(title, round(found.late_ms), "ms", AT_ONCE, round(other.late_ms), goal)


main = partial(run, [partial(row, rate) for rate in RATES for row in (cpu_of, late_of)], __doc__ or "")

if __name__ == "__main__":
    sys.exit(main())
