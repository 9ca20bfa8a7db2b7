"""What a pod of any image may answer where its status is asked for: none of it reaches the operator's memory."""

from __future__ import annotations

import gzip

import aiohttp
import pytest
from aiohttp import web

from qts_core import names
from qts_core.probes import Status
from qts_operator.statusz import LONGEST, Answers

ADDRESS = "127.0.79.9"
GOOD = b'{"agent": "pads"}'


class Even:
    """Dice that show the middle."""

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2


async def _asked(body: bytes, status: int = 200, **headers: str) -> tuple[Status | None, list[str]]:
    """Return what is made of an answer, and which paths were asked for."""
    paths: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        paths.append(request.path)
        good = request.path != names.PATH_STATUS
        return web.Response(body=GOOD if good else body, status=200 if good else status, headers=headers)

    application = web.Application()
    application.router.add_get("/{any:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, ADDRESS, names.PORT_HTTP).start()
        async with aiohttp.ClientSession(auto_decompress=False) as http:
            asker = Answers(http, lambda _: None, Even(), lambda: True)
            return await asker._get(ADDRESS), paths
    finally:
        await runner.cleanup()


async def test_a_status_is_read() -> None:
    """The others below differ from it in one thing each."""
    told, _ = await _asked(GOOD)
    assert told is not None
    assert told.agent == "pads"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (gzip.compress(b" " * 50_000_000 + GOOD), {"Content-Encoding": "gzip"}),
        (b" " * LONGEST + GOOD, {}),
        (b"[" * 60_000, {}),
        (b'{"agent": "pads", "board": {"a":' + b"[" * 50_000, {}),
        (b"", {}),
    ],
)
async def test_an_answer_that_is_none_counts_as_silence(body: bytes, headers: dict[str, str]) -> None:
    """Huge once it is inflated, too long, or nested without an end: asked again later, as a pod that is away."""
    assert (await _asked(body, **headers))[0] is None


async def test_no_answer_sends_the_operator_elsewhere() -> None:
    """It may reach what the pod may not."""
    told, paths = await _asked(b"", 302, Location=f"http://{ADDRESS}:{names.PORT_HTTP}/elsewhere")
    assert (told, paths) == (None, [names.PATH_STATUS])
