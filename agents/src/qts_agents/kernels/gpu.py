"""A GPU for kernels that gain by one: found, checked against the CPU, given up at its first error.

Nothing here imports numba.cuda unless a device is wanted and its driver is there: the import costs a process
without one a third of a second for nothing. A launch runs in a thread of its own, so that a device that hangs
costs `PATIENCE_S` and not the answer.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

R = TypeVar("R")
NODES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))  # of the driver, on Linux and under WSL
NEVER = 2**62  # rows: what nobody has measured is computed by the CPU
TOLERANCE = 1e-12
PATIENCE_S = 0.5  # a sixth of the shortest default deadline
COMPILING_S = 120.0  # while kernels may still have to be compiled
CPU, GPU = "cpu", "cuda:0"


class _State:
    """What holds for a process."""

    device: str = CPU
    why: str = "not asked for"
    least_rows: int = NEVER
    least: ClassVar[dict[str, int]] = {}  # by form of the registry
    patience_s: float = COMPILING_S
    launches: int = 0
    waited_s: float = 0.0
    #: launches that what a thread is at may still make; without an entry as many as it likes
    allowance: ClassVar[threading.local] = threading.local()
    jobs: SimpleQueue[tuple[Callable[[], Any], SimpleQueue[Any]]] | None = None


def device() -> str:
    """Return where large batches are computed now."""
    return _State.device


def why() -> str:
    """Return in words how `device` came about."""
    return _State.why


def allow(launches: int = 1) -> None:
    """Let what this thread does next ask the device so often: an agent calls it for every message."""
    _State.allowance.left = launches


def launches() -> int:
    """Return how often this process has asked a device so far."""
    return _State.launches


def used_since(before: int) -> str:
    """Return where what was computed since `launches` told `before` came from."""
    return _State.device if _State.launches > before else CPU


def waited_s() -> float:
    """Return how many seconds this process has waited for answers of a device so far, copies included."""
    return _State.waited_s


def least_rows(form: str) -> int:
    """Return from how many rows on a form of the registry is worth the way to the device."""
    return _State.least.get(form, _State.least_rows)


def launch_from(form: str, rows: int) -> None:
    """Let a form run on the device from `rows` on."""
    _State.least[form] = rows


def settle() -> None:
    """Say that everything is compiled: from now on a device must answer within `PATIENCE_S`."""
    _State.patience_s = PATIENCE_S


def wants(form: str, rows: int) -> bool:
    """Tell whether a batch of `rows` is worth the way to the device in use; an empty one never is."""
    left: int = getattr(_State.allowance, "left", NEVER)
    return _State.device != CPU and left > 0 and rows >= max(1, least_rows(form))


def use(wanted: bool, least_rows: int = NEVER) -> str:
    """Choose the device of this process, once and before warm-up; return it.

    `least_rows` holds for forms that `launch_from` says nothing of.
    """
    _State.least_rows, _State.least, _State.patience_s = least_rows, {}, COMPILING_S
    _State.device, _State.why = (CPU, "not asked for") if not wanted else _look()
    return _State.device


def runs(form: str, rows: int, *arguments: Any, out: tuple[NDArray[Any], ...]) -> bool:
    """Let the device's form fill `out` where that is worth it; False: it is the CPU's to do."""
    if not wants(form, rows):
        return False
    module, _, name = form.partition(".")
    there = importlib.import_module(f"qts_agents.kernels.{module}")  # brings numba.cuda
    found = attempt(lambda: getattr(there, name)(*arguments, out=out))
    if found is None:
        return False
    for column, values in zip(out, found, strict=True):
        column[...] = values
    return True


def attempt(compute: Callable[[], R]) -> R | None:
    """Return what the device computes; after an error or a hang the process stays on the CPU: None."""
    _State.launches += 1
    _State.allowance.left = getattr(_State.allowance, "left", NEVER) - 1
    answer: SimpleQueue[Any] = SimpleQueue()
    begun = time.perf_counter()
    _jobs().put((compute, answer))
    try:
        found = answer.get(timeout=_State.patience_s)
    except Empty:
        _State.jobs = None  # its thread still waits for the device
        found = TimeoutError(f"no answer within {_State.patience_s:g} s")
    _State.waited_s += time.perf_counter() - begun
    if isinstance(found, Exception):
        _State.device, _State.why = CPU, f"{type(found).__name__}: {found}"
        return None
    solved: R = found
    return solved


def _jobs() -> SimpleQueue[tuple[Callable[[], Any], SimpleQueue[Any]]]:
    """Return the queue of the one thread that talks to the device."""
    if _State.jobs is None:
        _State.jobs = SimpleQueue()
        threading.Thread(target=_work, args=(_State.jobs,), name="device", daemon=True).start()
    return _State.jobs


def _work(jobs: SimpleQueue[tuple[Callable[[], Any], SimpleQueue[Any]]]) -> None:
    """Answer each job with its result or its error."""
    while True:
        compute, answer = jobs.get()
        try:
            answer.put(compute())
        except Exception as error:  # a driver's errors have no common parent; the answer must not be lost
            answer.put(error)


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
    from qts_agents.kernels.supports import supports

    choose: Any = nash.choose_on_cpu()
    batches = []
    for m in (3, 4):
        draws, pairs = np.random.default_rng(m), supports(m, 4)
        batches.append((draws.random((1, m, 4)), draws.random((1, m, 4)), pairs, len(pairs)))
    for games, solved in zip(batches, nash_gpu.choose(batches, choose), strict=True):
        for ours, theirs in zip(solved, choose(*games), strict=True):
            if not np.allclose(ours, theirs, rtol=0.0, atol=TOLERANCE):
                return CPU, f"the device's {games[0].shape[1]}x4 game differs from the CPU's"
    return GPU, "simulated by numba" if simulated() else "found and checked"
