"""Shapley values (1953) of up to 12 players: what each adds, averaged over all orders of joining."""

from __future__ import annotations

from itertools import permutations
from math import factorial

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel

F8 = NDArray[np.float64]
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
    orders = factorial(players)
    weight = np.array([factorial(k) * factorial(players - k - 1) / orders for k in range(players)])
    out = np.zeros((len(worth), players))
    _shapley(worth, weight, out)
    return out


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


def warm_up() -> None:
    """Compile what serving calls."""
    shapley(np.zeros((1, 2)))
