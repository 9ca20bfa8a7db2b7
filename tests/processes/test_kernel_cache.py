"""The kernels' cache under a random user on a read-only root: filled, used again, and done without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qts_agents import baked

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]
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


def confined(
    cache: Path | None, folder: Path, program: str = PROGRAM, more: str = "QTS_NONE=1"
) -> dict[str, Any]:
    """Run `program` as USER where everything but `folder` is read-only."""
    here = Path(__file__).parents[2]
    steps = f"mount --bind {folder} {folder} && mount -o remount,bind,ro /"
    place = f"NUMBA_CACHE_DIR={cache}" if cache is not None else "QTS_NONE=1"
    run = f'exec env -u NUMBA_CACHE_DIR HOME=/nonexistent {place} {more} {sys.executable} -c "$1" "$2"'
    command = ["unshare", "--user", "--mount", f"--map-user={USER}", "--keep-caps", "sh", "-c"]
    drop = 'exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all sh -c "$3" sh "$1" "$2"'
    command += [f"{steps} && {drop}", "sh", program, str(here / "forbidden"), run]
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


BAKED = """
import os, sys
from qts_agents import baked
os.environ.update(baked.prepare(os.environ, os.environ["QTS_KERNELS"], os.environ["NUMBA_CACHE_DIR"]))
import json
from numba.core.registry import cpu_target
from qts_agents.amos.agent import Amos
from qts_agents.kernels import backend
from qts_core.spec import SYSTEM
Amos(SYSTEM()).warm_up()
stats = [kernel.stats for kernel in backend.KERNELS.values() if kernel.signatures]
print(json.dumps({
    "uid": os.getuid(),
    "writable": os.access(os.environ["QTS_KERNELS"], os.W_OK),
    "hits": sum(sum(s.cache_hits.values()) for s in stats),
    "misses": sum(sum(s.cache_misses.values()) for s in stats),
    "target": list(cpu_target.target_context.codegen().magic_tuple())[1:],
}))
"""


def test_an_images_kernels_are_used_by_a_random_user_on_a_read_only_root(tmp_path: Path) -> None:
    """What the build compiled for x86-64-v3 is all that an agent needs: nothing is compiled at its start."""
    if not baked.target({}, baked.processor()):
        pytest.skip(f"this processor is not {baked.LEVEL}")
    if why := missing():
        pytest.skip(why)
    image, cache = tmp_path / "image", tmp_path / "cache"
    built = subprocess.run(
        [sys.executable, "-m", "qts_agents.baked", str(image), "amos"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"files for {baked.LEVEL}" in built.stdout
    assert list(image.rglob("*.lock")) == []
    cache.mkdir()
    for path in image.rglob("*"):  # as layers of an image have it
        os.utime(path, (0, 0))
    started = confined(cache, cache, BAKED, f"QTS_KERNELS={image}")
    assert (started["uid"], started["writable"]) == (USER, False)
    assert started["target"] == [baked.LEVEL, baked.TARGET["NUMBA_CPU_FEATURES"]]
    assert (started["hits"] > 0, started["misses"]) == (True, 0)
