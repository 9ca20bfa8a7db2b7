"""Component quantum_nash: equilibria of the market game, and beside them the EWL game.

The classical equilibria decide. Both qubits of a player read as its four actions; the encoding makes the
game's mirror (buy ↔ sell, skew_up ↔ skew_down) a swap of each player's qubits.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import ewl
from qts_agents.kernels.market_game import BUY, KEEP, SELL, WAIT
from qts_agents.kernels.nash import nash_choice, nash_choices
from qts_agents.kernels.philox import normal_rows
from qts_agents.qbmia import correlated
from qts_agents.qbmia.game import Estimates, action_distribution, payoffs

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


def classical(known: Estimates, drift: F8) -> Classical:
    """Solve the games for each drift [S,K]; a flat trader has no hold."""
    u, w = payoffs(known, drift)
    symbols, draws = drift.shape
    rows = np.zeros((symbols, draws, 4))
    count, regret = np.zeros((symbols, draws)), np.zeros((symbols, draws))
    flat, all_ = known.side == 0.0, [BUY, SELL, KEEP, WAIT]
    shapes = [(mask, acts) for mask, acts in ((flat, [BUY, SELL, WAIT]), (~flat, all_)) if mask.any()]
    solved = nash_choices([(_games(u, mask, acts), _games(w, mask, acts)) for mask, acts in shapes])
    for (mask, acts), found in zip(shapes, solved, strict=True):
        shape = (int(mask.sum()), draws)
        rows[np.ix_(mask, np.arange(draws), np.array(acts))] = found.x.reshape(*shape, len(acts))
        count[mask], regret[mask] = found.count.reshape(shape), found.regret.reshape(shape)
    x = action_distribution(rows)
    lean = x[:, :, 0] - x[:, :, 2]
    return Classical(
        x.mean(axis=1), lean.std(axis=1), count.mean(axis=1), regret.max(axis=1), solved[0].device
    )


def _games(payoff: F8, mask: NDArray[np.bool_], acts: list[int]) -> F8:
    """Return the games [G,m,4] of some symbols' payoffs [S,K,4,4] in which the trader has these actions."""
    asked = payoff if mask.all() else payoff[mask]
    return np.take(asked, acts, axis=2).reshape(-1, len(acts), payoff.shape[3])


def entangled(known: Estimates, gamma: float) -> Entangled:
    """Play the EWL game of each symbol; about 1 ms each, so callers bound how many."""
    u, w = payoffs(known, known.drift[:, None])
    pick = np.ix_(np.arange(len(u)), ROW_CODE, COLUMN_CODE)
    played = ewl.play(u[:, 0][pick], w[:, 0][pick], gamma)
    rows = np.zeros((len(u), 4))
    rows[:, ROW_CODE] = played.joint.sum(axis=2)
    return Entangled(action_distribution(rows), played.payoff[:, 0] - _value(u[:, 0], w[:, 0]), played.regret)


def correlated_gain(known: Estimates) -> F8:
    """Return what the best correlated equilibrium pays the trader above the chosen one [S], bp."""
    u, w = (side[:, 0] for side in payoffs(known, known.drift[:, None]))
    joint = np.array([correlated.best(a, b) for a, b in zip(u, w, strict=True)])
    return np.asarray((joint * u).sum(axis=(1, 2)) - _value(u, w))


def _value(u: F8, w: F8) -> F8:
    """Return what the chosen equilibria of games u, w [S,4,4] pay the trader [S]."""
    base = nash_choice(u, w)
    return np.asarray((base.x[:, :, None] * base.y[:, None, :] * u).sum(axis=(1, 2)))
