"""Learning in games: experience-weighted attraction and regret matching.

Camerer & Ho (1999): N ← φN+1, Aⱼ ← (φN·Aⱼ + [δ+(1−δ)·1(j = own)]·u(j, seen))/N.
Hart & Mas-Colell (2000): leave the present action in proportion to the regret for it; empirical play
reaches the correlated equilibria.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
DECAY, FOREGONE = 0.95, 0.5  # φ, δ
DELAYS: I8 = np.array([3, 5, 7])
MEMORIES: I8 = np.array([50, 100, 149])
HISTORY = 150


@kernel
def attractions(u: F8, own: I8, seen: I8, out: F8) -> float:
    """Write the attractions [m] after the observed actions (−1 = unknown, skipped); return N."""
    experience = 1.0
    for j in range(out.shape[0]):
        out[j] = 0.0
    for t in range(own.shape[0]):
        if own[t] < 0 or seen[t] < 0:
            continue
        carried = DECAY * experience
        experience = carried + 1.0
        for j in range(out.shape[0]):
            weight = 1.0 if j == own[t] else FOREGONE
            out[j] = (carried * out[j] + weight * u[j, seen[t]]) / experience
    return experience


@kernel
def _populations(u: F8, own: I8, seen: I8, delays: I8, memories: I8) -> F8:
    """Average the strategies of the populations for each symbol: u [S,m,n], histories [S,H] → [S,m]."""
    symbols, m, n = u.shape
    length = own.shape[1]
    out, drawn = np.zeros((symbols, m)), np.empty(m)
    for s in range(symbols):
        low, high = u[s, 0, 0], u[s, 0, 0]
        for i in range(m):
            for j in range(n):
                low, high = min(low, u[s, i, j]), max(high, u[s, i, j])
        span = high - low if high > low else 1.0
        for k in range(delays.shape[0]):
            first, last = max(0, length - memories[k]), max(0, length - delays[k])
            attractions(u[s], own[s, first:last], seen[s, first:last], drawn)
            scale = 4.0 * min(10.0, 1.0 + 0.01 * (last - first)) / span
            top, total = drawn.max(), 0.0
            for i in range(m):
                drawn[i] = np.exp(scale * (drawn[i] - top))
                total += drawn[i]
            for i in range(m):
                out[s, i] += drawn[i] / total / delays.shape[0]
    return out


def ewa(u: F8, own: I8, seen: I8) -> F8:
    """Return the mean strategy [S,m] of three populations: late by 3, 5, 7 bars, memory 50, 100, 149.

    u [S,m,n] payoffs, own and seen [S,H] observed actions, oldest first (−1 = unknown).
    """
    if not backend.jit_enabled():
        return ewa_reference(u, own, seen)
    return _populations(np.array(u), np.array(own), np.array(seen), DELAYS.copy(), MEMORIES.copy())


def ewa_reference(u: F8, own: I8, seen: I8) -> F8:
    """Return `ewa` by a plain loop with numpy vectors."""
    out = np.zeros(u.shape[:2])
    for s, (payoff, mine, theirs) in enumerate(zip(u, own, seen, strict=True)):
        span = np.ptp(payoff) or 1.0
        for delay, memory in zip(DELAYS, MEMORIES, strict=True):
            part = slice(max(0, len(mine) - memory), max(0, len(mine) - delay))
            experience, pull = 1.0, np.zeros(len(payoff))
            for a, m in zip(mine[part], theirs[part], strict=True):
                if a < 0 or m < 0:
                    continue
                weight = np.where(np.arange(len(payoff)) == a, 1.0, FOREGONE)
                pull = DECAY * experience * pull + weight * payoff[:, m]
                experience = DECAY * experience + 1.0
                pull /= experience
            drawn = np.exp(4.0 * min(10.0, 1.0 + 0.01 * len(mine[part])) / span * (pull - pull.max()))
            out[s] += drawn / drawn.sum() / len(DELAYS)
    return out


@kernel
def _next(regrets: F8, present: int, bound: float, draw: float) -> int:
    """Leave `present` for k with probability max(0, regret[present, k])/bound."""
    reached = 0.0
    for k in range(regrets.shape[1]):
        if k != present:
            reached += max(0.0, regrets[present, k]) / bound
            if draw < reached:
                return k
    return present


@kernel
def _match(a: F8, bt: F8, draws: F8, bounds: F8) -> F8:
    """Play T rounds of regret matching; a [m,n], bt [n,m], draws [T,2] uniform."""
    m, n = a.shape
    joint, row, column = np.zeros((m, n)), 0, 0
    regret_row, regret_column = np.zeros((m, m)), np.zeros((n, n))
    for t in range(draws.shape[0]):
        joint[row, column] += 1.0 / draws.shape[0]
        for k in range(m):
            regret_row[row, k] += a[k, column] - a[row, column]
        for k in range(n):
            regret_column[column, k] += bt[k, row] - bt[column, row]
        following = _next(regret_row, row, bounds[0] * (t + 1), draws[t, 0])
        column = _next(regret_column, column, bounds[1] * (t + 1), draws[t, 1])
        row = following
    return joint


def regret_match(a: F8, b: F8, draws: F8) -> F8:
    """Return the empirical joint play [m,n] of regret matching in one game; draws [T,2] uniform in (0,1)."""
    bounds = np.array([2.0 * (np.ptp(a) or 1.0) * len(a), 2.0 * (np.ptp(b) or 1.0) * b.shape[1]])
    run = _match if backend.jit_enabled() else getattr(_match, "py_func", _match)
    joint: F8 = run(np.array(a, np.float64), np.array(b.T, np.float64, order="C"), np.array(draws), bounds)
    return joint
