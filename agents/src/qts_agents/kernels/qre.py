"""Logit quantal response equilibria (McKelvey & Palfrey 1995) of games of three players.

Their principal branch begins at λ = 0, each player uniform. It is a curve in (log probabilities, λ) that may
turn back in λ and come forward again, so steps in λ lose it: they end nowhere or on another branch. It is
followed by its length (Turocy 2005): a step along the tangent, then Newton's method across it. The next step
is shorter where the correction was long, converged slowly or turned the tangent (Allgower & Georg 1990,
§6.1). Where branches nearly meet, a step may land on another one: there the determinant of the system has the
other sign, and the step is halved. The answer is where the branch reaches the λ asked for the first time.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel, part
from qts_agents.kernels.linear import solve
from qts_agents.kernels.qre_reference import follow_reference

F8 = NDArray[np.float64]
FIRST, LEAST = 0.5, 1e-9  # lengths of the first step, and of one too short to go on
MEETING = 1e-4  # a step this short may change the sign: branches meet, as those of symmetric games do
STEPS, NEWTON, POLISH = 5_000, 8, 20  # most of each kind
NEAR, SHARE = 1e-3, 0.05  # most of a last correction, also as a share of its step
SETTLED = 1e-13  # |mix − response| at the end
SINGULAR = 1e-14  # pivots below it
DISTANCE, CONTRACTION, TURN = 0.2, 0.2, 0.2  # of a step that the next one equals
AT, AHEAD, TANGENT, ACROSS, LINES = 0, 1, 2, 3, 4  # rows of a path's scratch: two points and two directions


class Quantal(msgspec.Struct, frozen=True):
    """Where the branch reaches λ, for each of G games."""

    mix: F8  # [G,3,n]
    residual: F8  # [G] largest |mix − response|; above 1e-10 the branch was lost before


@part
def _mixtures(point: F8, mix: F8) -> None:
    """Write the mixtures [3,n] whose log probabilities are those of `point` but for a constant a player."""
    n = mix.shape[1]
    for p in range(3):
        top, total = -np.inf, 0.0
        for i in range(n):
            top = max(top, point[p * n + i])
        for i in range(n):
            mix[p, i] = math.exp(point[p * n + i] - top)
            total += mix[p, i]
        for i in range(n):
            mix[p, i] /= total


@part
def _system(u: F8, point: F8, across: F8, mix: F8, work: F8) -> None:
    """Write Newton's system [3n+1,3n+3] at `point`: the slopes of z − λ·payoff(z), then `across`.

    The last two columns are the right sides: of the correction, and of the tangent.
    """
    n = mix.shape[1]
    end, rate = 3 * n, point[3 * n]
    _mixtures(point, mix)
    for p in range(3):
        second, third = (p + 1) % 3, (p + 2) % 3
        for i in range(n):
            row, earned = p * n + i, 0.0
            for j in range(n):
                work[row, p * n + j] = work[row, third * n + j] = 0.0
            for j in range(n):
                against = 0.0
                for k in range(n):
                    against += u[p, i, j, k] * mix[third, k]
                    work[row, third * n + k] += u[p, i, j, k] * mix[second, j]
                work[row, second * n + j] = against
                earned += against * mix[second, j]
            for j in range(n):
                work[row, second * n + j] = -rate * mix[second, j] * (work[row, second * n + j] - earned)
                work[row, third * n + j] = -rate * mix[third, j] * (work[row, third * n + j] - earned)
            work[row, row], work[row, end] = 1.0, -earned
            work[row, end + 1], work[row, end + 2] = rate * earned - point[row], 0.0
    for j in range(end + 1):
        work[end, j] = across[j]
    work[end, end + 1], work[end, end + 2] = 0.0, 1.0


@part
def _correct(u: F8, point: F8, across: F8, near: float, mix: F8, work: F8) -> tuple[float, float]:
    """Correct `point` in place, the tangent there being left in `work`; return the sign and the strain.

    The strain is by how much the step was too long; 2 and more says that it has failed.
    """
    size = point.shape[0]
    sign, strain, before = 0.0, 0.0, 0.0
    for turn in range(NEWTON):
        _system(u, point, across, mix, work)
        sign, length = solve(work, size, 2, SINGULAR), 0.0
        if sign == 0.0:
            break
        for j in range(size):
            point[j] += work[j, size]
            length += work[j, size] ** 2
        length = math.sqrt(length)
        if turn == 0:
            strain = math.sqrt(length / DISTANCE)
        elif before > 1e-9:
            strain = max(strain, math.sqrt(length / before / CONTRACTION))
        if not strain < 2.0:
            break
        if length <= near:
            return sign, strain
        before = length
    return sign, 2.0


@part
def _turn(tangent: F8, work: F8) -> float:
    """Scale the new tangent in `work` to length 1; return its distance from `tangent`."""
    size = tangent.shape[0]
    length, turned = 0.0, 0.0
    for j in range(size):
        length += work[j, size + 1] ** 2
    length = math.sqrt(length)
    for j in range(size):
        work[j, size + 1] /= length
        turned += (work[j, size + 1] - tangent[j]) ** 2
    return math.sqrt(turned)


@part
def _step(
    u: F8, target: float, length: float, facing: float, mix: F8, lines: F8, work: F8
) -> tuple[float, float]:
    """Go `length` along the branch if that succeeds; return the sign of where it ends and the strain."""
    at, ahead, tangent, across = lines[AT], lines[AHEAD], lines[TANGENT], lines[ACROSS]
    end = at.shape[0] - 1
    last = at[end] + length * tangent[end] >= target
    for j in range(end + 1):
        ahead[j] = at[j] + length * tangent[j]
        across[j] = 0.0 if last else tangent[j]
    if last:
        ahead[end], across[end] = target, 1.0
    sign, strain = _correct(u, ahead, across, min(NEAR, SHARE * length), mix, work)
    if strain < 2.0:
        strain = max(strain, _turn(tangent, work) / TURN)
    if sign != facing and length > MEETING:
        strain = 2.0
    if strain < 2.0:
        for j in range(end + 1):
            at[j], tangent[j] = ahead[j], work[j, end + 2]
    return sign, strain


@part
def _settle(u: F8, target: float, mix: F8, lines: F8, work: F8) -> float:
    """Finish at λ = `target` by Newton's method; return how far the mixtures are from the responses."""
    at, across = lines[AT], lines[ACROSS]
    n, end, off = mix.shape[1], at.shape[0] - 1, np.inf
    for j in range(end):
        across[j] = 0.0
    at[end], across[end] = target, 1.0
    for turn in range(POLISH):
        _system(u, at, across, mix, work)
        off = _distance(mix, work)
        if off < SETTLED or turn == POLISH - 1 or solve(work, end + 1, 2, SINGULAR) == 0.0:
            break
        for j in range(end):
            at[j] += work[j, end + 1]
    if not off < np.inf:  # payoffs that are no numbers
        for p in range(3):
            for i in range(n):
                mix[p, i] = np.nan
    return off


@part
def _distance(mix: F8, work: F8) -> float:
    """Return the largest |mix − response|; log response and log mixture differ by Newton's right side."""
    n, off = mix.shape[1], 0.0
    for p in range(3):
        top, total = -np.inf, 0.0
        for i in range(n):
            top = max(top, work[p * n + i, 3 * n + 1])
        for i in range(n):
            total += mix[p, i] * math.exp(work[p * n + i, 3 * n + 1] - top)
        for i in range(n):
            apart = abs(mix[p, i] * (math.exp(work[p * n + i, 3 * n + 1] - top) / total - 1.0))
            off = off if apart <= off else apart  # also where it is no number
    return off


@part
def path_of(u: F8, target: float, mix: F8, lines: F8, work: F8) -> float:
    """Write the mixtures [3,n] of a game u [3,n,n,n] where its branch reaches `target`; return the residual.

    Scratch: lines [4,3n+1], work [3n+1,3n+3].
    """
    end = 3 * mix.shape[1]
    for j in range(end + 1):
        lines[AT, j] = lines[TANGENT, j] = lines[ACROSS, j] = 0.0
    lines[TANGENT, end] = lines[ACROSS, end] = 1.0
    _system(u, lines[AT], lines[ACROSS], mix, work)
    facing = solve(work, end + 1, 2, SINGULAR)
    _turn(lines[TANGENT], work)
    for j in range(end + 1):
        lines[TANGENT, j] = work[j, end + 2]
    length = FIRST
    for _ in range(STEPS):
        if lines[TANGENT, end] > 0.0:  # not beyond the λ asked for
            length = min(length, (target - lines[AT, end]) / lines[TANGENT, end])
        sign, strain = _step(u, target, length, facing, mix, lines, work)
        if strain < 2.0:
            facing = sign
        if lines[AT, end] >= target:
            break
        length /= max(0.5, min(strain, 2.0))
        if length < LEAST:
            break
    return _settle(u, target, mix, lines, work)


@kernel
def _follow(u: F8, targets: F8, mix: F8, residual: F8) -> None:
    """Follow G games u [G,3,n,n,n] to their `targets` [G]; write mixtures [G,3,n] and residuals [G]."""
    size = 3 * mix.shape[2] + 1
    lines, work = np.empty((LINES, size)), np.empty((size, size + 2))
    for g in range(u.shape[0]):
        residual[g] = path_of(u[g], targets[g], mix[g], lines, work)


def own_first(payoff: F8) -> F8:
    """Return payoffs [G,3,n,n,n], by the actions of players 1, 2, 3, with each player's own action first."""
    turned = [payoff[:, 0], payoff[:, 1].transpose(0, 2, 3, 1), payoff[:, 2].transpose(0, 3, 1, 2)]
    return np.ascontiguousarray(np.stack(turned, axis=1), np.float64)


def normal(payoff: F8) -> tuple[F8, F8]:
    """Return the games with each player's own action first, mean 0 over it and range 1, and the ranges [G].

    What is added to all actions of a player changes no response; a game's range goes into λ.
    """
    u = own_first(payoff)
    u -= u.mean(axis=2, keepdims=True)
    span = np.ptp(u, axis=(2, 3, 4)).max(axis=1)
    span = np.where(span == 0.0, 1.0, span)
    return u / span.reshape(-1, 1, 1, 1, 1), span


def qre(payoff: F8, rate: float) -> Quantal:
    """Return the equilibrium at λ = `rate` (per unit of payoff) of games payoff [G,3,n,n,n].

    payoff[g, p, i, j, k] is what player p gets when players 1, 2, 3 play i, j, k.
    """
    if not 0.0 <= rate < np.inf:
        raise ValueError(f"rate {rate}: λ goes from 0 upwards and ends")
    u, span = normal(payoff)
    mix, residual = np.empty((*u.shape[:2], u.shape[2])), np.empty(len(u))
    backend.fill("qre_gpu.follow", (mix, residual), (u, rate * span), _follow, follow_reference)
    return Quantal(mix, residual)
