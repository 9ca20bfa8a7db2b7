"""Waiting inside a loop, which goes on meanwhile; tests/waiting.py waits for what is elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(check: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for a fact; AssertionError when it does not come in so many seconds of waiting."""
    for _ in range(int(seconds / 0.01)):
        if check():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within {seconds:g} s")
