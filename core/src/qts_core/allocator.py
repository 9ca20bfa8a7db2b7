"""Settings of the C library's allocator that keep a long-lived process from growing, and arrays cheap."""

from __future__ import annotations

import contextlib
import ctypes
from asyncio import selector_events

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
THRESHOLD = 2**21 - 2**16  # bytes; less than a huge page, more than 250 numbers of each of 1,000 symbols
KEPT = 2**25  # free bytes at the end of a heap that are not given back


def keep_threshold() -> bool:
    """Let every block of `THRESHOLD` or more have pages of its own, for ever; False without glibc.

    glibc raises this threshold when it first frees a larger block, a grown table for example. From then on
    the buffers into which asyncio reads come from the heap: each leaves a hole behind, small blocks settle in
    the holes, the next buffer finds none that is whole, and the heap grows although nearly all of it is
    free. Source: mallopt(3), "dynamic mmap threshold".

    Where glibc begins, at 128 KiB, each array of 1,000 symbols would be pages of its own too, taken from the
    kernel one by one at every step: eight times the cost of adding to it. So the threshold lies above them,
    and asyncio reads into buffers of that size, as none of 256 KiB has pages of its own any more.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        if libc.mallopt(M_MMAP_THRESHOLD, THRESHOLD) and libc.mallopt(M_TRIM_THRESHOLD, KEPT):
            selector_events._SelectorTransport.max_size = THRESHOLD  # type: ignore[attr-defined]
            return True
    return False
