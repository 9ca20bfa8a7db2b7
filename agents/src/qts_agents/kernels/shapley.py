"""Shapley values (1953) of up to 12 players: what each adds, averaged over all orders of joining.

And what PADS asks of coalitions of seats: the chance that the pool of each gave to what came.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations
from math import factorial

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import floats, kernel
from qts_agents.kernels.pool import BUDGET, clip_row, lmsr_reference, softmax_row

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
MOST_PLAYERS = 12


@kernel
def _shapley(worth: F8, weight: F8, out: F8) -> None:
    """Add up weighted contributions; worth [S,2^N], weight [N] by how many were there before, out [S,N]."""
    players = weight.shape[0]
    for s in range(worth.shape[0]):
        for coalition in range(worth.shape[1]):
            size = 0
            for i in range(players):
                size += (coalition >> i) & 1
            for i in range(players):
                if (coalition >> i) & 1 == 0:
                    out[s, i] += weight[size] * (worth[s, coalition | 1 << i] - worth[s, coalition])


def shapley(worth: F8) -> F8:
    """Return the values [S,N] of games `worth` [S,2^N]; bit i of a coalition's number is player i.

    The values of a game sum to worth[all] − worth[none]. ValueError: not a power of two, or N above 12.
    """
    worth = np.array(np.atleast_2d(worth), np.float64)
    players = worth.shape[1].bit_length() - 1
    if worth.shape[1] != 1 << players or not 1 <= players <= MOST_PLAYERS:
        raise ValueError(f"worth: 2^N coalitions of 1 to {MOST_PLAYERS} players, found {worth.shape[1]}")
    if not backend.jit_enabled():
        return shapley_reference(worth)
    out = np.zeros((len(worth), players))
    _shapley(worth, _weights(players), out)
    return out


@cache
def _weights(players: int) -> F8:
    """Return the share of the orders [N] in which just so many are there before a player joins."""
    orders = factorial(players)
    return np.array([factorial(k) * factorial(players - k - 1) / orders for k in range(players)])


def shapley_reference(worth: F8) -> F8:
    """Return `shapley` by going through every order of joining."""
    players = worth.shape[1].bit_length() - 1
    out, orders = np.zeros((len(worth), players)), list(permutations(range(players)))
    for order in orders:
        there = 0
        for i in order:
            out[:, i] += worth[:, there | 1 << i] - worth[:, there]
            there |= 1 << i
    return out / len(orders)


def coalitions(n: int) -> NDArray[np.bool_]:
    """Return who belongs to each of the 2ⁿ coalitions [2ⁿ,n]; number c holds seat i where bit i is set."""
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(np.bool_)


def chances(pi: F8, omega: F8, prior: F8, y: I8) -> F8:
    """Return what the pool of each coalition's opinions gave to what came, [2^N,S].

    As `pool.lmsr_pool` pools `pi` [S,N,3] of weight `omega` [S,N] on `prior` [S,3]; `y` [S] is 0, 1 or 2.
    """
    out = np.empty((1 << pi.shape[1], len(pi)))
    run = _chances if backend.jit_enabled() else chances_reference
    run(floats(pi), floats(omega), floats(prior), BUDGET, y, out)
    return out


def chances_reference(pi: F8, omega: F8, prior: F8, factor: float, y: I8, out: F8) -> None:
    """Write `chances` by pooling each coalition by itself, who does not belong to it weighing nothing."""
    S, N = omega.shape
    count, rows = len(out), S * len(out)
    p, left = np.empty((rows, 3)), (np.empty(rows), np.empty((rows, N)))
    without, q = np.empty((rows, N, 3)), np.empty((rows, 3))
    weights = np.where(coalitions(N)[:, None, :], omega, 0.0).reshape(rows, N)
    lmsr_reference(
        np.tile(pi, (count, 1, 1)), weights, np.tile(prior, (count, 1)), 1.0, factor, p, *left, without, q
    )
    out[:] = p[np.arange(rows), np.tile(y, count)].reshape(count, S)


@kernel
def _chances(pi: F8, omega: F8, prior: F8, factor: float, y: I8, out: F8) -> None:
    """Take a row's logarithms once for all coalitions; each adds its trades in the order of seats."""
    S, N = omega.shape
    trade, clipped, log_prior, total, p = np.empty((N, 3)), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    for s in range(S):
        for k in range(3):
            log_prior[k] = np.log(prior[s, k])
        for i in range(N):
            trade[i] = 0.0
            if not (omega[s, i] > 0.0 and clip_row(pi[s, i], clipped)):
                continue
            worst = 1e-300
            for k in range(3):
                trade[i, k] = np.log(clipped[k])
                worst = max(worst, log_prior[k] - trade[i, k])
            share = omega[s, i] * min(1.0, factor / worst)
            for k in range(3):
                trade[i, k] = share * (trade[i, k] - log_prior[k])
        for c in range(out.shape[0]):
            total[:] = log_prior
            for i in range(N):
                if (c >> i) & 1:
                    for k in range(3):
                        total[k] += trade[i, k]
            softmax_row(total, p)
            out[c, s] = p[y[s]]


def warm_up() -> None:
    """Compile what serving calls."""
    shapley(np.zeros((1, 2)))
    one, third = np.ones((1, 1)), np.full((1, 1, 3), 1.0 / 3.0)
    chances(third, one, third[0], np.zeros(1, dtype=np.int64))
