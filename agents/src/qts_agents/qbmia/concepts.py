"""What other theories of play say of the same game, beside the equilibrium that votes: reported, never voted.

Logit quantal responses (McKelvey & Palfrey 1995) of three players, retail being the third; the empirical play
of regret matching (Hart & Mas-Colell 2000), with what a correlated equilibrium would not leave to be gained;
and whether the replicator dynamics (Taylor 1979) lead back to the chosen equilibrium.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.ewa import regret_match
from qts_agents.kernels.nash import nash_choice
from qts_agents.kernels.philox import uniforms
from qts_agents.kernels.qre import qre
from qts_agents.kernels.replicator import replicate
from qts_agents.qbmia import correlated
from qts_agents.qbmia.game import Estimates, action_distribution, payoffs, with_retail

F8 = NDArray[np.float64]
RATIONALITY = 50.0  # λ at the end of the path, per range of the payoffs
ROUNDS = 1_000  # of regret matching
PURPOSE = 2  # of its draws
NUDGES = 0.05, 0.03  # share of traders and of makers moved to the uniform mixture; alike they could balance
TIME, STEPS = 100.0, 400  # in 1/range of the payoffs
NAMES = ("quantal_signal", "matching_signal", "matching_gain", "replicator_return")


def report(known: Estimates, keys: list[tuple[int, int]], decision: int) -> dict[str, F8]:
    """Return the columns [S] of NAMES; about 1 ms a symbol, so callers bound how many.

    matching_gain: most that a player could still gain by leaving a recommendation, per range of the payoffs.
    replicator_return: distance from the equilibrium after the dynamics over that before; above 1 it repels.
    """
    u, w = (_scaled(side[:, 0]) for side in payoffs(known, known.drift[:, None]))
    return {
        "quantal_signal": _lean(qre(_scaled(with_retail(known, known.drift)), RATIONALITY).mix[:, 0]),
        **_matching(u, w, keys, decision),
        "replicator_return": _returned(u, w),
    }


def _matching(u: F8, w: F8, keys: list[tuple[int, int]], decision: int) -> dict[str, F8]:
    draws = [uniforms(key, 2 * ROUNDS, PURPOSE, decision) for key in keys]
    joint = regret_match(u, w, np.reshape(draws, (-1, ROUNDS, 2)))
    games = zip(u, w, joint, strict=True)
    gain = np.array([(correlated.incentives(a, b) @ played.ravel()).max() for a, b, played in games])
    return {"matching_signal": _lean(joint.sum(axis=2)), "matching_gain": gain}


def _returned(u: F8, w: F8) -> F8:
    chosen = nash_choice(u, w)
    sides = zip((chosen.x, chosen.y), NUDGES, strict=True)
    x, y = ((1.0 - share) * mix + share / mix.shape[1] for mix, share in sides)
    after = replicate(u, w, x, y, TIME, STEPS)
    before, now = (
        np.sqrt(((p - chosen.x) ** 2).sum(axis=1) + ((q - chosen.y) ** 2).sum(axis=1))
        for p, q in ((x, y), after)
    )
    return np.asarray(np.divide(now, before, out=np.zeros_like(now), where=before > 0.0))


def _lean(rows: F8) -> F8:
    """Return x_up − x_down [S] of strategies [S,4]."""
    x = action_distribution(rows)
    return np.asarray(x[:, 0] - x[:, 2])


def _scaled(payoff: F8) -> F8:
    """Return payoffs [S,...] over their range in each game; constant ones stay as they are."""
    span = np.ptp(payoff.reshape(len(payoff), -1), axis=1)
    return np.asarray(payoff / np.where(span > 0.0, span, 1.0).reshape(-1, *(1,) * (payoff.ndim - 1)))
