"""The HTTP side of the engine: probes and metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from aiohttp import web


def answer(problem: str) -> web.Response:
    """Return what a probe is told; "" is no problem."""
    return web.Response(text=problem or "ok", status=503 if problem else 200)


async def beside(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield pieces that threads make: those of ten thousand systems take half a second of the loop."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


async def serve(stack: contextlib.AsyncExitStack, host: str, port: int, routes: list[web.RouteDef]) -> None:
    """Serve `routes` until `stack` ends; port 0 serves nothing."""
    if not port:
        return
    application = web.Application()
    application.add_routes(routes)
    # a scraper that keeps its connection must not keep the process
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host, port).start()
