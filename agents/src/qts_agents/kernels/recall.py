"""Recall of similar episodes: the five of largest cosine, weighted by it and a half-life of 5 000 bars."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]
U1 = NDArray[np.uint8]
TOP, LEAST, HALF_LIFE = 5, 0.7, 5_000.0


@kernel
def _recall(now: F4, held: F4, bars: I8, outcomes: U1, bar: int) -> tuple[F8, I8]:
    """Scan all episodes for each symbol; ties go to the newer place in the ring."""
    symbols, episodes, width = now.shape[0], held.shape[0], now.shape[1]
    x, found = np.full((symbols, 3), np.nan), np.zeros(symbols, np.int64)
    best, which = np.empty(TOP), np.empty(TOP, np.int64)
    for s in range(symbols):
        count = 0
        for e in range(episodes):
            cosine = 0.0
            for j in range(width):
                cosine += np.float64(now[s, j]) * np.float64(held[e, j])
            if not cosine >= LEAST or (count == TOP and cosine < best[TOP - 1]):
                continue
            place = count if count < TOP else TOP - 1
            while place > 0 and best[place - 1] <= cosine:
                best[place], which[place] = best[place - 1], which[place - 1]
                place -= 1
            best[place], which[place] = cosine, e
            count = min(TOP, count + 1)
        found[s] = count
        if count < TOP:
            continue
        total = 0.0
        for k in range(3):
            x[s, k] = 0.0
        for i in range(TOP):
            weight = best[i] * 2.0 ** (-max(0, bar - bars[which[i]]) / HALF_LIFE)
            x[s, outcomes[which[i]]] += weight
            total += weight
        for k in range(3):
            x[s, k] /= total
    return x, found


def recall(now: Any, held: Any, bars: Any, outcomes: Any, bar: int) -> tuple[F8, I8]:
    """Return the outcome shares [S,3] of the 5 nearest episodes of cosine ≥ 0.7, and how many there are.

    now [S,w] and held [N,w] unit vectors (f32), bars [N] when each was, outcomes [N] (0, 1, 2); NaN below 5.
    """
    arrays = (np.array(now, np.float32), np.array(held, np.float32), np.array(bars, np.int64))
    run = _recall if backend.jit_enabled() else recall_reference
    return run(*arrays, np.array(outcomes, np.uint8), bar)


def recall_reference(now: F4, held: F4, bars: I8, outcomes: U1, bar: int) -> tuple[F8, I8]:
    """Return `recall` by a full sort."""
    x, found = np.full((len(now), 3), np.nan), np.zeros(len(now), np.int64)
    for s, vector in enumerate(now.astype(np.float64)):
        cosine = held.astype(np.float64) @ vector if len(held) else np.empty(0)
        newest_first = np.arange(len(cosine))[::-1]
        order = newest_first[np.argsort(-cosine[::-1], kind="stable")][:TOP]
        order = order[cosine[order] >= LEAST]
        found[s] = len(order)
        if len(order) == TOP:
            age = np.maximum(0, bar - bars[order])
            weight = cosine[order] * 2.0 ** (-age / HALF_LIFE)
            x[s] = np.bincount(outcomes[order], weights=weight, minlength=3)[:3] / weight.sum()
    return x, found
