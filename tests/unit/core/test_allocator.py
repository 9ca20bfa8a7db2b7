"""Receive buffers keep pages of their own, also after a larger block was freed; arrays do not take any."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys
from asyncio import selector_events
from qts_core.allocator import keep_threshold

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
if sys.argv[1] == "kept":
    assert keep_threshold()
table = bytearray(8 << 20)
del table  # glibc takes from here on blocks of up to 8 MiB from the heap
before = libc.mallinfo2().hblks
received = bytearray(selector_events._SelectorTransport.max_size)  # what asyncio reads into
print(libc.mallinfo2().hblks - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
@pytest.mark.parametrize(("how", "own"), [("kept", "1"), ("left", "0")])
def test_a_receive_buffer_has_pages_of_its_own_after_a_table_was_freed(how: str, own: str) -> None:
    """Without the setting it comes from the heap, which is what let processes grow."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == own


READ = """
import asyncio
from qts_core.allocator import THRESHOLD, keep_threshold

async def most():
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    return writer.transport.max_size

async def main():
    global port
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(await most() == THRESHOLD)

assert keep_threshold()
asyncio.run(main())
"""

FAULTS = """
import resource, sys
import numpy as np
from qts_core.allocator import keep_threshold

assert keep_threshold()
numbers = np.ones((1_000, 250))
for _ in range(5):
    numbers + 1.0
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    numbers + 1.0
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_connections_read_into_buffers_of_that_size() -> None:
    """A version of asyncio that sizes its buffers otherwise would bring the holes back."""
    assert run(READ) == "True"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_arrays_of_a_thousand_symbols_use_their_memory_again() -> None:
    """Fifty sums of two megabytes each would be 24,000 pages taken anew."""
    assert int(run(FAULTS)) < 1_000
