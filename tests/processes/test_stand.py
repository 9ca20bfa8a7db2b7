"""What a campaign leaves behind when it is killed from outside: nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.loops import until
from tests.processes.stand import MORTAL
from tests.processes.whole import ROOT, alive

from qts_cli.sockets import free_ports

pytestmark = pytest.mark.processes
HOLDER = """
import sys, time
from pathlib import Path
from qts_cli.sockets import LOOPBACK, listens
from tests.processes.stand import Stand
stand = Stand(Path(sys.argv[1]), ("pads", "market"), (int(sys.argv[2]), int(sys.argv[3])))
stand.serve()
for _ in range(600):  # until it answers: one that is not the server yet does not know whom to die with
    if listens(LOOPBACK, stand.port):
        break
    time.sleep(0.05)
print(stand.server.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not MORTAL, reason="no setpriv here: it is in Debian's util-linux")
async def test_the_server_of_a_killed_test_ends(tmp_path: Path) -> None:
    """SIGKILL leaves no time for a handler; the kernel ends the server with its parent."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path), *map(str, free_ports(2))]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        server = int(holder.stdout.readline())
        try:
            assert alive(server)
        finally:
            holder.kill()
        await until(lambda: not alive(server))
