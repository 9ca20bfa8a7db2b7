"""Every kernel of the registry that has a device form: it runs where it should and equals the CPU's.

They run on an NVIDIA device, or on any machine under numba's simulator:
`NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1 python -m pytest -m gpu tests/gpu`.
"""

from __future__ import annotations

import numpy as np
import pytest
from tests.property.kernel_cases import CASES, flat

from qts_agents.kernels import gpu, registry
from qts_agents.kernels.registry import KERNELS, Kernel

pytestmark = pytest.mark.gpu
TABLE = [pytest.param(kernel, id=kernel.entry) for kernel in KERNELS if kernel.cuda]


@pytest.mark.parametrize("kernel", TABLE)
def test_the_device_computes_what_the_cpu_computes(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 1e-12 of a value or of 1, and the device's form is what ran.

    On the simulator the CPU's form is the numpy reference, which is held to the tolerance of its row.
    """
    near = max(gpu.TOLERANCE, kernel.tolerance) if gpu.simulated() else gpu.TOLERANCE
    module, attribute = registry.place(kernel.cuda)
    inner, calls = getattr(module, attribute), []
    monkeypatch.setattr(module, attribute, lambda *a, **k: calls.append(1) or inner(*a, **k))
    for kind in range(3):
        run = CASES[kernel.entry](np.random.default_rng([kind, 7]), kind)
        gpu.use(True, least_rows=1)
        calls.clear()
        ours = flat(run())
        assert calls, gpu.why()
        assert gpu.device() == gpu.GPU, gpu.why()
        gpu.use(False)
        for a, b in zip(ours, flat(run()), strict=True):
            np.testing.assert_allclose(a, b, rtol=near, atol=near)


@pytest.mark.parametrize("kernel", TABLE)
def test_an_error_of_the_device_costs_no_answer(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU answers the same request, the process stays there, and the reason is kept."""

    def lost(*_: object, **__: object) -> None:
        raise OSError("the device has fallen off the bus")

    module, attribute = registry.place(kernel.cuda)
    monkeypatch.setattr(module, attribute, lost)
    run = CASES[kernel.entry](np.random.default_rng(8), 0)
    ours = flat(run())
    assert gpu.device() == gpu.CPU
    assert "fallen off the bus" in gpu.why()
    for a, b in zip(ours, flat(run()), strict=True):
        np.testing.assert_array_equal(a, b)
