"""ADWIN, an adaptive window over a stream (Bifet & Gavaldà 2007): it drops its past when the mean changes.

The window is an exponential histogram: row i holds up to five buckets of 2^i values, each with its sum and
squared deviations, so its memory grows with the logarithm of its length. Every 32 values each border between
two buckets is tried: where the means of both sides differ by more than

    ε = √(2·m·σ²·ln(2·ln n/δ)) + ⅔·m·ln(2·ln n/δ),   m = 1/(n₀−4) + 1/(n₁−4)

the oldest bucket goes, and the tries begin again. After a change the window begins anew with the next value.
The order of every sum is that of River's object, whose flags and numbers these are, bit for bit.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel, part

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]
BUCKETS = 5  # of one size; a sixth makes two of them one of the next size
ROWS = 32  # sizes: five buckets of 2^31 values are more than will come
CLOCK = 32  # values between two looks for a change
LEAST = 5  # values on either side of a border
GRACE = 10  # values before the first look
WIDTH, TOTAL, SPREAD, TICKS, CHANGED = range(5)  # columns of `whole`


class Windows(msgspec.Struct, frozen=True):
    """The windows of D detectors; the arrays change in place."""

    delta: F8  # [D] confidence
    sums: F8  # [D,32,6] of each bucket, the oldest of a size first
    spreads: F8  # [D,32,6] squared deviations of its values from its mean
    counts: I8  # [D,32] buckets of each size
    whole: F8  # [D,5]: values, their sum, their squared deviations, updates, 1 after a change


def windows(delta: F8) -> Windows:
    """Return empty windows for detectors of confidence `delta` [D] in (0,1)."""
    shape = (len(delta), ROWS, BUCKETS + 1)
    room = (np.zeros(shape), np.zeros(shape), np.zeros(shape[:2], np.int64), np.zeros((len(delta), 5)))
    return Windows(np.array(delta, dtype=np.float64), *room)


def adwin(held: Windows, x: F8) -> B1:
    """Take one value `x` [D] for each detector in place; return [D] whether its mean has changed."""
    run = _update if backend.jit_enabled() else update_reference
    run(x, held.delta, held.sums, held.spreads, held.counts, held.whole)
    changed: B1 = held.whole[:, CHANGED] > 0.0
    return changed


@kernel
def _update(x: F8, delta: F8, sums: F8, spreads: F8, counts: I8, whole: F8) -> None:
    """Let every detector take its value."""
    for d in range(x.shape[0]):
        if whole[d, CHANGED] > 0.0:
            counts[d, :] = 0
            whole[d, :] = 0.0
        _insert(x[d], sums[d], spreads[d], counts[d], whole[d])
        whole[d, TICKS] += 1.0
        if whole[d, TICKS] % CLOCK == 0.0 and whole[d, WIDTH] > GRACE:
            while _shrink(delta[d], sums[d], spreads[d], counts[d], whole[d]):
                whole[d, CHANGED] = 1.0


@part
def _insert(value: float, sums: F8, spreads: F8, counts: I8, whole: F8) -> None:
    """Add a bucket of one value; six of a size become five by merging the two oldest."""
    sums[0, counts[0]], spreads[0, counts[0]] = value, 0.0
    counts[0] += 1
    before = whole[WIDTH]
    whole[WIDTH] += 1.0
    if before > 0.0:
        away = value - whole[TOTAL] / before
        whole[SPREAD] += before * away * away / whole[WIDTH]
    whole[TOTAL] += value
    row, size = 0, 1.0
    while counts[row] > BUCKETS:
        away = sums[row, 0] / size - sums[row, 1] / size
        merged = size * size * away * away / (size + size)
        last = counts[row + 1]
        sums[row + 1, last] = sums[row, 0] + sums[row, 1]
        spreads[row + 1, last] = spreads[row, 0] + spreads[row, 1] + merged
        counts[row + 1] += 1
        counts[row] -= 2
        for k in range(counts[row]):
            sums[row, k], spreads[row, k] = sums[row, k + 2], spreads[row, k + 2]
        row, size = row + 1, 2.0 * size


@part
def _shrink(delta: float, sums: F8, spreads: F8, counts: I8, whole: F8) -> bool:
    """Drop the oldest bucket if the means on the two sides of any border differ; tell whether they do."""
    oldest = ROWS - 1
    while oldest > 0 and counts[oldest] == 0:
        oldest -= 1
    n0, n1, total0, total1 = 0.0, whole[WIDTH], 0.0, whole[TOTAL]
    prime = np.log(2.0 * np.log(whole[WIDTH]) / delta)
    for row in range(oldest, -1, -1):
        size = 2.0**row
        for k in range(counts[row]):
            n0, n1 = n0 + size, n1 - size
            total0, total1 = total0 + sums[row, k], total1 - sums[row, k]
            if n0 < LEAST:
                continue
            if n1 < LEAST:
                return False
            m = 1.0 / (n0 - LEAST + 1.0) + 1.0 / (n1 - LEAST + 1.0)
            far = np.sqrt(2.0 * m * (whole[SPREAD] / whole[WIDTH]) * prime) + 2.0 / 3.0 * prime * m
            if abs(total0 / n0 - total1 / n1) > far:
                _drop(oldest, sums, spreads, counts, whole)
                return True
    return False


@part
def _drop(row: int, sums: F8, spreads: F8, counts: I8, whole: F8) -> None:
    """Take the oldest bucket of `row` out of the window."""
    size = 2.0**row
    whole[WIDTH] -= size
    whole[TOTAL] -= sums[row, 0]
    away = sums[row, 0] / size - whole[TOTAL] / whole[WIDTH]
    whole[SPREAD] -= spreads[row, 0] + size * whole[WIDTH] * away * away / (size + whole[WIDTH])
    counts[row] -= 1
    for k in range(counts[row]):
        sums[row, k], spreads[row, k] = sums[row, k + 1], spreads[row, k + 1]


def update_reference(x: F8, delta: F8, sums: F8, spreads: F8, counts: I8, whole: F8) -> None:
    """Do the same on a plain list of buckets, the oldest first, trying all borders at once."""
    for d, value in enumerate(x):
        fresh = whole[d, CHANGED] > 0.0
        ticks = 1.0 if fresh else whole[d, TICKS] + 1.0
        rows = np.nonzero(np.arange(BUCKETS + 1) < (0 if fresh else counts[d][:, None]))
        held = list(zip(2.0 ** rows[0], sums[d][rows], spreads[d][rows], strict=True))
        buckets = _merged([*sorted(held, key=lambda b: -b[0]), (1.0, value, 0.0)])
        changed = False
        while ticks % CLOCK == 0.0 and ticks > GRACE and _differ(np.array(buckets), delta[d]):
            buckets, changed = buckets[1:], True
        counts[d] = 0
        for size, total, spread in buckets:
            row = int(np.log2(size))
            sums[d, row, counts[d, row]], spreads[d, row, counts[d, row]] = total, spread
            counts[d, row] += 1
        width, total, spread = _joined(np.array(buckets))
        whole[d] = width, total, spread, ticks, changed


def _merged(buckets: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """Merge the two oldest of a size wherever there are six, from the smallest size on."""
    size = 1.0
    while len(same := [i for i, bucket in enumerate(buckets) if bucket[0] == size]) > BUCKETS:
        first = same[0]
        buckets[first : first + 2] = [_joined(np.array(buckets[first : first + 2]))]
        size *= 2.0
    return buckets


def _joined(buckets: F8) -> tuple[float, float, float]:
    """Return size, sum and squared deviations of all values of `buckets` [K,3]."""
    sizes, sums, spreads = buckets.T
    inside = spreads + sizes * (sums / sizes - sums.sum() / sizes.sum()) ** 2
    return float(sizes.sum()), float(sums.sum()), float(inside.sum())


def _differ(buckets: F8, delta: float) -> bool:
    """Tell whether the means on the two sides of any border between `buckets` [K,3] differ."""
    width, total, spread = _joined(buckets)
    n0, sum0 = np.cumsum(buckets[:-1, :2], axis=0).T
    n1, sum1 = width - n0, total - sum0
    open_ = (n0 >= LEAST) & (n1 >= LEAST)
    n0, n1, sum0, sum1 = n0[open_], n1[open_], sum0[open_], sum1[open_]
    m, prime = 1.0 / (n0 - LEAST + 1.0) + 1.0 / (n1 - LEAST + 1.0), np.log(2.0 * np.log(width) / delta)
    far = np.sqrt(2.0 * m * spread / width * prime) + 2.0 / 3.0 * prime * m
    return bool((np.abs(sum0 / n0 - sum1 / n1) > far).any())
