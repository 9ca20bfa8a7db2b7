"""Compile every device form of the registry to PTX, which needs the compiler and no device.

uv sync --extra gpu && uv run --extra gpu python -m bench.ptx --json

prints the length of each kernel's PTX for compute capability 9.0 (H100, H200); 1 if one does not compile.
"""

from __future__ import annotations

import json
import sys
import types
from importlib.util import find_spec
from typing import Any

CAPABILITY = (9, 0)
F, I, C = "float64", "int64", "complex128"  # noqa: E741
#: module, kernel → its arguments: a type, or a type and a number of dimensions
KERNELS: dict[tuple[str, str], tuple[Any, ...]] = {
    ("nash_gpu", "_solve"): (
        (F, 3), (F, 3), (I, 2), (I, 1), (I, 2), (F, 3), (F, 3), (F, 3), (F, 2), (F, 2), (F, 2), (I, 1),
        (F, 1),
    ),
    ("permutation_gpu", "_trips"): ((I, 1), ("uint8", 1), (F, 1), (F, 2), (I, 2), (F, 1)),
    ("qtable_gpu", "_serve"): ((F, 3), (F, 3), (I, 1), ("int8", 1), (I, 1), (F, 2), (F, 2), ("int8", 1)),
    ("tiles_gpu", "_serve"): ((F, 3), (F, 3), (I, 1), (I, 2), (I, 2), (F, 3), (F, 2), ("int8", 1)),
    ("surrogates_gpu", "_taus"): ((F, 2), I, I, (F, 3), (F, 2), (F, 2), (F, 2)),
    ("rolling_gpu", "_moments"): ((F, 2), I, F, (F, 3), (F, 2), (F, 2), (F, 2), (F, 2)),
    ("reupload_gpu", "_forecast"): (
        (F, 2), (F, 1), (F, 4), (F, 1), (F, 2), (C, 2), (F, 2), (F, 3), (F, 2),
    ),
    ("replicator_gpu", "_flow"): ((F, 3), (F, 3), I, F, (F, 2), (F, 2), (F, 2), (F, 2), (F, 2)),
    ("qre_gpu", "_follow"): ((F, 5), (F, 1), (F, 3), (F, 3), (F, 3), (F, 1)),
    ("hmm_filter_gpu", "_rows"): ((F, 3), (F, 3), (F, 2), (F, 3)),
    ("ewa_gpu", "_populations"): ((F, 3), (I, 2), (I, 2), (I, 1), (I, 1), (F, 2), (F, 2)),
    ("ewa_gpu", "_match"): ((F, 3), (F, 3), (F, 3), (F, 3), (F, 3), (F, 3), (F, 3)),
    ("ewl_gpu", "_games"): (
        (F, 4), F, (F, 4), (F, 5), (F, 4), (F, 2), (F, 3), (F, 3), (C, 4), (C, 4), (F, 3), (F, 1),
    ),
    ("ewl_gpu", "_payoffs"): ((F, 4), F, (F, 2), (F, 2), (C, 4), (C, 3), (F, 2), (F, 3)),
    ("pool_gpu", "_lmsr"): (
        (F, 3), (F, 2), (F, 2), F, F, (F, 3), (F, 3), (F, 3), (F, 3), (F, 2), (F, 1), (F, 2), (F, 3), (F, 2),
    ),
    ("lemke_howson_gpu", "_batch"): (
        (F, 3), (F, 3), I, (F, 3), (F, 3), (I, 2), (I, 2), (I, 2), (F, 2), (F, 2),
    ),
    ("prospect_gpu", "_values"): ((F, 2), (F, 2), (F, 1)),
    ("statevector_gpu", "_run"): ((I, 2), (F, 1), (I, 2), (I, 2), I, (F, 2), (F, 2), (F, 2), (F, 2)),
}  # fmt: skip


def main() -> int:
    """Compile and print."""
    if find_spec("numba_cuda") is None:
        sys.stdout.write(
            json.dumps({"figure": "numba-cuda: absent; bench/ptx.py says how to bring it"}) + "\n"
        )
        return 0
    from numba import cuda
    from numba import types as kinds
    from numba.cuda import dispatcher

    # functions that a kernel calls are compiled for the device in use, which is asked for and is not there
    dispatcher.get_current_device = lambda: types.SimpleNamespace(compute_capability=CAPABILITY)
    for (module, name), given in KERNELS.items():
        kernel = getattr(__import__(f"qts_agents.kernels.{module}", fromlist=[name]), name)
        signature = tuple(
            getattr(kinds, g) if isinstance(g, str) else kinds.Array(getattr(kinds, g[0]), g[1], "C")
            for g in given
        )
        text, _ = cuda.compile_ptx(kernel.py_func, signature, cc=CAPABILITY)
        target = next(line.split()[1] for line in text.splitlines() if line.startswith(".target"))
        row = {"figure": f"{module}.{name}", "value": len(text), "unit": "bytes of PTX", "target": target}
        sys.stdout.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
