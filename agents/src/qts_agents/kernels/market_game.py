"""The bimatrix game of a trader against the market maker: payoffs by symbol and drift (agents.md §4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.backend import each_part, floats, jit_enabled, kernel

F8 = NDArray[np.float64]
BUY, SELL, KEEP, WAIT = range(4)
TIGHT, WIDE, SKEW_UP, SKEW_DOWN = range(4)
WIDTH: F8 = np.array([0.5, 1.5, 1.0, 1.0])  # k
SKEW: F8 = np.array([0.0, 0.0, 1.0, -1.0])  # z
TRADE: F8 = np.array([1.0, -1.0, 0.0, 0.0])  # a of buy and sell; the maker sees none in hold and wait
SKEW_SHARE, INFORMED, RETAIL, RETAIL_DECAY, PATIENCE = (
    0.5,
    0.3,
    1.0,
    2.0,
    0.95,
)  # η, θ, φ, χ, value of waiting
SIDE, HALF, IMPACT, FEE, RISK, BETA = range(6)  # columns of what is known
PAID: F8 = WIDTH * np.abs(TRADE)[:, None] + SKEW_SHARE * SKEW * TRADE[:, None]  # half spreads of a trade
FLOW: F8 = WIDTH * np.exp(-RETAIL_DECAY * (WIDTH - 1.0))


def payoffs(known: Any, drift: Any) -> tuple[F8, F8]:
    """Return u and w [S,K,4,4] of trader and maker for K values of the drift [S,K].

    `known` [S,6]: side, half spread, impact, fee, risk, all in bp but the side; and the retail side.
    """
    of, move = floats(known), floats(drift)
    u, w = np.empty((2, *move.shape, 4, 4))
    form: Callable[..., None] = _rows if jit_enabled() else rows_reference
    each_part(lambda *rows: form(*rows, PAID, FLOW), of, move, u, w)
    return u, w


@kernel
def _rows(known: F8, drift: F8, u: F8, w: F8, paid: F8, flow: F8) -> None:
    """Write the payoffs of each row."""
    for s in range(known.shape[0]):
        side, half, risk, beta = known[s, SIDE], known[s, HALF], known[s, RISK], known[s, BETA]
        order = known[s, IMPACT] + known[s, FEE]
        for k in range(drift.shape[1]):
            move = drift[s, k]
            held = side * move - risk * side * side
            for j in range(4):
                skew = SKEW_SHARE if j == SKEW_UP else (-SKEW_SHARE if j == SKEW_DOWN else 0.0)
                retail = RETAIL * half * (flow[j] + skew * beta)
                for i in range(4):
                    trade = 1.0 if i == BUY else (-1.0 if i == SELL else 0.0)
                    cost, size = half * paid[i, j], abs(trade)
                    u[s, k, i, j] = held if i == KEEP else trade * move - order * size - cost - risk * size
                    w[s, k, i, j] = cost - INFORMED * trade * move + retail
            a, b = u[s, k, BUY, TIGHT], u[s, k, SELL, TIGHT]
            best = a if a >= b or np.isnan(a) else b
            for j in range(4):
                u[s, k, WAIT, j] = PATIENCE * (0.0 if best <= 0.0 else best)


def rows_reference(known: F8, drift: F8, u: F8, w: F8, paid: F8, flow: F8) -> None:
    """Write the payoffs of each row by whole arrays."""
    side, half, impact, fee, risk, beta = (column[:, None, None, None] for column in known.T)
    size, move, cost = np.abs(TRADE)[:, None], drift[:, :, None, None], half * paid  # [S,1,4,4]
    u[:] = TRADE[:, None] * move - (impact + fee) * size - cost - risk * size
    held = side * move - risk * side * side
    u[:, :, KEEP, :] = held[:, :, 0]
    best = np.maximum(u[:, :, BUY, TIGHT], u[:, :, SELL, TIGHT])
    u[:, :, WAIT, :] = PATIENCE * np.maximum(0.0, best)[:, :, None]
    retail = RETAIL * half * (flow + SKEW_SHARE * SKEW * beta)
    w[:] = cost - INFORMED * TRADE[:, None] * move + retail
