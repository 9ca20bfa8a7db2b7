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


HEAPS = """
import ctypes, sys, threading
from qts_core.allocator import one_heap

if sys.argv[1] == "one":
    assert one_heap()
begun, hold = threading.Barrier(5), threading.Event()
def work():
    held = ctypes.CDLL(None).malloc(5000)
    begun.wait()
    hold.wait()
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
begun.wait()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = libc.fdopen(1, b"w")
libc.malloc_info(0, ctypes.c_void_p(out))
libc.fflush(ctypes.c_void_p(out))
hold.set()
"""

HOLES = """
from pathlib import Path
from qts_core.allocator import give_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

blocks = [bytearray(5000) for _ in range(10_000)]
for block in blocks:
    block[:] = b"x" * 5000
end = blocks[-1]
full = resident()
blocks.clear()
left = resident()
assert give_back()
print(full - left < 10_000_000 < 40_000_000 < left - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
@pytest.mark.parametrize(("how", "many"), [("one", False), ("each", True)])
def test_threads_share_a_heap(how: str, many: bool) -> None:
    told = subprocess.run([sys.executable, "-c", HEAPS, how], capture_output=True, text=True, check=True)
    assert (told.stdout.count("<heap nr") > 1) == many


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_holes_in_the_heap_are_given_back() -> None:
    """Fifty megabytes below one block that lives."""
    assert run(HOLES) == "True"


def test_a_tls_connection_reads_into_a_short_buffer() -> None:
    """A version of asyncio that sizes its buffers otherwise would bring 256 KiB a connection back."""
    program = """
import asyncio, ssl
from asyncio import sslproto
from qts_core.allocator import TLS, short_tls_buffers

async def main():
    loop, waiter = asyncio.get_running_loop(), None
    connection = sslproto.SSLProtocol(loop, asyncio.Protocol(), ssl.create_default_context(), waiter)
    print(len(connection.get_buffer(-1)) == TLS)

short_tls_buffers()
asyncio.run(main())
"""
    assert run(program) == "True"
