"""Payoffs of games brought to 0…1, so that tolerances are shares of the payoff range."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel

F8 = NDArray[np.float64]


def scaled(payoff: F8) -> F8:
    """Scale each game's payoffs [G,m,n] to 0…1; a constant game becomes 0. Equilibria stay."""
    if backend.jit_enabled():
        return _scaled(np.require(payoff, requirements=("C", "W")))  # one layout: each is compiled
    return scaled_reference(payoff)


@kernel
def _scaled(payoff: F8) -> F8:
    """Return `scaled_reference`, each game while the cache holds it."""
    out = np.empty(payoff.shape)
    for g in range(payoff.shape[0]):
        low, high, broken = np.inf, -np.inf, False
        for i in range(payoff.shape[1]):
            for j in range(payoff.shape[2]):
                v = payoff[g, i, j]
                low, high, broken = min(low, v), max(high, v), broken or np.isnan(v)
        low = np.nan if broken else low
        span = high - low if high > low else 1.0
        for i in range(payoff.shape[1]):
            for j in range(payoff.shape[2]):
                out[g, i, j] = (payoff[g, i, j] - low) / span
    return out


def scaled_reference(payoff: F8) -> F8:
    """Return `scaled` by array arithmetic."""
    low = payoff.min(axis=(1, 2), keepdims=True)
    span = payoff.max(axis=(1, 2), keepdims=True) - low
    return np.ascontiguousarray((payoff - low) / np.where(span > 0, span, 1.0))
