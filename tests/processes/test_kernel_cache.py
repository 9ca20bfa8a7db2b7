"""The kernels' cache under a random user on a read-only root: filled, used again, and done without."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]
USER = 12_345
PROGRAM = """
import json, os, sys
import numpy as np
from qts_agents.kernels import backend, pool
pool.warm_up()
third = np.full((1, 1, 3), 1 / 3)
stats = [kernel.stats for kernel in backend.KERNELS.values() if kernel.signatures]
try:
    open(sys.argv[1], "w")
    writable = True
except OSError:
    writable = False
print(json.dumps({
    "uid": os.getuid(), "writable": writable,
    "hits": sum(sum(s.cache_hits.values()) for s in stats),
    "misses": sum(sum(s.cache_misses.values()) for s in stats),
    "p": pool.lmsr_pool(third, np.ones((1, 1)), third[0], 50.0).p.tolist(),
}))
"""


def confined(cache: Path | None, folder: Path) -> dict[str, Any]:
    """Run PROGRAM as USER where everything but `folder` is read-only."""
    here = Path(__file__).parents[2]
    steps = f"mount --bind {folder} {folder} && mount -o remount,bind,ro /"
    place = f"NUMBA_CACHE_DIR={cache}" if cache is not None else "QTS_NONE=1"
    run = f'exec env -u NUMBA_CACHE_DIR HOME=/nonexistent {place} {sys.executable} -c "$1" "$2"'
    command = ["unshare", "--user", "--mount", f"--map-user={USER}", "--keep-caps", "sh", "-c"]
    drop = 'exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all sh -c "$3" sh "$1" "$2"'
    command += [f"{steps} && {drop}", "sh", PROGRAM, str(here / "forbidden"), run]
    ended = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


def missing() -> str:
    """Return why a process cannot be confined here; empty when it can."""
    for tool in ("unshare", "setpriv"):
        if shutil.which(tool) is None:
            return f"no {tool} on this machine"
    tried = subprocess.run(
        ["unshare", "--user", "--mount", f"--map-user={USER}", "--keep-caps", "mount", "-o", "remount,bind,ro", "/"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return f"no namespaces for this user: {tried.stderr.strip()}" if tried.returncode else ""


def test_a_random_user_on_a_read_only_root(tmp_path: Path) -> None:
    """A cold cache is filled, a warm one compiles nothing, and without a place for one the answer is the same."""
    if why := missing():
        pytest.skip(why)
    cache = tmp_path / "cache"
    cache.mkdir()
    cold, warm = confined(cache, tmp_path), confined(cache, tmp_path)
    without = confined(None, tmp_path)
    assert [one["uid"] for one in (cold, warm, without)] == [USER] * 3
    assert [one["writable"] for one in (cold, warm, without)] == [False] * 3
    assert (cold["hits"], cold["misses"] > 0) == (0, True)
    assert (warm["hits"] > 0, warm["misses"]) == (True, 0)  # parts that were inlined are not asked for
    assert list(cache.rglob("*.nbc"))
    assert cold["p"] == warm["p"] == without["p"]
