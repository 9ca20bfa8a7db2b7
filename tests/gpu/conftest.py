"""Every test here runs on a device, or on numba's simulator of one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qts_agents.kernels import backend, gpu


@pytest.fixture(autouse=True)
def on_device() -> Iterator[None]:
    """Let batches of any size go to the device; without one there is nothing to test."""
    backend.set_jit(not gpu.simulated())
    if gpu.use(True, least_rows=1) == gpu.CPU:
        pytest.skip(gpu.why())
    yield
    gpu.use(False)
    backend.set_jit(True)
