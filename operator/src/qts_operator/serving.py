"""The HTTP side of the engine: probes and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

from aiohttp import web

from qts_core.errors import ConfigError


def answer(problem: str) -> web.Response:
    """Return what a probe is told; "" is no problem."""
    return web.Response(text=problem or "ok", status=503 if problem else 200)


async def beside(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield pieces that threads make: those of ten thousand systems take half a second of the loop."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


def check(argument: str, host: str, port: int) -> None:
    """ConfigError that names the argument when nothing can be served there now; port 0 serves nothing."""
    try:
        if port:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            socket.create_server((host, port), family=family).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{argument}: {host}:{port} cannot be served ({why}); give another one") from None


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
