"""A GPU for kernels that gain by one: found, checked against the CPU, given up at its first error.

Nothing here imports numba.cuda unless a device is wanted and its driver is there: the import costs a process
without one a third of a second for nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

R = TypeVar("R")
NODES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))  # of the driver, on Linux and under WSL
LEAST_ROWS = 1024  # below, the transfer costs more; to be replaced by a measured crossover
TOLERANCE = 1e-12
CPU, GPU = "cpu", "cuda:0"


class _State:
    """What holds for a process."""

    device: str = CPU
    why: str = "not asked for"
    least_rows: int = LEAST_ROWS


def device() -> str:
    """Return where large batches are computed now."""
    return _State.device


def why() -> str:
    """Return in words how `device` came about."""
    return _State.why


def wants(rows: int) -> bool:
    """Tell whether a batch of `rows` is worth the way to the device in use."""
    return _State.device != CPU and rows >= _State.least_rows


def use(wanted: bool, least_rows: int = LEAST_ROWS) -> str:
    """Choose the device of this process, once and before warm-up; return it."""
    _State.least_rows = least_rows
    _State.device, _State.why = (CPU, "not asked for") if not wanted else _look()
    return _State.device


def attempt(compute: Callable[[], R]) -> R | None:
    """Return what the device computes; after an error the process stays on the CPU, and this is None."""
    try:
        return compute()
    except Exception as error:  # a driver's errors have no common parent; the answer must not be lost
        _State.device, _State.why = CPU, f"{type(error).__name__}: {error}"
        return None


def simulated() -> bool:
    """Tell whether numba's simulator stands in for the device."""
    settings: Any = importlib.import_module("numba").config
    return bool(settings.ENABLE_CUDASIM)


def _look() -> tuple[str, str]:
    """Find a device and let it solve what the CPU solves too."""
    if not simulated() and not any(node.exists() for node in NODES):
        return CPU, "no NVIDIA driver on this machine"
    try:
        cuda: Any = importlib.import_module("numba.cuda")  # it carries no types
        if not cuda.is_available():
            return CPU, "numba finds no usable CUDA device"
        return _smoke()
    except Exception as error:  # a driver's errors have no common parent; without a device there is the CPU
        return CPU, f"{type(error).__name__}: {error}"


def _smoke() -> tuple[str, str]:
    """Compare a device with the CPU on one game of each shape that agents play."""
    from qts_agents.kernels import nash, nash_gpu

    choose: Any = nash.choose_on_cpu()
    for m in (3, 4):
        draws = np.random.default_rng(m)
        pairs = nash.supports(m, 4)
        games = (draws.random((1, m, 4)), draws.random((1, m, 4)), pairs, len(pairs))
        for ours, theirs in zip(nash_gpu.choose(*games, choose), choose(*games), strict=True):
            if not np.allclose(ours, theirs, rtol=0.0, atol=TOLERANCE):
                return CPU, f"the device's {m}x4 game differs from the CPU's"
    return GPU, "simulated by numba" if simulated() else "found and checked"
