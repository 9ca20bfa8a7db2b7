"""Games and pools on the device: batches of none, of one, of more than a block; odd sizes; degenerate payoffs.

On the simulator the CPU's own driver runs uncompiled, from the same source as the device's: they must agree to the
bit where they share it. On a device they agree within its tolerance. `test_kernels_gpu` says how to run them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.property.kernel_cases import flat

from qts_agents.kernels import backend, ewa, ewl, gpu, lemke_howson, pool, prospect, qre, registry, replicator

pytestmark = pytest.mark.gpu
Draws = np.random.Generator
Made = Callable[[Draws, int], Callable[[], Any]]
BLOCK = 64
TOLERANCES = {kernel.entry: max(kernel.tolerance, gpu.TOLERANCE) for kernel in registry.KERNELS}


def payoffs(draws: Draws, *shape: int) -> np.ndarray:
    """Return payoffs of which some games tie and the second is constant."""
    values = draws.integers(0, 3, shape).astype(float)
    values[::2] += draws.random(values[::2].shape)
    values[1:2] = 7.0
    return values


def two(m: int, n: int, call: Callable[..., Any]) -> Made:
    """Return how to call what takes both sides' payoffs in m×n games."""

    def made(draws: Draws, rows: int) -> Callable[[], Any]:
        a, b = payoffs(draws, rows, m, n), payoffs(draws, rows, m, n)
        return lambda: call(draws, a, b)

    return made


def learned(m: int, n: int, length: int) -> Made:
    def made(draws: Draws, rows: int) -> Callable[[], Any]:
        u, own, seen = payoffs(draws, rows, m, n), *(draws.integers(-1, k, (rows, length)) for k in (m, n))
        return lambda: ewa.ewa(u, own, seen)

    return made


def matched(m: int, n: int) -> Made:
    def made(draws: Draws, rows: int) -> Callable[[], Any]:
        a, b, uniform = payoffs(draws, rows, m, n), payoffs(draws, rows, m, n), draws.random((rows, 20, 2))
        return lambda: ewa.regret_match(a, b, uniform)

    return made


def flowed(m: int, n: int) -> Made:
    def made(draws: Draws, rows: int) -> Callable[[], Any]:
        a, b = payoffs(draws, rows, m, n), payoffs(draws, rows, m, n)
        x, y = draws.dirichlet(np.ones(m), rows), draws.dirichlet(np.ones(n), rows)
        x[:1] = np.eye(m)[0]  # the others are extinct
        return lambda: replicator.replicate(a, b, x, y, 0.3, 6)

    return made


def answered(n: int) -> Made:
    def made(draws: Draws, rows: int) -> Callable[[], Any]:
        payoff = payoffs(draws, rows, 3, n, n, n)
        return lambda: qre.qre(payoff, 0.3)

    return made


def entangled(qubits: int, gamma: float) -> Made:
    def made(draws: Draws, rows: int) -> Callable[[], Any]:
        a, b = payoffs(draws, 2, 1 << qubits, 1 << qubits)
        angles = draws.uniform(0.0, 3.0, (rows, 2, 2 * qubits))
        return lambda: ewl.ewl(angles, gamma, a, b)

    return made


def dilemmas(gamma: float) -> Made:
    def made(_: Draws, rows: int) -> Callable[[], Any]:
        a = np.tile([[3.0, 0.0], [5.0, 1.0]], (rows, 1, 1))
        a[1:] = 1.0
        return lambda: ewl.play(a, a.transpose(0, 2, 1), gamma)

    return made


def pooled(opinions: int) -> Made:
    def made(draws: Draws, rows: int) -> Callable[[], Any]:
        pi, omega = draws.dirichlet(np.ones(3), (rows, opinions)), draws.random((rows, opinions))
        pi[::3, 0], omega[::4, 0], pi[1:2], prior = (
            np.nan,
            0.0,
            (1.0, 0.0, 0.0),
            draws.dirichlet(np.ones(3), rows),
        )
        return lambda: pool.lmsr_pool(pi, omega, prior, 50.0, 0.1)

    return made


def felt(draws: Draws, rows: int) -> Callable[[], Any]:
    p, stakes = draws.dirichlet(np.ones(3), rows), draws.random((3, rows))
    p[:1], p[3:4], p[4:5, 1], stakes[:, 2:3] = (0.0, 0.0, 1.0), np.nan, np.nan, 0.0
    return lambda: prospect.prospect_value(p, stakes[0], 0.002, stakes[2])


def one(label: int) -> Callable[..., Any]:
    """Return the equilibrium that a label leads to."""
    return lambda _, a, b: lemke_howson.nash_one(a, b, label)


#: entry, sizes → how a batch of so many rows is made; those who are slow on the simulator play few games
FEW, MANY = (1, 2), (1, BLOCK + 1)
BATCHES: list[tuple[str, str, Made, tuple[int, ...]]] = [
    *(("ewa.ewa", f"{m}x{n}", learned(m, n, 9), MANY) for m, n in ((1, 1), (3, 5))),
    *(("ewa.regret_match", f"{m}x{n}", matched(m, n), (1, 3)) for m, n in ((1, 1), (1, 3), (3, 2))),
    *(("replicator.replicate", f"{m}x{n}", flowed(m, n), MANY) for m, n in ((1, 1), (2, 3))),
    *(("qre.qre", str(n), answered(n), FEW) for n in (1, 2)),
    *(("ewl.ewl", f"{q} qubits", entangled(q, 0.4 * q), (1, 5)) for q in (1, 2, 3)),
    ("ewl.play", "dilemma", dilemmas(np.pi / 2), FEW),
    *(("lemke_howson.nash_one", f"{m}x{n}", two(m, n, one(m)), MANY) for m, n in ((1, 1), (1, 5), (5, 2))),
    *(("pool.lmsr_pool", f"of {n}", pooled(n), MANY) for n in (1, 5)),
    ("prospect.prospect_value", "", felt, MANY),
]
TABLE = [pytest.param(entry, made, rows, id=f"{entry} {size}".strip()) for entry, size, made, rows in BATCHES]
SHARED = {kernel.entry for kernel in registry.KERNELS if kernel.cpu}


def test_every_game_that_a_device_may_play_is_here() -> None:
    """All but the choice among equilibria, which has a file of its own."""
    games = ("ewa.", "ewl.", "lemke", "pool.", "prospect.", "qre.", "replicator.")
    asked = {kernel.entry for kernel in registry.KERNELS if kernel.cuda and kernel.entry.startswith(games)}
    assert asked == {entry for entry, *_ in BATCHES}


@pytest.mark.parametrize(("entry", "made", "sizes"), TABLE)
def test_a_batch_takes_one_launch_and_has_the_cpus_answer(
    entry: str, made: Made, sizes: tuple[int, ...]
) -> None:
    """And the reference's, within the tolerance of the table."""
    for rows in sizes:
        run, before = made(np.random.default_rng([rows, 5]), rows), gpu.launches()
        ours = flat(run())
        assert (gpu.launches() - before, gpu.device()) == (1, gpu.GPU), gpu.why()
        gpu.use(False)
        for jit in (True, False):
            backend.set_jit(jit)
            exact = jit and gpu.simulated() and entry in SHARED
            near = 0.0 if exact else TOLERANCES[entry] if gpu.simulated() or not jit else gpu.TOLERANCE
            for a, b in zip(ours, flat(run()), strict=True):
                np.testing.assert_allclose(a, b, rtol=near, atol=near, err_msg=f"{rows} rows, jit {jit}")
        backend.set_jit(not gpu.simulated())
        gpu.use(True, least_rows=1)


@pytest.mark.parametrize(("entry", "made", "sizes"), TABLE)
def test_an_empty_batch_asks_nobody(entry: str, made: Made, sizes: tuple[int, ...]) -> None:
    """Also where a device would be worth it from the first row on: its answer is as empty as the CPU's."""
    del entry, sizes
    gpu.use(True, least_rows=0)
    run, before = made(np.random.default_rng(5), 0), gpu.launches()
    ours = flat(run())
    assert gpu.launches() == before
    shapes = [part.shape for part in ours]
    assert all(0 in shape for shape in shapes)
    backend.set_jit(not backend.jit_enabled())
    assert [part.shape for part in flat(run())] == shapes
