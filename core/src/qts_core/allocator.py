"""Settings of the C library's allocator that keep a long-lived process from growing, and arrays cheap."""

from __future__ import annotations

import contextlib
import ctypes
from asyncio import selector_events, sslproto

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h of glibc
THRESHOLD = 2**21 - 2**16  # bytes; less than a huge page, more than 250 numbers of each of 1,000 symbols
TLS = 2**16  # bytes; four of TLS' largest records
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


def one_heap() -> bool:
    """Let all threads share one heap; False without glibc.

    glibc gives each thread one of its own, that grows by what the busiest moment of this thread took. Threads
    that wait for the interpreter's lock hardly ever meet in the allocator.
    """
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1))
    return False


def give_back() -> bool:
    """Return free pages in the middle of the heap to the system; False without glibc, or where none were.

    By itself glibc returns those at the heap's end alone, and a long-lived block sits there soon.
    """
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).malloc_trim(0))
    return False


def short_tls_buffers() -> None:
    """Let each TLS connection read into `TLS` bytes; asyncio keeps four times as much for it."""
    sslproto.SSLProtocol.max_size = TLS
