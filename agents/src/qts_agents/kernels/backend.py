"""Which implementation of a kernel runs (compiled or plain numpy), on how many threads.

Every compiled function is registered by `kernel`, so that `compiles()` can prove that nothing
is compiled after readiness. Compiled kernels release the interpreter lock, use IEEE arithmetic in
index order (no fast-math) and divide like numpy (x/0 is an infinity, not an error).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import importlib
import inspect
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numba
import numpy as np
from numba.core import config as numba_config
from numba.core import environment
from numba.core.runtime.nrt import rtsys
from numba.extending import register_jitable
from numpy.typing import NDArray

from qts_agents.kernels import gpu
from qts_agents.kernels.inner import Entry, Inner

_log = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])

#: every compiled function by qualified name
KERNELS: dict[str, Any] = {}
#: threading layers that allow concurrent calls, in order of preference; workqueue aborts on them
LAYERS: tuple[tuple[str, str], ...] = (("tbb", "tbbpool"), ("omp", "omppool"))
MIN_PARALLEL_ROWS = 64  # until `crossover` has measured where handing over costs more than it saves
PATIENCE_S, LOOK_S = 60.0, 0.02  # how long another process's compilation is waited for, and between two looks
_TBB = Path(sys.prefix) / "lib" / "libtbb.so.12"


class _State:
    """The two switches that hold for a process."""

    jit: bool = True
    threads: int = 1
    pool: ThreadPoolExecutor | None = None
    least: ClassVar[
        dict[str, int]
    ] = {}  # rows of an entry from which its parts go to several threads, where measured


def part(function: F) -> F:
    """Let kernels call `function`: compiled into each of them, plain Python when called from elsewhere.

    Without an entry of its own from Python and a place in the cache, it takes a third less time to compile.
    """
    inside: F = register_jitable(
        nogil=True, error_model="numpy", no_cfunc_wrapper=True, pipeline_class=Inner
    )(function)
    return inside


def kernel(function: F) -> F:
    """Compile `function` on first call, cache it on disk where that is possible, and count it."""
    options: dict[str, Any] = {"no_cfunc_wrapper": True, "pipeline_class": Entry}
    compiled: Any = numba.njit(nogil=True, error_model="numpy", **options)(function)
    # a read-only root without NUMBA_CACHE_DIR has no place for a cache: compile each time;
    # under NUMBA_DISABLE_JIT, which the simulator of a GPU needs, the function is left as it is
    with contextlib.suppress(RuntimeError, AttributeError):
        compiled.enable_caching()
        # numba looks at the time of the function's own file: an image's layers have other times, and what
        # the function calls may have changed in another file
        own = hashlib.sha256(Path(inspect.getfile(function)).read_bytes()).hexdigest()
        compiled._cache._cache_file._source_stamp = (own, sources())
        compiled._cache = _Shared(compiled._cache)
        compiled._compiler.compile = compiled._cache.freeing(compiled._compiler.compile)
    KERNELS[f"{function.__module__}.{function.__qualname__}"] = compiled
    typed: F = compiled
    return typed


class _Shared:
    """The cache of one kernel, which processes that start together fill once: the others wait and load it.

    Whoever finds nothing takes a lock beside the cache and looks again. A process that ends while it compiles
    lets go of the lock; where none can be made (a read-only cache), each process compiles for itself.
    """

    def __init__(self, cache: Any) -> None:
        self._cache = cache
        self._lock = -1  # file descriptor while this process compiles

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Return the compiled form; None, with the lock held, if this process is to compile it."""
        found = self._kept(signature, context)
        if found is None and self._lock < 0 and self._take():
            found = self._kept(signature, context)
            if found is not None:
                self._free()
        return found

    def _kept(self, signature: Any, context: Any) -> Any:
        """Return what the cache holds, without first telling numba all that a compiler has to know.

        That took longer than loading every kernel, for it reads two hundred modules and scipy's BLAS. Machine
        code needs numba's runtime alone; whoever finds nothing and compiles does the rest by that.
        """
        rtsys.initialize(context)
        try:
            with self._cache._guard_against_spurious_io_errors():
                return self._cache._load_overload(signature, context)
        except Exception as error:  # a damaged pickle raises whatever it likes
            file = self._cache._cache_file
            _log.warning(
                "%s is damaged and made again: %.200s", file._index_path, error or type(error).__name__
            )
            with contextlib.suppress(OSError):  # whoever saves reads the index first
                file.flush()
            return None

    def freeing(self, compile_: Callable[..., Any]) -> Callable[..., Any]:
        """Return `compile_` that lets go of the lock when it fails: nothing will be saved then."""

        def compiled(*args: Any) -> Any:
            try:
                return compile_(*args)
            except BaseException:
                self._free()
                raise

        return compiled

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep what was compiled, then let the others look.

        Without the listing of types for people: it is a third of a file, is read at every start, and names
        functions by their place in memory, so that no two builds of an image would be equal.
        """
        try:
            self._cache.save_overload(signature, compiled._replace(type_annotation=""))
        finally:
            self._free()

    def _take(self) -> bool:
        file = self._cache._cache_file
        path = Path(file._cache_path) / f"{file._index_name}.lock"
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
            for _ in range(int(PATIENCE_S / LOOK_S)):
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(LOOK_S)
        return self._lock >= 0

    def _free(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _environment(module: str, constants: Sequence[Any], name: str) -> Any:
    """Return what loaded code finds of the module that it was written in: its constants.

    numba loads that module for its globals as well, which only code that is not compiled reads: for
    `np.empty` a dozen of its own that nothing else needs.
    """
    found = environment.lookup_environment(name)
    if found is None:
        found = environment.Environment({"__name__": module})
        found.consts[:] = constants
        found.env_name = name
        environment.Environment._memo[name] = found
    return found


environment._rebuild_env = _environment  # by this name it is asked for in the files of a cache


@functools.cache
def sources() -> str:
    """Return the digest of every kernel's source: compiled code on disk holds for these alone."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def set_jit(enabled: bool) -> None:
    """Choose compiled kernels or the numpy references; call it once at start, before warm-up."""
    _State.jit = enabled


def jit_enabled() -> bool:
    """Tell whether the compiled kernels run."""
    return _State.jit


def compiles() -> int:
    """Return how many specialisations this process has compiled or loaded from the cache so far."""
    return sum(len(getattr(compiled, "signatures", ())) for compiled in KERNELS.values())


def misses() -> int:
    """Return how many of them were compiled, as no cache held them."""
    found = (compiled.stats.cache_misses for compiled in KERNELS.values() if hasattr(compiled, "stats"))
    return sum(sum(each.values()) for each in found)


def threads(hardware_optimization: bool) -> int:
    """Choose the threading layer and return how many threads kernels may use.

    Without a layer that allows concurrent calls, or without `hardware_optimization`, it is one. Of two such
    layers NUMBA_THREADING_LAYER may name the first to try; NUMBA_NUM_THREADS bounds the threads.
    """
    _State.threads = 1
    if _TBB.exists():
        ctypes.CDLL(str(_TBB), mode=ctypes.RTLD_GLOBAL)
    config: Any = numba_config
    wished_first = sorted(LAYERS, key=lambda layer: layer[0] != config.THREADING_LAYER)
    layer = next((name for name, module in wished_first if _available(module)), None)
    if layer is not None:
        config.THREADING_LAYER = layer
        if hardware_optimization:
            _State.threads = int(config.NUMBA_NUM_THREADS)
    return _State.threads


def thread_count() -> int:
    """Return what `threads` chose; 1 before it was called."""
    return _State.threads


def least_rows(entry: str) -> int:
    """Return from how many rows on an entry's work is shared out among threads."""
    return _State.least.get(entry, MIN_PARALLEL_ROWS)


def share_from(entry: str, rows: int) -> None:
    """Share an entry's work out from `rows` on."""
    _State.least[entry] = rows


def each_part(compute: Callable[..., None], *columns: Any, entry: str = "") -> None:
    """Call `compute` on consecutive parts of the rows of `columns`, one per thread from `least_rows` on.

    For kernels whose rows are independent and that write to one of the columns; the result does not
    depend on the number of threads. Compiled kernels run side by side as they release the lock.
    """
    rows = len(columns[0])
    parts = _State.threads if _State.jit and rows >= least_rows(entry) else 1
    if parts < 2:
        compute(*columns)
        return
    if _State.pool is None:
        _State.pool = ThreadPoolExecutor(max_workers=parts, thread_name_prefix="kernel")
    edges = [rows * i // parts for i in range(parts + 1)]
    calls = [_State.pool.submit(compute, *(c[a:b] for c in columns)) for a, b in pairwise(edges)]
    for call in calls:
        call.result()


def fill(
    form: str, out: tuple[NDArray[Any], ...], given: tuple[Any, ...], compiled: Callable[..., Any],
    plain: Callable[..., Any],
) -> None:  # fmt: skip
    """Let the device's `form` fill the rows of `out` where that is worth it, else one of the CPU's two."""
    run = compiled if _State.jit else plain
    if not gpu.runs(form, len(out[0]), *given, out=out):
        run(*given, *out)


def floats(x: Any) -> NDArray[np.float64]:
    """Return `x` as writable C-ordered float64: one layout is one compiled signature."""
    if isinstance(x, np.ndarray) and x.dtype == np.float64:  # asked several times a vote; `require` is slow
        flags = x.flags
        if flags.c_contiguous and flags.writeable:
            return x
    return np.require(x, dtype=np.float64, requirements=["C", "W"])


def _available(module: str) -> bool:
    """Tell whether numba's own binding to a threading layer can be loaded."""
    try:
        importlib.import_module(f"numba.np.ufunc.{module}")
    except ImportError:
        return False
    return True
