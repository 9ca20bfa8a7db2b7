"""Potential, connectedness, resilience and the four phase scores of the adaptive cycle (agents.md §3).

Causal, per row: row i never sees row j, so a batch equals a loop over singles bit for bit.
Shapes: S rows, n values up to and including the last closed bar. Everything is dimensionless.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.backend import floats, jit_enabled, kernel, part
from qts_agents.kernels.sums import summed

F8 = NDArray[np.float64]
#: continuous phase value of growth, conservation, release, reorganization
CONTINUOUS = np.array([0.35, 0.65, 0.90, 0.10])
KNOWN = 0.9  # share of a window that has to be known


def potential(close: F8) -> F8:
    """Return P [S]: where the last of `close` [S,n] lies in its range, ½ without a range."""
    low, high = close.min(axis=1), close.max(axis=1)
    span = high - low
    return np.asarray(np.divide(close[:, -1] - low, span, out=np.full(len(close), 0.5), where=span > 0.0))


def deviation(returns: F8) -> F8:
    """Return the sample standard deviation [S] (divisor n−1) of `returns` [S,n]."""
    centred = returns - returns.sum(axis=1, keepdims=True) / returns.shape[1]
    return np.asarray(np.sqrt((centred * centred).sum(axis=1) / (returns.shape[1] - 1)))


def lag1(returns: F8) -> F8:
    """Return ρ₁ [S], the Box–Jenkins lag-1 autocorrelation of `returns` [S,n]; 0 without variance."""
    centred = returns - returns.sum(axis=1, keepdims=True) / returns.shape[1]
    spread = (centred * centred).sum(axis=1)
    product = (centred[:, 1:] * centred[:, :-1]).sum(axis=1)
    return np.asarray(np.divide(product, spread, out=np.zeros(len(returns)), where=spread > 0.0))


def last_rank(history: F8) -> F8:
    """Return the mid-rank [S] in (0,1] of the last of `history` [S,n] among all n; NaN if any is."""
    return _ranked(history, 1.0)


def newest_rank(history: F8) -> F8:
    """Return the same among what is known of it; NaN where the last is not, or less than nine tenths are."""
    return _ranked(history, KNOWN)


def _ranked(history: F8, share: float) -> F8:
    """Return the ranks where at least this share is known."""
    rows, out = floats(history), np.empty(len(history))
    (_ranks if jit_enabled() else ranks_reference)(rows, share * history.shape[1], out)
    return out


def ranks_reference(history: F8, least: float, out: F8) -> None:
    """Write the mid-ranks to `out` [S], as the definition says."""
    known, last = np.isfinite(history), history[:, -1:]
    below = (known & (history < last)).sum(axis=1) + 0.5 * (known & (history == last)).sum(axis=1)
    count = known.sum(axis=1)
    out[:] = np.where((count >= least) & known[:, -1], below / np.maximum(count, 1), np.nan)


@kernel
def _ranks(history: F8, least: float, out: F8) -> None:
    """Write the mid-ranks: what is below counts twice, what is equal once, and half of that is the rank."""
    S, n = history.shape
    for s in range(S):
        last, twice, known, low = history[s, n - 1], 0, 0, 0
        for i in range(n):
            x = history[s, i]
            twice += int(x < last) + int(x <= last)
            known += int(np.isfinite(x))
            low += int(x == -np.inf)  # below all, and not known
        out[s] = 0.5 * (twice - 2 * low) / known if known >= least and np.isfinite(last) else np.nan


def of_known(measure: Callable[[F8], F8], values: F8) -> F8:
    """Return `measure` [S] of `values` [S,n]: of what is known in a row with gaps, NaN below nine tenths."""
    out, sound = measure(values), np.isfinite(values)
    if sound.all():
        return out
    for s in np.flatnonzero(~sound.all(axis=1)):
        known = values[s][sound[s]]
        out[s] = measure(known[None])[0] if known.size >= KNOWN * values.shape[1] else np.nan
    return out


def recent(returns: F8, short: int) -> tuple[F8, F8, F8]:
    """Return ρ₁ and the deviation of what is known in `returns` [S,n], and the deviation of the last `short`.

    Each [S]. ρ₁ and the first are NaN where less than nine tenths are known, the second where anything is
    unknown. n at most 128.
    """
    rows, out = floats(returns), np.empty((3, len(returns)))
    (_recent if jit_enabled() else recent_reference)(rows, short, out)
    return out[0], out[1], out[2]


def recent_reference(returns: F8, short: int, out: F8) -> None:
    """Write ρ₁ and both deviations to `out` [3,S], each by its own definition."""
    out[0], out[1] = of_known(lag1, returns), of_known(deviation, returns)
    out[2] = deviation(returns[:, -short:])


@part
def _centred(x: F8, squares: F8) -> float:
    """Take the mean off `x` [n], write its squares, return their sum."""
    mean = summed(x) / x.shape[0]
    for i in range(x.shape[0]):
        x[i] -= mean
        squares[i] = x[i] * x[i]
    return summed(squares)


@part
def moments(x: F8, room: F8) -> tuple[float, float]:
    """Return the deviation and ρ₁ of a row [n], bit for bit; `room` [2,n] is scratch."""
    n = x.shape[0]
    centred, products = room[0, :n], room[1, :n]
    centred[:] = x
    spread = _centred(centred, products)
    for i in range(n - 1):
        products[i] = centred[i + 1] * centred[i]
    return np.sqrt(spread / (n - 1)), summed(products[: n - 1]) / spread if spread > 0.0 else 0.0


@kernel
def _recent(returns: F8, short: int, out: F8) -> None:
    """Write the same in one pass over a row that lies in the processor's cache."""
    S, n = returns.shape
    x, room = np.empty(n), np.empty((2, n))
    for s in range(S):
        out[2, s] = moments(returns[s, n - short :], room)[0]
        known = 0
        for i in range(n):
            if np.isfinite(returns[s, i]):
                x[known] = returns[s, i]
                known += 1
        if known < n and known < KNOWN * n:
            out[0, s] = out[1, s] = np.nan
            continue
        out[1, s], out[0, s] = moments(x[:known], room)


def scores(p: F8, c: F8, r: F8) -> F8:
    """Return the normalised scores [...,4] of growth, conservation, release, reorganization."""
    raw, not_p, not_c, not_r = np.empty((*np.shape(p), 4)), 1.1 - p, 1.1 - c, 1.1 - r
    raw[..., 0], raw[..., 1] = p * not_c * r, p * c * not_r
    raw[..., 2], raw[..., 3] = not_p * c * not_r, not_p * not_c * r
    return np.asarray(raw / raw.sum(axis=-1, keepdims=True))


def continuous(score: F8) -> F8:
    """Return the continuous phase value [...] of scores [...,4]."""
    return np.asarray((score * CONTINUOUS).sum(axis=-1))


def capacity(p: F8, c: F8, r: F8) -> F8:
    """Return the adaptive capacity 0.4·R + 0.3·P + 0.3·(1−C)."""
    return np.asarray(0.4 * r + 0.3 * p + 0.3 * (1.0 - c))


def pcr_phase(
    close: F8, closes: int = 51, returns: int = 50, rank: int = 250, mode: Literal["rank", "raw"] = "rank"
) -> tuple[F8, F8]:
    """Return PCR [S,3] and scores [S,4] of the last bar of `close` [S,T]; NaN before it is warm.

    Reference form that recomputes the whole history; `pads.panarchy.Scale` keeps it incrementally.
    """
    S, T = close.shape
    if closes > T or returns + rank > T:
        return np.full((S, 3), np.nan), np.full((S, 4), np.nan)
    r = np.diff(np.log(close), axis=1)
    ends = range(r.shape[1] - rank + 1, r.shape[1] + 1)
    rho = np.stack([lag1(r[:, end - returns : end]) for end in ends], axis=1)
    sigma = np.stack([deviation(r[:, end - returns : end]) for end in ends], axis=1)
    p = potential(close[:, T - closes :])
    c = last_rank(rho) if mode == "rank" else (1.0 + rho[:, -1]) / 2.0
    resilience = 1.0 - last_rank(sigma)
    return np.stack((p, c, resilience), axis=1), scores(p, c, resilience)
