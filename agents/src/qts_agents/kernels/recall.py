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
LANES = 32  # episodes of one tile: one bit each says which of them may be near
TILES = 16  # that every symbol looks at before the next ones are laid out; they stay in a core's first cache
LEADING = 7  # columns that are multiplied; the length of what is left of a vector bounds the rest
MARGIN = np.float32(1e-5)  # eight products of unit vectors are off by 1e-6 in single precision


@part
def _ranked(now: F4) -> I8:
    """Return the columns, those that say most about these symbols first."""
    symbols, width = now.shape
    said = np.zeros(width)
    for s in range(symbols):
        for j in range(width):
            if now[s, j] == now[s, j]:  # a broken symbol says nothing
                said[j] += now[s, j] * now[s, j]
    order = np.empty(width, np.int64)
    for j in range(width):
        place = j
        while place > 0 and said[order[place - 1]] < said[j]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = j
    return order


@part
def _lead(now: F4, order: I8, leading: F4, least: F4) -> None:
    """Write each symbol's leading numbers, the length of the rest, and what a bound must reach at first."""
    symbols, width = now.shape
    for s in range(symbols):
        rest, least[s] = np.float32(0.0), np.float32(LEAST) - MARGIN
        for i in range(width):
            value = now[s, order[i]]
            if i < LEADING:
                leading[s, i] = value
            else:
                rest += value * value
        leading[s, LEADING] = np.sqrt(rest)


@part
def _tile(held: F4, order: I8, first: int, count: int, tile: F4) -> None:
    """Lay out some episodes: their leading columns, then the length of the rest; 0 beyond `count`."""
    for i in range(len(tile)):
        tile[i] = np.float32(0.0)
    rest = tile[LEADING * LANES : LEADING * LANES + count]
    for i in range(len(order)):
        column = held[order[i], first : first + count]
        if i < LEADING:
            leading = tile[i * LANES : i * LANES + count]
            for e in range(count):
                leading[e] = column[e]
        else:
            for e in range(count):
                rest[e] += column[e] * column[e]
    for e in range(count):
        rest[e] = np.sqrt(rest[e])


@part
def _near(tile: F4, now: F4, least: F4) -> np.int32:
    """Return a bit for each episode whose cosine can be `least`: it is at most this sum (Cauchy, Schwarz)."""
    a, b, c, d, f, g, h, k = now[0], now[1], now[2], now[3], now[4], now[5], now[6], now[7]
    bits = np.int32(0)
    for e in range(LANES):
        bound = a * tile[e] + b * tile[LANES + e] + c * tile[2 * LANES + e] + d * tile[3 * LANES + e]
        bound += f * tile[4 * LANES + e] + g * tile[5 * LANES + e] + h * tile[6 * LANES + e]
        bound += k * tile[7 * LANES + e]
        bits |= np.int32(bound >= least) << np.int32(e)
    return bits


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
    """Find the nearest episodes of every symbol, some tiles after the other.

    Half of the columns, in single precision and eight episodes at a time, say which can be among them; of
    10,000 some sixty can.
    """
    symbols, order = now.shape[0], _ranked(now)
    leading, least = np.zeros((symbols, LEADING + 1), np.float32), np.empty(symbols, np.float32)
    _lead(now, order, leading, least)
    tiles = np.empty((TILES, (LEADING + 1) * LANES), np.float32)
    for first in range(0, episodes, TILES * LANES):
        count = min(TILES, (episodes - first + LANES - 1) // LANES)
        for t in range(count):
            start = first + t * LANES
            _tile(held, order, start, min(LANES, episodes - start), tiles[t])
        for s in range(symbols):
            for t in range(count):
                bits, episode = np.uint32(_near(tiles[t], leading[s], least[s])), first + t * LANES
                while bits:
                    if bits & np.uint32(1):
                        cosine = _cosine(held, episode, now[s])
                        if cosine >= LEAST and not (found[s] == TOP and cosine < best[s, TOP - 1]):
                            found[s] = _insert(best[s], which[s], found[s], cosine, episode)
                            if found[s] == TOP:
                                least[s] = np.float32(best[s, TOP - 1]) - MARGIN
                    bits >>= np.uint32(1)
                    episode += 1


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
    bars [N] when each was, outcomes [N] (0, 1, 2). NaN below 5.
    """
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
