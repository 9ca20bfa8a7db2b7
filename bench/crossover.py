"""Where several threads and where a device beat one thread, by batch: python -m bench.crossover --json.

The first line says on what: processor, threads, device, date. Then each kernel that can go more than one way
on batches of growing size, in µs a call, answers compared first; and the least rows that a process here would
choose. On a machine with an NVIDIA device and the extra `gpu` it measures the crossover table that
docs/decisions/0005 misses; without one there are no rows of a device. `--smoke`: two small batches; with
NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1 on numba's simulator of a device.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Iterator

import numpy as np
from bench.harness import Row, command, told
from tests.property.kernel_cases import flat

from qts_agents.kernels import backend, crossover, gpu

SMALL = (1, 2)


def agrees(entry: str, rows: int) -> bool:
    """Tell whether the ways give one answer: threads the same bits, a device within its tolerance."""
    call, form = crossover.MADE[entry](rows), crossover.FORMS[entry].cuda
    held = backend.least_rows(entry), gpu.least_rows(form)
    answers = []
    for threads, device in ((crossover.NEVER, crossover.NEVER), (0, crossover.NEVER), (crossover.NEVER, 0)):
        backend.share_from(entry, threads)
        gpu.launch_from(form, device)
        answers.append([np.array(part) for part in flat(call())])
    backend.share_from(entry, held[0])
    gpu.launch_from(form, held[1])
    one, shared, there = answers
    same = all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, shared, strict=True))
    near = {"rtol": gpu.TOLERANCE, "atol": gpu.TOLERANCE, "equal_nan": True}
    return same and all(np.allclose(a, b, **near) for a, b in zip(one, there, strict=True))


def rows(smoke: bool) -> Iterator[Row]:
    """Yield a row for each way of each batch, then what would be chosen."""
    for entry in crossover.MADE:
        whole = agrees(entry, SMALL[-1])
        found = crossover.timings(entry, SMALL if smoke else crossover.SIZES)
        for t in found:
            for way, taken in (("threads", t.threads), ("device", t.device)):
                if np.isfinite(taken):
                    figure = f"{entry}, {t.rows} rows, {way}"
                    yield Row(figure, taken * 1e6, "us", "one thread", t.one * 1e6, None, whole)
        for way, least in crossover.shown(crossover.least(found)).items():
            yield Row(f"{entry}, chosen: {way} from", least, "rows")


def main() -> int:
    """Measure and print; 1 if two ways disagree."""
    options = command(__doc__, "short: does it run, do the ways agree").parse_args()
    backend.set_jit(not gpu.simulated())
    backend.threads(True)
    gpu.use(True)
    on = {
        "processor": crossover.processor(),
        "threads": backend.thread_count(),
        "device": gpu.device(),
        "device_reason": gpu.why(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    sys.stdout.write(json.dumps(on) + "\n")
    return told(rows(options.smoke), options.json)


if __name__ == "__main__":
    sys.exit(main())
