"""Which backend computes a batch: one thread, several, or a device; measured once on this machine and used.

For each kernel that can go more than one way, calls on made-up rows of growing number are timed each way, the
best of a few, and the least number is kept from which one way stays ahead at all larger ones. What a choice
decides is when an answer comes, not what it is: threads change no bit, a device at most 1e-12 of a value.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numba.core import config as numba_config

from qts_agents.kernels import backend, gpu, registry
from qts_agents.kernels.made import MADE, SHARED, Call

SIZES = (16, 64, 256, 1024, 4096)
REPEATS = 3
LONG_S = 0.01  # a call that takes longer is not repeated, nor are larger ones tried
ENOUGH_S = 0.1  # what takes one thread longer has shown by then whether another way is worth it
NEVER = gpu.NEVER


class Least(msgspec.Struct, frozen=True):
    """The least rows from which an entry goes to several threads, and to the device; NEVER: not at all."""

    threads: int = NEVER
    device: int = NEVER


class Timing(msgspec.Struct, frozen=True):
    """Seconds of one call on so many rows, by way; infinite where there is no such way."""

    rows: int
    one: float
    threads: float
    device: float


FORMS = {kernel.entry: kernel for kernel in registry.KERNELS if kernel.entry in MADE}


def compiled() -> list[str]:
    """Return the entries with a choice that this process may be asked for: it has compiled or loaded them.

    Where there is no device, what only a device could share is not even imported.
    """
    there = gpu.device() != gpu.CPU
    return [entry for entry in FORMS if (there or entry in SHARED) and _in_use(FORMS[entry].cpu)]


def _in_use(form: str) -> bool:
    """Tell whether a form was compiled; of one by numpy alone nobody can tell."""
    return not form or bool(getattr(registry.resolve(form), "signatures", ()))


def timings(entry: str, sizes: Iterable[int] = SIZES) -> list[Timing]:
    """Time an entry each way on batches of growing size, until one takes longer than `LONG_S` every way."""
    found, form = [], FORMS[entry].cuda
    held = backend.least_rows(entry), gpu.least_rows(form)

    def taken(rows: int, threads: int, device: int) -> float:
        backend.share_from(entry, threads)
        gpu.launch_from(form, device)
        best = _best(MADE[entry](rows))
        return best if device == NEVER or gpu.device() != gpu.CPU else np.inf  # given up on the way

    for rows in sizes:
        one = taken(rows, NEVER, NEVER)
        shared = entry in SHARED and backend.thread_count() > 1
        threads = taken(rows, 0, NEVER) if shared else np.inf
        device = taken(rows, NEVER, 0) if gpu.device() != gpu.CPU else np.inf
        found.append(Timing(rows, one, threads, device))
        if min(one, threads, device) > LONG_S or one > ENOUGH_S:
            break
    backend.share_from(entry, held[0])
    gpu.launch_from(form, held[1])
    return found


def _best(call: Call) -> float:
    """Return the least seconds of a few calls after one that is not counted."""
    best = np.inf
    call()
    for _ in range(REPEATS):
        begun = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begun)
        if best > LONG_S:
            break
    return float(best)


def least(found: list[Timing]) -> Least:
    """Return from which of the measured sizes on a way stays ahead of those before it."""
    threads = _from([(t.rows, t.threads < t.one) for t in found])
    device = _from([(t.rows, t.device < min(t.one, t.threads)) for t in found])
    return Least(threads, device)


def _from(won: list[tuple[int, bool]]) -> int:
    first = NEVER
    for rows, ahead in reversed(won):
        if not ahead:
            break
        first = rows
    return first


def choose(entries: Iterable[str], kept: Path | None = None) -> dict[str, Least]:
    """Let each entry go the way that is fastest here; measured, or read where an earlier process kept it.

    `kept` is a folder beside the compiled kernels. Where it cannot be written, or the machine was busy, each
    process measures for itself.
    """
    gpu.allow(NEVER)
    table = _read(kept)
    missing = [entry for entry in entries if entry not in table]
    table |= {entry: least(timings(entry)) for entry in missing}
    chosen = {entry: table[entry] for entry in entries}
    for entry, found in chosen.items():
        backend.share_from(entry, found.threads)
        gpu.launch_from(FORMS[entry].cuda, found.device)
    gpu.settle()
    if missing and kept is not None and calm():
        _write(kept, table)
    return chosen


def shown(found: Least) -> dict[str, int]:
    """Return the least rows by way, for people; a way that is never gone is left out."""
    return {way: rows for way, rows in msgspec.structs.asdict(found).items() if rows < NEVER}


def calm() -> bool:
    """Tell whether the machine has had a core to spare: what a busy one shows holds for that moment only."""
    return os.getloadavg()[0] < (os.cpu_count() or 1)


def processor() -> str:
    """Return the name of this machine's processor, as the compiler calls it."""
    llvm: Any = importlib.import_module("llvmlite.binding")  # it carries no types
    return str(llvm.get_host_cpu_name())


def machine() -> str:
    """Return a digest of what a measurement holds for: processor, threads, device and sources."""
    facts = processor(), backend.thread_count(), gpu.device(), gpu.why(), backend.sources()
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def folder() -> Path | None:
    """Return where compiled kernels are kept, if a place was named."""
    settings: Any = numba_config
    named = str(settings.CACHE_DIR)
    return Path(named) if named else None


def _read(kept: Path | None) -> dict[str, Least]:
    if kept is None:
        return {}
    try:
        return msgspec.json.decode((kept / f"crossover-{machine()}.json").read_bytes(), type=dict[str, Least])
    except (OSError, msgspec.DecodeError):
        return {}


def _write(kept: Path, table: dict[str, Least]) -> None:
    """Keep a table; another process may read at the same moment, so it is whole or not there."""
    path = kept / f"crossover-{machine()}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{time.monotonic_ns()}")
        part.write_bytes(msgspec.json.encode(table))
        part.replace(path)
    except OSError:
        return  # a read-only place: each process measures for itself
