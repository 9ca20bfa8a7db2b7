"""Large blocks keep pages of their own, also after a larger one was freed."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys
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
received = bytearray(256 << 10)  # what asyncio reads into
print(libc.mallinfo2().hblks - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
@pytest.mark.parametrize(("how", "own"), [("kept", "1"), ("left", "0")])
def test_a_receive_buffer_has_pages_of_its_own_after_a_table_was_freed(how: str, own: str) -> None:
    """Without the setting it comes from the heap, which is what let processes grow."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == own
