"""What a device's fused multiply-add does to games and pools: python -m bench.contraction --json.

A CUDA compiler fuses a·b+c into one rounding, numba's for the CPU does not. Here the CPU's kernels are
compiled a second time with leave to fuse, and each answer is compared: a row holds the largest difference of
a value, relative to it where it is above 1. It needs no device, and says nothing of a device's own exp, log
and pow. 1 if a kernel is off by more than `gpu.TOLERANCE`.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

GAMES, FUSED = 200, "fused"


def answers() -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
    """Yield what each kernel computes on made-up games."""
    from qts_agents.kernels import ewa, ewl, lemke_howson, pool, qre, replicator

    draws = np.random.default_rng(1)
    a, b = draws.normal(size=(2, GAMES, 4, 4))
    x, y = draws.dirichlet(np.ones(4), (2, GAMES))
    solved, pi = lemke_howson.nash_one(a, b), draws.dirichlet(np.ones(3), (GAMES, 5))
    yield "lemke_howson.nash_one", (solved.x, solved.y)
    yield "replicator.replicate", replicator.replicate(a / 8.0, b / 8.0, x, y, 100.0, 400)
    yield "ewa.ewa", (ewa.ewa(a, *draws.integers(-1, 4, (2, GAMES, 150))),)
    yield "ewa.regret_match", (ewa.regret_match(a, b, draws.random((GAMES, 1000, 2))),)
    yield "qre.qre", (qre.qre(draws.random((GAMES, 3, 4, 4, 4)), 50.0).mix,)
    played = ewl.play(a, b, 1.1)
    yield "ewl.play", (played.joint, played.payoff, played.regret)
    yield "ewl.ewl", ewl.ewl(draws.uniform(0.0, 3.0, (GAMES, 2, 4)), 1.1, a[0], b[0])
    pooled = pool.lmsr_pool(pi, draws.random((GAMES, 5)), draws.dirichlet(np.ones(3), GAMES), 50.0)
    yield "pool.lmsr_pool", (pooled.p, pooled.dissent, pooled.share, pooled.leave_one_out, pooled.q)


def fuse() -> None:
    """Give every kernel that is imported from now on leave to fuse."""
    import numba
    import numba.extending

    def free(compile_: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given, **options: compile_(*given, **{**options, "fastmath": {"contract"}})

    numba.njit = free(numba.njit)
    numba.extending.register_jitable = free(numba.extending.register_jitable)


def computed(*way: str) -> dict[str, tuple[np.ndarray, ...]]:
    """Return the answers of a process of its own with a cache of its own."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "NUMBA_CACHE_DIR": folder}
        told = subprocess.run(
            [sys.executable, "-m", "bench.contraction", "--answers", *way],
            env=env,
            check=True,
            stdout=subprocess.PIPE,
        )
    found: dict[str, tuple[np.ndarray, ...]] = pickle.loads(told.stdout)
    return found


def main() -> int:
    """Compare and print."""
    if "--answers" in sys.argv:
        if FUSED in sys.argv:
            fuse()
        sys.stdout.buffer.write(pickle.dumps(dict(answers())))
        return 0
    from qts_agents.kernels.gpu import TOLERANCE

    whole, fused, off = computed(), computed(FUSED), 0.0
    for entry, parts in whole.items():
        pairs = list(zip(parts, fused[entry], strict=True))
        worst = max(float(np.nanmax(np.abs(p - q) / np.maximum(1.0, np.abs(p)))) for p, q in pairs)
        same = all(np.array_equal(p, q, equal_nan=True) for p, q in pairs)
        row = {"figure": f"{entry}, fused", "value": worst, "unit": "of a value", "same_bits": same}
        sys.stdout.write(json.dumps(row) + "\n")
        off = max(off, worst)
    return int(off > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
