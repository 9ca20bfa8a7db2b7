"""Logit quantal response equilibria (McKelvey & Palfrey 1995) of games of three players, along a path of λ.

The path begins at λ = 0, each player uniform, and goes on in steps; each starts where the last one ended. A
damped fixed point comes near, Newton's method on all three mixtures finishes. The branch out of the uniform
mixtures is followed, which is the one that λ → ∞ selects as long as it does not turn back.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel, part
from qts_agents.kernels.nash import eliminate

F8 = NDArray[np.float64]
PLAYERS = 3
DAMPED, NEWTON = 60, 8  # most steps of each kind at one λ
DAMPING = 0.5
SETTLED = 1e-13


class Quantal(msgspec.Struct, frozen=True):
    """Where the path ends, for each of G games."""

    mix: F8  # [G,3,n]
    residual: F8  # [G] largest |mix − response|; above 1e-10 the path has been lost


@part
def _answers(u: F8, rate: float, mix: F8, out: F8) -> float:
    """Write every player's logit response to `mix` [3,n]; return the largest distance between both."""
    n, off = mix.shape[1], 0.0
    for p in range(3):
        second, third = mix[(p + 1) % 3], mix[(p + 2) % 3]
        top, total = -np.inf, 0.0
        for i in range(n):
            earned = 0.0
            for j in range(n):
                for k in range(n):
                    earned += u[p, i, j, k] * second[j] * third[k]
            out[p, i] = rate * earned
            top = max(top, out[p, i])
        for i in range(n):
            out[p, i] = math.exp(out[p, i] - top)
            total += out[p, i]
        for i in range(n):
            out[p, i] /= total
            off = max(off, abs(out[p, i] - mix[p, i]))
    return off


@part
def _slopes(u: F8, rate: float, mix: F8, answer: F8, effect: F8, out: F8) -> None:
    """Write the Jacobian [3n,3n] of mix − response; the response's is λ·(diag(r) − rrᵀ)·∂payoff."""
    n = mix.shape[1]
    out[:] = 0.0
    for p in range(3):
        second, third = (p + 1) % 3, (p + 2) % 3
        for j in range(n):
            out[p * n + j, p * n + j] = 1.0
        for j in range(n):
            mean_second, mean_third = 0.0, 0.0
            for i in range(n):
                effect[0, i] = effect[1, i] = 0.0
                for k in range(n):
                    effect[0, i] += u[p, i, j, k] * mix[third, k]
                    effect[1, i] += u[p, i, k, j] * mix[second, k]
                mean_second += answer[p, i] * effect[0, i]
                mean_third += answer[p, i] * effect[1, i]
            for i in range(n):
                out[p * n + i, second * n + j] = -rate * answer[p, i] * (effect[0, i] - mean_second)
                out[p * n + i, third * n + j] = -rate * answer[p, i] * (effect[1, i] - mean_third)


@part
def path_of(u: F8, rates: F8, mix: F8, answer: F8, effect: F8, slope: F8) -> float:
    """Follow one game u [3,n,n,n] along `rates` [L] from `mix` [3,n], in place; return the last residual.

    Scratch: answer [3,n], effect [2,n], slope [3n,3n+1].
    """
    n, off = mix.shape[1], 0.0
    for step in range(rates.shape[0]):
        for _ in range(DAMPED):
            off = _answers(u, rates[step], mix, answer)
            if off < 1e-4:
                break
            for p in range(3):
                for i in range(n):
                    mix[p, i] += DAMPING * (answer[p, i] - mix[p, i])
        for _ in range(NEWTON):
            off = _answers(u, rates[step], mix, answer)
            if off < SETTLED:
                break
            _slopes(u, rates[step], mix, answer, effect, slope)
            for i in range(3 * n):
                slope[i, 3 * n] = answer[i // n, i % n] - mix[i // n, i % n]
            if not eliminate(slope, 3 * n):
                break
            for i in range(3 * n):
                mix[i // n, i % n] += slope[i, 3 * n]
        off = _answers(u, rates[step], mix, answer)
    return off


@kernel
def _follow(u: F8, rates: F8, mix: F8, residual: F8) -> None:
    """Follow G games u [G,3,n,n,n] from `mix` [G,3,n], in place; write the last residuals [G]."""
    n = mix.shape[2]
    answer, effect, slope = np.empty((3, n)), np.empty((2, n)), np.empty((3 * n, 3 * n + 1))
    for g in range(u.shape[0]):
        residual[g] = path_of(u[g], rates, mix[g], answer, effect, slope)


def own_first(payoff: F8) -> F8:
    """Return payoffs [G,3,n,n,n], by the actions of players 1, 2, 3, with each player's own action first."""
    turned = [payoff[:, 0], payoff[:, 1].transpose(0, 2, 3, 1), payoff[:, 2].transpose(0, 3, 1, 2)]
    return np.ascontiguousarray(np.stack(turned, axis=1), np.float64)


def qre(payoff: F8, rate: float, steps: int = 10) -> Quantal:
    """Return the equilibrium at λ = `rate` (per unit of payoff) of games payoff [G,3,n,n,n].

    payoff[g, p, i, j, k] is what player p gets when players 1, 2, 3 play i, j, k.
    """
    u, rates = own_first(payoff), np.linspace(0.0, rate, steps + 1)[1:]
    mix, residual = np.full((*u.shape[:2], u.shape[2]), 1.0 / u.shape[2]), np.empty(len(u))
    backend.fill("qre_gpu.follow", (mix, residual), (u, rates), _follow, follow_reference)
    return Quantal(mix, residual)


def follow_reference(u: F8, rates: F8, mix: F8, residual: F8) -> None:
    """Do what `_follow` does by the damped fixed point alone, with as many steps as it takes."""
    for g in range(len(u)):
        residual[g] = _damped(u[g], rates, mix[g])


def _damped(u: F8, rates: F8, mix: F8) -> float:
    off = np.inf
    for rate in rates:
        for _ in range(200_000):
            pairs = [(mix[(p + 1) % PLAYERS], mix[(p + 2) % PLAYERS]) for p in range(PLAYERS)]
            earned = np.array([np.einsum("ijk,j,k->i", u[p], *pair) for p, pair in enumerate(pairs)])
            raised = np.exp(rate * (earned - earned.max(axis=1, keepdims=True)))
            moved = raised / raised.sum(axis=1, keepdims=True) - mix
            off = float(np.abs(moved).max())
            if off < SETTLED:
                break
            mix += 0.2 * moved
    return float(off)
