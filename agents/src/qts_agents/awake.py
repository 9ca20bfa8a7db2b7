"""Waiting for a store's answer without falling asleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

AWAKE_S = 0.002


async def awake(storing: Awaitable[object]) -> None:
    """Wait for the store's answer, awake for a moment.

    It tells all readers of a decision before it answers who stored it, and who sleeps meanwhile gets a core
    after all of them.
    """
    stored, until_s = asyncio.ensure_future(storing), time.monotonic() + AWAKE_S
    try:
        while not stored.done() and time.monotonic() < until_s:
            await asyncio.sleep(0)
        await stored
    finally:
        stored.cancel()
