"""Waiting for a store's answer without falling asleep, and going on where it is none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

from qts_agents.context import Context
from qts_core.errors import LocalError, UnkeptError

AWAKE_S = 0.002


async def awake(storing: Awaitable[object]) -> None:
    """Wait for the store's answer, awake for a moment.

    It tells all readers of a decision before it answers who stored it, and who sleeps meanwhile gets a core
    after all of them.
    """
    answer, until_s = asyncio.ensure_future(storing), time.monotonic() + AWAKE_S
    try:
        while not answer.done() and time.monotonic() < until_s:
            await asyncio.sleep(0)
        await answer
    finally:
        answer.cancel()


async def stored(context: Context, storing: Awaitable[object]) -> None:
    """Wait until a message is stored; one that is stored nowhere has gone to who listens, and is told."""
    troubles = context.health.troubles
    try:
        await storing
    except LocalError as error:
        if "store" not in troubles:
            context.log.error("not_stored", error=str(error))
        troubles["store"] = f"{error}; what is told reaches who listens now, and nobody later"
    else:
        if troubles.pop("store", None):
            context.log.info("stored_again")


async def secured(storing: Awaitable[bytes]) -> bytes:
    """Return the id of a message that is stored; UnkeptError where it is stored nowhere."""
    try:
        return await storing
    except LocalError as error:
        raise UnkeptError(str(error)) from error
