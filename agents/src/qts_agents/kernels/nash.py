"""All equilibria of bimatrix games by support enumeration, and the choice among them.

Every equal-size pair of supports gives one linear system a side (Porter, Nudelman & Shoham 2008 describe
the search). Where the vertices of the best-response polytopes say which pairs are equilibria (`vertices`),
only those are solved; else each is. In a nondegenerate game these are all equilibria; a degenerate one may
have none of equal support size and then falls back to lexicographic Lemke–Howson. Payoffs are scaled to a
range of 1 first, so tolerances and the reported regret are shares of the payoff range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend, gpu
from qts_agents.kernels.backend import kernel, part
from qts_agents.kernels.dominance import undominated
from qts_agents.kernels.lemke_howson import lemke_howson, lemke_howson_reference, transpose
from qts_agents.kernels.linear import solve
from qts_agents.kernels.scaling import scaled
from qts_agents.kernels.supports import Room, numbers, room_for, supports
from qts_agents.kernels.vertices import candidates

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
TOLERANCE = 1e-10  # of the payoff range: profitable deviation, and least probability inside a support
TIE = 1e-9  # entropies closer than this are equal
SINGULAR = 1e-12  # pivots below it
ENTRY = "nash.nash_choice"
MOST = 128  # equilibria kept of one game


class Equilibria(msgspec.Struct, frozen=True):
    """All equilibria of G games; entries beyond `count` are NaN."""

    x: F8  # [G,K,m]
    y: F8  # [G,K,n]
    count: I8  # [G]
    regret: F8  # [G,K] largest unilateral gain / payoff range


class Choice(msgspec.Struct, frozen=True):
    """One strategy pair a game: most entropy, ties averaged."""

    x: F8  # [G,m]
    y: F8  # [G,n]
    count: I8  # [G] equilibria found (1 by Lemke–Howson where enumeration found none)
    regret: F8  # [G] largest over the averaged equilibria, before averaging
    device: str = "cpu"  # that solved them


@kernel
def _mix(payoff: F8, rows: I8, columns: I8, size: int, work: F8, mix: F8) -> bool:
    """Mix `columns` so that `rows` of `payoff` earn the same and no other row earns more."""
    for i in range(size):
        for j in range(size):
            work[i, j] = payoff[rows[i], columns[j]]
        work[i, size], work[i, size + 1] = -1.0, 0.0
        work[size, i] = 1.0
    work[size, size], work[size, size + 1] = 0.0, 1.0
    if solve(work, size + 1, 1, SINGULAR) == 0.0:
        return False
    for j in range(size):
        if not work[j, size + 1] > TOLERANCE:
            return False
    value = work[size, size + 1]
    for i in range(payoff.shape[0]):
        earned = 0.0
        for j in range(size):
            earned += payoff[i, columns[j]] * work[j, size + 1]
        if earned > value + TOLERANCE:
            return False
    for j in range(payoff.shape[1]):
        mix[j] = 0.0
    for j in range(size):
        mix[columns[j]] = work[j, size + 1]
    return True


@part
def _enumerate(a: F8, bt: F8, pairs: I8, sets: I8, index: I8, room: Room, stamp: int, x: F8, y: F8) -> int:
    """Write all equilibria of the scaled game (a [m,n], bt [n,m]) to x, y; return how many.

    Which pairs are tried follows from dominance or the vertices; the bits are those of trying every pair.
    """
    _, work, chosen, tableaux, labels, seen = room
    count, certain, found = -1, False, 0
    if index.shape[0] > 1:
        count = undominated(a, bt, sets, chosen)
        if count < 0:
            count = candidates(a, bt, index, tableaux, labels, seen, stamp, chosen)
            certain = 0 <= count < x.shape[0]
    if count < 0 or count >= x.shape[0]:
        count, certain = _every(chosen), False
    for _ in range(2):  # one place that calls: each is compiled
        found = equilibria_among(a, bt, pairs, chosen, count, work, x, y)
        if found == count or not certain:
            break
        count, certain = _every(chosen), False
    return found


@part
def _every(chosen: I8) -> int:
    """Choose all pairs; return how many."""
    for p in range(len(chosen)):
        chosen[p] = p
    return len(chosen)


@part
def equilibria_among(a: F8, bt: F8, pairs: I8, chosen: I8, count: int, work: F8, x: F8, y: F8) -> int:
    """Write the equilibria among the first `count` chosen pairs to x, y; return how many.

    This and what it calls take their scratch from outside, so that the GPU compiles the same source.
    """
    k, found = (pairs.shape[1] - 1) // 2, 0
    for c in range(count):
        p = chosen[c]
        size, rows, columns = pairs[p, 0], pairs[p, 1 : 1 + k], pairs[p, 1 + k :]
        if found < x.shape[0] - 1 and _mix(a, rows, columns, size, work, y[found]):
            found += _mix(bt, columns, rows, size, work, x[found])
    return found


@kernel
def largest_gain(a: F8, bt: F8, x: F8, y: F8) -> float:
    """Return the largest unilateral gain at (x, y)."""
    value, best = 0.0, -np.inf
    for i in range(a.shape[0]):
        earned = 0.0
        for j in range(a.shape[1]):
            earned += a[i, j] * y[j]
        value += x[i] * earned
        best = max(best, earned)
    value_b, best_b = 0.0, -np.inf
    for j in range(a.shape[1]):
        earned = 0.0
        for i in range(a.shape[0]):
            earned += bt[j, i] * x[i]
        value_b += y[j] * earned
        best_b = max(best_b, earned)
    return max(0.0, best - value, best_b - value_b)


@kernel
def _entropy(mix: F8, total: float) -> float:
    """Return `total` + H(mix) in nats."""
    for i in range(mix.shape[0]):
        if mix[i] > 0.0:
            total -= mix[i] * math.log(mix[i])
    return total


@kernel
def _all(
    a: F8, b: F8, pairs: I8, sets: I8, index: I8, room: Room, x: F8, y: F8, count: I8, regret: F8
) -> None:
    """Enumerate G scaled games a, b [G,m,n] into x, y [G,K,·]; the rest of `regret` [G,K] stays."""
    bt = room[0]
    for g in range(a.shape[0]):
        transpose(b[g], bt)
        found = _enumerate(a[g], bt, pairs, sets, index, room, g + 1, x[g], y[g])
        count[g] = found
        for e in range(found):
            regret[g, e] = largest_gain(a[g], bt, x[g, e], y[g, e])


@kernel
def average(xs: F8, ys: F8, found: int, score: F8, x: F8, y: F8) -> None:
    """Average the equilibria of largest entropy into x, y; `score` is scratch."""
    best = -np.inf
    for e in range(found):
        score[e] = _entropy(ys[e], _entropy(xs[e], 0.0))
        best = max(best, score[e])
    ties = 0.0
    for e in range(found):
        if score[e] >= best - TIE:
            ties += 1.0
    _mean(xs, found, score, best - TIE, ties, x)
    _mean(ys, found, score, best - TIE, ties, y)


@kernel
def _mean(mixes: F8, found: int, score: F8, least: float, ties: float, out: F8) -> None:
    """Write the mean of those of the `ties` mixes that score `least` to `out`."""
    for i in range(out.shape[0]):
        total = 0.0
        for e in range(found):
            if score[e] >= least:
                total += mixes[e, i]
        out[i] = total / ties


@kernel
def _choose(
    a: F8, b: F8, pairs: I8, sets: I8, index: I8, room: Room, xs: F8, ys: F8, score: F8, x: F8, y: F8,
    count: I8, regret: F8,
) -> None:  # fmt: skip
    """Write one strategy pair of each of G scaled games a, b [G,m,n] to x [G,m], y [G,n]."""
    bt = room[0]
    for g in range(a.shape[0]):
        transpose(b[g], bt)
        found = _enumerate(a[g], bt, pairs, sets, index, room, g + 1, xs, ys)
        if found == 0:
            found = 1
            lemke_howson(a[g], bt, 0, xs[0], ys[0])
        count[g] = found
        for e in range(found):
            regret[g] = max(regret[g], largest_gain(a[g], bt, xs[e], ys[e]))
        average(xs, ys, found, score, x[g], y[g])


def _most(pairs: I8) -> int:
    return min(len(pairs), MOST)


def choose_on_cpu() -> Callable[..., tuple[F8, F8, I8, F8]]:
    """Return the form of the choice that this process uses without a device."""
    if not backend.jit_enabled():
        return _choose_reference
    return _choose_in_parts


def _choose_in_parts(a: F8, b: F8, pairs: I8, most: int) -> tuple[F8, F8, I8, F8]:
    """Run `_choose` on each thread's share of the games."""
    games, m, n = a.shape
    solved = np.empty((games, m)), np.empty((games, n)), np.zeros(games, np.int64), np.zeros(games)
    sets, index = numbers(m, n)

    def share(p: F8, q: F8, *out: Any) -> None:
        found = np.empty((most + 1, m)), np.empty((most + 1, n)), np.empty(most + 1)
        _choose(p, q, pairs, sets, index, room_for(m, n, pairs, index), *found, *out)

    backend.each_part(share, a, b, *solved, entry=ENTRY)
    return solved


def enumerated(a: F8, b: F8, pairs: I8, most: int, sets: I8, index: I8) -> tuple[F8, F8, I8, F8]:
    """Run `_all` on scaled games; `sets` and `index` as `numbers` returns them."""
    games, m, n = a.shape
    x, y = np.empty((games, most + 1, m)), np.empty((games, most + 1, n))
    count, gains = np.zeros(games, np.int64), np.full((games, most + 1), np.nan)
    _all(a, b, pairs, sets, index, room_for(m, n, pairs, index), x, y, count, gains)
    return x, y, count, gains


def nash_all(a: F8, b: F8) -> Equilibria:
    """Return all equilibria of equal support size of the games a, b [G,m,n] (row, column payoffs)."""
    pairs = supports(a.shape[1], a.shape[2])
    most = _most(pairs)
    if backend.jit_enabled():
        found = enumerated(scaled(a), scaled(b), pairs, most, *numbers(a.shape[1], a.shape[2]))
    else:
        found = _all_reference(scaled(a), scaled(b), pairs, most)
    x, y, count, gains = found
    beyond = np.arange(most) >= count[:, None]
    x, y = (np.where(beyond[:, :, None], np.nan, mix[:, :most]) for mix in (x, y))
    return Equilibria(x, y, count, gains[:, :most])


def nash_choice(a: F8, b: F8) -> Choice:
    """Return the equilibrium of largest entropy (ties within 1e-9 averaged) of each game a, b [G,m,n]."""
    return nash_choices([(a, b)])[0]


def nash_choices(batches: Sequence[tuple[F8, F8]]) -> list[Choice]:
    """Return `nash_choice` of batches of games of different shapes; a device is asked once for all."""
    games = []
    for a, b in batches:
        pairs = supports(a.shape[1], a.shape[2])
        games.append((scaled(a), scaled(b), pairs, _most(pairs)))
    if gpu.wants("nash_gpu.choose", sum(len(a) for a, _ in batches)):
        from qts_agents.kernels import nash_gpu  # only where there is a device: it brings numba.cuda

        solved = gpu.attempt(lambda: nash_gpu.choose(games, choose_on_cpu()))
        if solved is not None:
            return [Choice(*one, gpu.device()) for one in solved]
    return [Choice(*choose_on_cpu()(*batch)) for batch in games]


def regret(a: F8, b: F8, x: F8, y: F8) -> F8:
    """Return each game's largest unilateral gain at x [G,m], y [G,n] as a share of the payoff range."""
    a, b = scaled(a), scaled(b)
    row, column = np.einsum("gij,gj->gi", a, y), np.einsum("gij,gi->gj", b, x)
    gain_row = row.max(axis=1) - np.einsum("gi,gi->g", row, x)
    gain_column = column.max(axis=1) - np.einsum("gj,gj->g", column, y)
    gain: F8 = np.maximum(0.0, np.maximum(gain_row, gain_column))
    return gain


def _mix_reference(payoff: F8, rows: I8, columns: I8) -> F8 | None:
    """Numpy form of `_mix`, by LU (LAPACK)."""
    size = len(rows)
    system = np.zeros((size + 1, size + 1))
    system[:size, :size] = payoff[np.ix_(rows, columns)]
    system[:size, size], system[size, :size] = -1.0, 1.0
    try:
        solved = np.linalg.solve(system, np.eye(size + 1)[size])
    except np.linalg.LinAlgError:
        return None
    mix: F8 = np.zeros(payoff.shape[1])
    mix[columns] = solved[:size]
    fits = np.all(solved[:size] > TOLERANCE) and np.all(payoff @ mix <= solved[size] + TOLERANCE)
    return mix if fits else None


def enumerate_reference(a: F8, b: F8) -> list[tuple[F8, F8]]:
    """Return all equilibria of one scaled game [m,n] by plain numpy."""
    k, found = min(a.shape), []
    for pair in supports(*a.shape):
        rows, columns = pair[1 : 1 + pair[0]], pair[1 + k : 1 + k + pair[0]]
        y = _mix_reference(a, rows, columns)
        x = None if y is None else _mix_reference(b.T, columns, rows)
        if x is not None and y is not None:
            found.append((x, y))
    return found


def _all_reference(a: F8, b: F8, _pairs: I8, most: int) -> tuple[F8, F8, I8, F8]:
    """Numpy form of `enumerated`."""
    games, m, n = a.shape
    x, y = np.full((games, most + 1, m), np.nan), np.full((games, most + 1, n), np.nan)
    count, gains = np.zeros(games, np.int64), np.full((games, most + 1), np.nan)
    for g in range(games):
        for e, (row, column) in enumerate(enumerate_reference(a[g], b[g])[:most]):
            x[g, e], y[g, e], count[g] = row, column, e + 1
            gains[g, e] = regret(a[g : g + 1], b[g : g + 1], row[None], column[None])[0]
    return x, y, count, gains


def _choose_reference(a: F8, b: F8, _pairs: I8, most: int) -> tuple[F8, F8, I8, F8]:
    """Numpy form of `_choose`."""
    games, m, n = a.shape
    x, y = np.empty((games, m)), np.empty((games, n))
    count, gains = np.zeros(games, np.int64), np.zeros(games)
    for g in range(games):
        found = enumerate_reference(a[g], b[g])[:most] or [lemke_howson_reference(a[g], b[g], 0)]
        xs, ys = np.array([e[0] for e in found]), np.array([e[1] for e in found])
        mixes = np.concatenate([xs, ys], axis=1)
        entropy = -np.sum(mixes * np.log(np.where(mixes > 0, mixes, 1.0)), axis=1)
        best = entropy >= entropy.max() - TIE
        x[g], y[g], count[g] = xs[best].mean(axis=0), ys[best].mean(axis=0), len(found)
        many_a, many_b = (np.repeat(p[g : g + 1], len(found), axis=0) for p in (a, b))
        gains[g] = regret(many_a, many_b, xs, ys).max()
    return x, y, count, gains
