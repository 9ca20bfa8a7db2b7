"""Recall of similar episodes: the five of largest cosine, weighted by it and a half-life of 5 000 bars."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel, part

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]
U1 = NDArray[np.uint8]
TOP, LEAST, HALF_LIFE = 5, 0.7, 5_000.0
BLOCK = 256  # episodes whose columns stay in a core's first cache
TOGETHER = 4  # columns of one pass over a block's sums
MARGIN = np.float32(1e-5)  # sixteen products of unit vectors are off by 1e-6 in single precision


@part
def _add(sums: F4, columns: F4, first: int, now: F4, j: int) -> None:
    """Add four columns' share of the cosine to the sums of a block, one after the other."""
    last = first + sums.shape[0]
    a, b, c, d = (
        columns[j, first:last], columns[j + 1, first:last],
        columns[j + 2, first:last], columns[j + 3, first:last],
    )  # fmt: skip
    f, g, h, k = now[j], now[j + 1], now[j + 2], now[j + 3]
    for e in range(sums.shape[0]):
        sums[e] = sums[e] + f * a[e] + g * b[e] + h * c[e] + k * d[e]


@part
def _cosine(columns: F4, episode: int, now: F4) -> float:
    """Return the cosine in double precision, which decides."""
    total = 0.0
    for j in range(now.shape[0]):
        total += np.float64(now[j]) * np.float64(columns[j, episode])
    return total


@part
def _insert(best: F8, which: I8, count: int, cosine: float, episode: int) -> int:
    """Take an episode in where it belongs among at most TOP; return how many there are."""
    place = count if count < TOP else TOP - 1
    while place > 0 and best[place - 1] <= cosine:
        best[place], which[place] = best[place - 1], which[place - 1]
        place -= 1
    best[place], which[place] = cosine, episode
    return min(TOP, count + 1)


@part
def _scan(now: F4, held: F4, episodes: int, best: F8, which: I8, found: I8) -> None:
    """Find the nearest episodes of every symbol, a block of episodes after the other.

    Single precision, eight at a time, says which blocks can hold one at all; hardly any can.
    """
    symbols, width = now.shape
    rough = np.empty(BLOCK, np.float32)
    for first in range(0, episodes, BLOCK):
        sums = rough[: min(BLOCK, episodes - first)]
        for s in range(symbols):
            sums[:] = np.float32(0.0)
            for j in range(0, width, TOGETHER):
                _add(sums, held, first, now[s], j)
            least = np.float32(best[s, TOP - 1] if found[s] == TOP else LEAST) - MARGIN
            near = 0
            for e in range(sums.shape[0]):
                near += sums[e] >= least
            if near == 0:
                continue
            for e in range(sums.shape[0]):
                if sums[e] >= least:
                    cosine = _cosine(held, first + e, now[s])
                    if cosine >= LEAST and not (found[s] == TOP and cosine < best[s, TOP - 1]):
                        found[s] = _insert(best[s], which[s], found[s], cosine, first + e)


@kernel
def _recall(now: F4, held: F4, bars: I8, outcomes: U1, bar: int, x: F8, found: I8) -> None:
    """Write x [S,3] and found [S] of a scan of all episodes; ties go to the newer place in the ring."""
    symbols = now.shape[0]
    best, which = np.empty((symbols, TOP)), np.empty((symbols, TOP), np.int64)
    _scan(now, held, bars.shape[0], best, which, found)
    for s in range(symbols):
        if found[s] < TOP:
            continue
        total = 0.0
        for k in range(3):
            x[s, k] = 0.0
        for i in range(TOP):
            weight = best[s, i] * 2.0 ** (-max(0, bar - bars[which[s, i]]) / HALF_LIFE)
            x[s, outcomes[which[s, i]]] += weight
            total += weight
        for k in range(3):
            x[s, k] /= total


def recall(now: Any, held: Any, bars: Any, outcomes: Any, bar: int) -> tuple[F8, I8]:
    """Return the outcome shares [S,3] of the 5 nearest episodes of cosine ≥ 0.7, and how many there are.

    now [S,w] and held [w,≥N] unit vectors (f32), the held ones in columns, as the scan reads;
    bars [N] when each was, outcomes [N] (0, 1, 2). NaN below 5. ValueError unless w is a multiple of 4.
    """
    if np.shape(now)[1] % TOGETHER:
        raise ValueError(f"recall: vectors of a multiple of {TOGETHER} numbers, found {np.shape(now)[1]}")
    # one layout is one compiled signature; what has it is not copied, which would cost as much as the scan
    mine, theirs = (np.require(vectors, np.float32, ["C", "W"]) for vectors in (now, held))
    when, what = np.require(bars, np.int64, ["C", "W"]), np.require(outcomes, np.uint8, ["C", "W"])
    if not backend.jit_enabled():
        return recall_reference(mine, theirs, when, what, bar)
    x, found = np.full((len(mine), 3), np.nan), np.zeros(len(mine), np.int64)
    backend.each_part(lambda m, *out: _recall(m, theirs, when, what, bar, *out), mine, x, found)
    return x, found


def recall_reference(now: F4, held: F4, bars: I8, outcomes: U1, bar: int) -> tuple[F8, I8]:
    """Return `recall` by a full sort."""
    x, found = np.full((len(now), 3), np.nan), np.zeros(len(now), np.int64)
    for s, vector in enumerate(now.astype(np.float64)):
        cosine = vector @ held[:, : len(bars)].astype(np.float64)
        newest_first = np.arange(len(cosine))[::-1]
        order = newest_first[np.argsort(-cosine[::-1], kind="stable")][:TOP]
        order = order[cosine[order] >= LEAST]
        found[s] = len(order)
        if len(order) == TOP:
            age = np.maximum(0, bar - bars[order])
            weight = cosine[order] * 2.0 ** (-age / HALF_LIFE)
            x[s] = np.bincount(outcomes[order], weights=weight, minlength=3)[:3] / weight.sum()
    return x, found
