"""The switch between compiled and plain kernels, the compile counter, threads."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba.core.codegen import JitEngine

from qts_agents.kernels import backend, pool


@backend.kernel
def doubled(x: float) -> float:
    """Return twice `x`."""
    return x + x


def tripled(x: float) -> float:
    """Return thrice `x`; a test compiles it."""
    return x + x + x


def test_a_new_signature_is_counted_once() -> None:
    """The counter grows with the first call of a signature and not with the second."""
    before = backend.compiles()
    assert doubled(1.5) == 3.0
    assert backend.compiles() == before + 1
    doubled(2.5)
    assert backend.compiles() == before + 1


def test_the_reference_compiles_nothing() -> None:
    """numba_jit: false runs numpy only, warm-up included."""
    shape = np.full((1, 2, 3), 1.0 / 3.0)
    backend.set_jit(False)
    try:
        assert not backend.jit_enabled()
        before = backend.compiles()
        pool.warm_up()
        pool.lmsr_pool(shape, [[0.5, 0.5]], shape[:, 0], 50.0)
        assert backend.compiles() == before
    finally:
        backend.set_jit(True)


def test_threads_never_use_the_layer_that_aborts() -> None:
    """Two threads or more only with tbb or omp; one without hardware optimisation."""
    try:
        chosen = backend.threads(True)
        assert chosen == backend.thread_count() >= 1
        assert chosen == 1 or numba.config.THREADING_LAYER in {"tbb", "omp"}
    finally:
        assert backend.threads(False) == 1


def test_compiled_code_on_disk_holds_for_these_sources_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A kernel is loaded from the cache, and compiled again once any kernel's source has changed."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def hits() -> int:
        again: Any = backend.kernel(tripled)
        assert again(1.5) == 4.5
        return sum(again.stats.cache_hits.values())

    assert (hits(), hits()) == (0, 1)
    monkeypatch.setattr(backend, "sources", lambda: "another digest")
    assert (hits(), hits()) == (0, 1)


def test_what_another_process_compiles_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who finds nothing in the cache and its lock taken loads what the other one leaves there."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    backend.kernel(tripled)(1.5)
    index = next((tmp_path / "cache").rglob("*.nbi"))
    kept = shutil.move(index.parent, tmp_path / "kept")
    index.parent.mkdir()
    waiting = threading.Event()
    monkeypatch.setattr(backend.time, "sleep", lambda _: waiting.set())
    again: Any = backend.kernel(tripled)
    with ThreadPoolExecutor(1) as pool, index.with_name(f"{index.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        monkeypatch.setattr(backend, "PATIENCE_S", 1e6)
        answer = pool.submit(again, 1.5)
        assert waiting.wait(60.0)
        shutil.copytree(kept, index.parent, dirs_exist_ok=True)
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert answer.result(60.0) == 4.5
    assert (sum(again.stats.cache_hits.values()), sum(again.stats.cache_misses.values())) == (1, 0)


def test_a_lock_that_cannot_be_had_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process that holds the lock and never compiles delays the others, it does not stop them."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(backend, "PATIENCE_S", 3 * backend.LOOK_S)
    backend.kernel(tripled)(1.5)
    index = next(tmp_path.rglob("*.nbi"))
    index.unlink()
    with index.with_name(f"{index.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert backend.kernel(tripled)(1.5) == 4.5


def test_a_compilation_that_fails_lets_go_of_its_lock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another process need not wait for the end of this one, which may try the same signature again."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    again: Any = backend.kernel(tripled)
    for _ in range(2):
        with pytest.raises(numba.TypingError):
            again(None)
        lock = next(tmp_path.rglob("*.lock"))
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert again(1.5) == 4.5
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_part_is_plain_python_elsewhere() -> None:
    """Kernels compile it into themselves; whoever else calls it gets the same answer."""

    @backend.part
    def halved(x: float) -> float:
        return x / 2.0

    @backend.kernel
    def halved_twice(x: float) -> float:
        return halved(halved(x))

    before = backend.compiles()
    assert halved(3.0) == 1.5
    assert backend.compiles() == before
    assert halved_twice(3.0) == 0.75


def test_only_a_kernel_is_made_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it calls, also two calls deep, is in it already."""
    made: list[bool] = []
    honest = JitEngine.finalize_object
    monkeypatch.setattr(JitEngine, "finalize_object", lambda self: (made.append(True), honest(self)))

    @backend.part
    def lifted(x: float) -> float:
        return x + 0.25

    @backend.part
    def lifted_half(x: float) -> float:
        return lifted(x) / 2.0

    compiled = numba.njit(lambda x: lifted_half(x) + lifted(x))
    numba.njit(tripled)(1.0)  # what numba makes for its first kernel
    made.clear()
    assert compiled(3.75) == 6.0
    assert len(made) == 1


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 200])
def test_parts_cover_every_row_once(rows: int) -> None:
    """However rows are split, each is computed exactly once."""
    seen = np.zeros(rows)

    def mark(part: np.ndarray) -> None:
        part += 1.0

    try:
        backend.threads(True)
        backend.each_part(mark, seen)
    finally:
        backend.threads(False)
    assert seen.tolist() == [1.0] * rows


def test_an_error_in_a_part_reaches_the_caller() -> None:
    """A thread does not swallow what fails in it."""

    def fail(part: np.ndarray) -> None:
        raise ArithmeticError(str(len(part)))

    try:
        backend.threads(True)
        with pytest.raises(ArithmeticError):
            backend.each_part(fail, np.zeros(100))
    finally:
        backend.threads(False)


def test_a_kernel_is_kept_in_the_same_bytes_each_time(tmp_path: Path) -> None:
    """Two processes with other hashes and other addresses write equal files, also of a kernel with parts."""
    program = "import numpy as np; from qts_agents.kernels import online as o; "
    program += "o.nlms_rows(np.ones(2), np.ones((3, 2)), np.ones(3), 0.1)"
    kept = []
    for seed in ("1", "2"):
        env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / seed), "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", program], env=env, check=True)
        files = sorted((tmp_path / seed).rglob("*.nb?"))
        kept.append({file.relative_to(tmp_path / seed): file.read_bytes() for file in files})
    assert any(name.suffix == ".nbc" for name in kept[0])
    assert kept[0] == kept[1]
    assert not any(b"<function" in content for content in kept[0].values())


def test_a_kept_kernel_is_loaded_without_the_compiler_s_own_modules(tmp_path: Path) -> None:
    """Who compiles loads how arrays are made; who finds the kernel in the cache does not, and computes the same."""
    program = "import sys, numpy as np; from qts_agents.kernels import scaling; "
    program += "print(scaling.scaled(np.arange(8.0).reshape(2, 2, 2)).tolist()); "
    program += "print('numba.np.arrayobj' in sys.modules)"
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", program]
    told = [subprocess.run(command, env=env, capture_output=True, text=True, check=True) for _ in range(2)]
    (compiled, loads), (found, loads_again) = (each.stdout.splitlines() for each in told)
    assert compiled == found
    assert (loads, loads_again) == ("True", "False")


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize("keep", [0, 100, None])
def test_a_damaged_cache_is_made_again(tmp_path: Path, ending: str, keep: int | None) -> None:
    """An empty, torn or overwritten file of the cache ended every start of a voter; it is compiled anew, once."""
    program = (
        "import logging; logging.basicConfig(); import numpy as np; from qts_agents.kernels import scaling; "
    )
    program += "print(scaling.scaled(np.arange(8.0).reshape(2, 2, 2)).tolist())"
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def ran() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True)

    whole = ran()
    files = list(tmp_path.rglob(f"*.{ending}"))
    assert files
    for file in files:
        file.write_bytes(b"\xd5" * 500 if keep is None else file.read_bytes()[:keep])
    mended, after = ran(), ran()
    assert whole.stdout == mended.stdout == after.stdout
    assert "is damaged and made again" in mended.stderr
    assert after.stderr == ""
