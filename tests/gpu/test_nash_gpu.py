"""Games on the device: ties, games left to the CPU, and the agent that plays them.

They run on an NVIDIA device, or on any machine under numba's simulator:
`NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1 python -m pytest -m gpu tests/gpu`.
"""

from __future__ import annotations

import numpy as np
import pytest
from tests.property import markets

from qts_agents.columns import array
from qts_agents.kernels import backend, gpu, nash
from qts_agents.qbmia.agent import Qbmia
from qts_core.spec import SYSTEM

pytestmark = pytest.mark.gpu


def both(a: np.ndarray, b: np.ndarray) -> tuple[nash.Choice, nash.Choice]:
    """Return the choice on the device and on the CPU."""
    gpu.use(True, least_rows=1)
    ours = nash.nash_choice(a, b)
    gpu.use(False)
    return ours, nash.nash_choice(a, b)


@pytest.mark.parametrize("shape", [(3, 4), (4, 4), (2, 2)])
def test_the_device_chooses_what_the_cpu_chooses_where_payoffs_tie(shape: tuple[int, int]) -> None:
    """Strategies, counts and regrets agree to 1e-12."""
    draws = np.random.default_rng(shape[0])
    a, b = (draws.integers(0, 3, (70, *shape)).astype(float) for _ in range(2))
    ours, theirs = both(a, b)
    assert (ours.device, theirs.device) == (gpu.GPU, gpu.CPU)
    assert (ours.count == theirs.count).all()
    for name in ("x", "y", "regret"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=0.0, atol=1e-12)


def test_a_game_without_equal_supports_is_left_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where enumeration finds nothing the CPU's answer is filled in, row by row."""
    draws = np.random.default_rng(5)
    a, b = draws.normal(size=(2, 6, 3, 4))
    monkeypatch.setattr(nash, "TOLERANCE", 2.0)  # no mixture is good enough
    monkeypatch.setattr(nash, "choose_on_cpu", lambda: lambda a, b, *_: (
        np.full((len(a), 3), 0.25), np.full((len(a), 4), 0.5), np.ones(len(a), np.int64), np.zeros(len(a))
    ))  # fmt: skip
    if not gpu.simulated():
        pytest.skip("a compiled kernel does not see a changed constant")
    got = nash.nash_choice(a, b)
    assert got.device == gpu.GPU
    assert (got.x == 0.25).all()
    assert (got.count == 1).all()


def test_gpu_acceleration_moves_the_agents_games() -> None:
    """The same opinion either way, and the device it was made on stands in it."""
    tape = markets.synthetic(11, symbols=2, bars=420)
    settings = SYSTEM(quantum_circuits=False, numba_jit=backend.jit_enabled())
    said = {}
    for wanted in (True, False):
        gpu.use(wanted, least_rows=1)
        said[wanted] = markets.ask(Qbmia(settings), tape, 400)
    assert (said[True].device, said[False].device) == ("cuda:0", "cpu")
    np.testing.assert_allclose(array(said[True].p), array(said[False].p), rtol=0.0, atol=1e-12)
