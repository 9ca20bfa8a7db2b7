"""Without a device the CPU computes, and the reason is told."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from qts_agents.kernels import gpu, nash


@pytest.fixture(autouse=True)
def back_to_the_cpu() -> None:
    gpu.use(False)


def test_a_machine_without_a_driver_does_not_load_cuda(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """gpu_acceleration true costs nothing where there is no device."""
    monkeypatch.setattr(gpu, "NODES", (tmp_path / "nvidiactl",))
    before = "numba.cuda" in sys.modules
    assert gpu.use(True) == "cpu"
    assert gpu.why() == "no NVIDIA driver on this machine"
    assert ("numba.cuda" in sys.modules) == before


def test_a_driver_that_does_not_work_is_no_reason_to_stop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A device file without a usable driver leaves the CPU, with the error as reason."""
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(gpu, "NODES", (tmp_path / "nvidiactl",))
    monkeypatch.setattr(gpu, "_smoke", lambda: (_ for _ in ()).throw(OSError("no libcuda")))
    assert gpu.use(True) == "cpu"
    assert gpu.why() in ("numba finds no usable CUDA device", "OSError: no libcuda")


def test_the_cpu_solves_every_batch_then() -> None:
    """However many games, none is meant for a device that is not in use."""
    assert not gpu.wants("nash_gpu.choose", 10**18)
    games = np.random.default_rng(0).normal(size=(2, 3, 4, 4))
    assert nash.nash_choice(*games).device == "cpu"
