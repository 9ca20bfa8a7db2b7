"""Learning in games: experience-weighted attraction and regret matching.

Camerer & Ho (1999): N ← φN+1, Aⱼ ← (φN·Aⱼ + [δ+(1−δ)·1(j = own)]·u(j, seen))/N.
Hart & Mas-Colell (2000), by invariant mixtures: play so that switching in proportion to conditional regrets
changes nothing; empirical play reaches the correlated equilibria.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel, part

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
DECAY, FOREGONE = 0.95, 0.5  # φ, δ
DELAYS: I8 = np.array([3, 5, 7])
MEMORIES: I8 = np.array([50, 100, 149])
HISTORY = 150
STEPS, INERTIA = 8, 1.25  # of the power iteration for an invariant mixture


@part
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


@part
def population(u: F8, own: I8, seen: I8, delays: I8, memories: I8, drawn: F8, out: F8) -> None:
    """Write the mean strategy [m] of the populations of one symbol, u [m,n]; `drawn` [m] is scratch."""
    m, n = u.shape
    low, high = u[0, 0], u[0, 0]
    for i in range(m):
        out[i] = 0.0
        for j in range(n):
            low, high = min(low, u[i, j]), max(high, u[i, j])
    span = high - low if high > low else 1.0
    for k in range(delays.shape[0]):
        first, last = max(0, own.shape[0] - memories[k]), max(0, own.shape[0] - delays[k])
        attractions(u, own[first:last], seen[first:last], drawn)
        scale = 4.0 * min(10.0, 1.0 + 0.01 * (last - first)) / span
        top, total = drawn[0], 0.0
        for i in range(m):
            top = max(top, drawn[i])
        for i in range(m):
            drawn[i] = math.exp(scale * (drawn[i] - top))
            total += drawn[i]
        for i in range(m):
            out[i] += drawn[i] / total / delays.shape[0]


@kernel
def _populations(u: F8, own: I8, seen: I8, delays: I8, memories: I8, out: F8) -> None:
    """Average the strategies of the populations for each symbol: u [S,m,n], histories [S,H], out [S,m]."""
    drawn = np.empty(u.shape[1])
    for s in range(u.shape[0]):
        population(u[s], own[s], seen[s], delays, memories, drawn, out[s])


def ewa(u: F8, own: I8, seen: I8) -> F8:
    """Return the mean strategy [S,m] of three populations: late by 3, 5, 7 bars, memory 50, 100, 149.

    u [S,m,n] payoffs, own and seen [S,H] observed actions, oldest first (−1 = unknown).
    """
    out = np.zeros(u.shape[:2])
    heard: list[Any] = [np.require(x, None, ["C", "W"]) for x in (u, own, seen)]  # one layout, one signature
    given = (*heard, DELAYS.copy(), MEMORIES.copy())
    backend.fill("ewa_gpu.populations", (out,), given, _shared, ewa_reference)
    return out


def _shared(u: F8, own: I8, seen: I8, delays: I8, memories: I8, out: F8) -> None:
    """Let `_populations` average, each thread some of the symbols."""
    backend.each_part(
        lambda u, own, seen, out: _populations(u, own, seen, delays, memories, out), u, own, seen, out
    )


def ewa_reference(u: F8, own: I8, seen: I8, delays: I8, memories: I8, out: F8) -> None:
    """Do what `_populations` does by a plain loop with numpy vectors; `out` holds 0."""
    for s, (payoff, mine, theirs) in enumerate(zip(u, own, seen, strict=True)):
        span = np.ptp(payoff) or 1.0
        for delay, memory in zip(delays, memories, strict=True):
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
            out[s] += drawn / drawn.sum() / len(delays)


@part
def _invariant(regrets: F8, mix: F8, spare: F8) -> None:
    """Move `mix` towards the mixture that positive regrets leave unchanged: STEPS power iterations."""
    n, bound = regrets.shape[0], 0.0
    for j in range(n):
        total = 0.0
        for k in range(n):
            total += max(0.0, regrets[j, k])
        bound = max(bound, INERTIA * total)
    if bound == 0.0:
        return
    for _ in range(STEPS):
        for k in range(n):
            spare[k] = mix[k]
        for j in range(n):
            for k in range(n):
                flow = spare[j] * max(0.0, regrets[j, k]) / bound
                mix[k] += flow
                mix[j] -= flow


@part
def _draw(mix: F8, draw: float) -> int:
    """Return the action that a uniform number picks."""
    reached = 0.0
    for k in range(mix.shape[0] - 1):
        reached += mix[k]
        if draw < reached:
            return k
    return int(mix.shape[0]) - 1


@part
def _clear(out: F8) -> None:
    """Write 0 everywhere in out [r,c]."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = 0.0


@part
def match_of(a: F8, bt: F8, draws: F8, regret_row: F8, regret_column: F8, mixes: F8, joint: F8) -> None:
    """Write the play [m,n] of T rounds of one game; a [m,n], bt [n,m], draws [T,2] uniform.

    Scratch: regrets [m,m] and [n,n], mixes [3,max(m,n)].
    """
    m, n = a.shape
    mix_row, mix_column, spare = mixes[0, :m], mixes[1, :n], mixes[2]
    _clear(joint)
    _clear(regret_row)
    _clear(regret_column)
    for k in range(m):
        mix_row[k] = 1.0 / m
    for k in range(n):
        mix_column[k] = 1.0 / n
    for t in range(draws.shape[0]):
        row, column = _draw(mix_row, draws[t, 0]), _draw(mix_column, draws[t, 1])
        joint[row, column] += 1.0 / draws.shape[0]
        for k in range(m):
            regret_row[row, k] += a[k, column] - a[row, column]
        for k in range(n):
            regret_column[column, k] += bt[k, row] - bt[column, row]
        _invariant(regret_row, mix_row, spare)
        _invariant(regret_column, mix_column, spare)


@kernel
def _match(a: F8, bt: F8, draws: F8, joint: F8) -> None:
    """Play G games a [G,m,n], bt [G,n,m] with draws [G,T,2]; write joint [G,m,n]."""
    m, n = a.shape[1], a.shape[2]
    regret_row, regret_column, mixes = np.empty((m, m)), np.empty((n, n)), np.empty((3, max(m, n)))
    for g in range(a.shape[0]):
        match_of(a[g], bt[g], draws[g], regret_row, regret_column, mixes, joint[g])


def regret_match(a: F8, b: F8, draws: F8) -> F8:
    """Return the empirical joint play [G,m,n] of regret matching in games a, b [G,m,n].

    draws [G,T,2], uniform in (0,1), say what both play in each of T rounds.
    """
    bt = np.array(b.transpose(0, 2, 1), np.float64, order="C")
    given, joint = (np.array(a, np.float64, order="C"), bt, np.array(draws)), np.zeros(a.shape)
    backend.fill("ewa_gpu.match", (joint,), given, _match, regret_match_reference)
    return joint


def regret_match_reference(a: F8, bt: F8, draws: F8, joint: F8) -> None:
    """Do what `_match` does by a plain loop with numpy vectors."""
    for g in range(len(a)):
        joint[g] = _play(a[g], bt[g].T, draws[g])


def _play(a: F8, b: F8, draws: F8) -> F8:
    joint = np.zeros(a.shape)
    regrets = [np.zeros((n, n)) for n in a.shape]
    mixes = [np.full(n, 1.0 / n) for n in a.shape]
    for pair in draws:
        row, column = (int(np.sum(u >= np.cumsum(mix)[:-1])) for u, mix in zip(pair, mixes, strict=True))
        joint[row, column] += 1.0 / len(draws)
        regrets[0][row] += a[:, column] - a[row, column]
        regrets[1][column] += b[row] - b[row, column]
        for player in range(2):
            flows = np.maximum(0.0, regrets[player])
            bound = INERTIA * flows.sum(axis=1).max()
            for _ in range(STEPS if bound > 0.0 else 0):
                moved = mixes[player][:, None] * flows / bound
                mixes[player] = mixes[player] + moved.sum(axis=0) - moved.sum(axis=1)
    return joint
