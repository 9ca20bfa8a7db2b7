"""One setting of the C library's allocator that keeps a long-lived process from growing."""

from __future__ import annotations

import contextlib
import ctypes

M_MMAP_THRESHOLD = -3  # malloc.h of glibc
THRESHOLD = 131_072  # bytes; where glibc begins


def keep_threshold() -> bool:
    """Let every block of 128 KiB or more have pages of its own, for ever; False without glibc.

    glibc raises this threshold when it first frees a larger block, a grown table for example. From then on
    the buffers of 256 KiB into which asyncio reads come from the heap: each leaves a hole behind, small
    blocks settle in the holes, the next buffer finds none that is whole, and the heap grows although nearly
    all of it is free. Source: mallopt(3), "dynamic mmap threshold".
    """
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, THRESHOLD))
    return False
