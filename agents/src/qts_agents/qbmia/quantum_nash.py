"""Component quantum_nash: equilibria of the market game, and beside them the EWL game.

The classical equilibria decide. Both qubits of a player read as its four actions; the encoding makes the
game's mirror (buy ↔ sell, skew_up ↔ skew_down) a swap of each player's qubits.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import ewl
from qts_agents.kernels.nash import nash_choice
from qts_agents.kernels.philox import normal_rows
from qts_agents.qbmia.game import BUY, KEEP, SELL, WAIT, Estimates, action_distribution, payoffs

F8 = NDArray[np.float64]
PURPOSE = 1  # of the draws of the drift
QUBITS = 4
#: action of each basis state 00, 01, 10, 11
ROW_CODE = np.array([KEEP, BUY, SELL, WAIT])
COLUMN_CODE = np.array([0, 2, 3, 1])  # tight, skew_up, skew_down, wide


class Classical(msgspec.Struct, frozen=True):
    """The chosen equilibrium, averaged over the draws of the drift."""

    x: F8  # [S,3]
    error: F8  # [S] standard deviation of x_up − x_down over the draws
    count: F8  # [S] mean number of equilibria
    regret: F8  # [S] largest ε / payoff range over the draws
    device: str  # that solved the games


class Entangled(msgspec.Struct, frozen=True):
    """What best responses in the EWL game settle at, for the drift's point estimate."""

    x: F8  # [S,3] marginal of the trader's basis states
    gain: F8  # [S] trader's payoff minus that of the classical equilibrium, bp
    regret: F8  # [S]


def drifts(known: Estimates, keys: list[tuple[int, int]], draws: int, decision: int) -> F8:
    """Return antithetic draws [S,draws] of the drift; an odd count drops the last partner."""
    pairs = (draws + 1) // 2
    z = normal_rows(keys, pairs, PURPOSE, decision)
    offsets = np.stack([z, -z], axis=2).reshape(len(keys), 2 * pairs)[:, :draws]
    return np.asarray(known.drift[:, None] + known.error[:, None] * offsets)


def _solve(u: F8, w: F8) -> tuple[F8, F8, F8, str]:
    """Return strategies [S,K,4], counts and regrets [S,K], the device; games u, w [S,K,m,4] of one shape."""
    symbols, draws, m, n = u.shape
    found = nash_choice(u.reshape(-1, m, n), w.reshape(-1, m, n))
    rows = found.x.reshape(symbols, draws, m)
    if m == 3:
        rows = np.insert(rows, KEEP, 0.0, axis=2)
    shape = (symbols, draws)
    return rows, found.count.reshape(shape).astype(np.float64), found.regret.reshape(shape), found.device


def classical(known: Estimates, drift: F8) -> Classical:
    """Solve the games for each drift [S,K]; a flat trader has no hold."""
    u, w = payoffs(known, drift)
    symbols, draws = drift.shape
    rows = np.zeros((symbols, draws, 4))
    count, regret = np.zeros((symbols, draws)), np.zeros((symbols, draws))
    flat, device = known.side == 0.0, "cpu"
    for mask, actions in ((flat, [BUY, SELL, WAIT]), (~flat, [BUY, SELL, KEEP, WAIT])):
        if mask.any():
            found = _solve(u[mask][:, :, actions], w[mask][:, :, actions])
            rows[mask], count[mask], regret[mask] = found[:3]
            device = found[3] if found[3] != "cpu" else device
    x = action_distribution(rows)
    lean = x[:, :, 0] - x[:, :, 2]
    return Classical(x.mean(axis=1), lean.std(axis=1), count.mean(axis=1), regret.max(axis=1), device)


def entangled(known: Estimates, gamma: float) -> Entangled:
    """Play the EWL game of each symbol; about 1 ms each, so callers bound how many."""
    u, w = payoffs(known, known.drift[:, None])
    pick = np.ix_(np.arange(len(u)), ROW_CODE, COLUMN_CODE)
    played = ewl.play(u[:, 0][pick], w[:, 0][pick], gamma)
    rows = np.zeros((len(u), 4))
    rows[:, ROW_CODE] = played.joint.sum(axis=2)
    base = nash_choice(u[:, 0], w[:, 0])
    value = ((base.x[:, :, None] * base.y[:, None, :]) * u[:, 0]).sum(axis=(1, 2))
    return Entangled(action_distribution(rows), played.payoff[:, 0] - value, played.regret)
