"""QAR: eight experts, each a factor read as a distribution, pooled by weights that Hedge learns (pure)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.factors import BASE_WEIGHTS, KINDS, PHASE_MULTIPLIERS
from qts_agents.kernels.online import hedge_rows
from qts_agents.kernels.pool import belief_map, log_pool
from qts_core.sections import QuasarSettings

F8 = NDArray[np.float64]
_ODD = np.array([kind == "odd" for kind in KINDS])
FLOOR = 0.001  # of an expert's probability when it is scored


def prior_weights() -> F8:
    """Return the base weights, scaled to sum 1."""
    base = np.asarray(BASE_WEIGHTS, dtype=np.float64)
    return np.asarray(base / base.sum())


def experts(b: F8) -> F8:
    """Return each expert's distribution [S,8,3]: an odd factor takes its side, a risk factor votes flat."""
    side = np.where(_ODD, np.sign(b), 0.0)
    sure = np.where(_ODD, np.abs(b), b)
    return belief_map(side, np.clip(sure, 0.0, 1.0))


class FactorPool:
    """The experts' weights."""

    def __init__(self, settings: QuasarSettings) -> None:
        self._settings = settings
        self.weights = prior_weights()

    def pool(self, b: F8, phase: str) -> F8:
        """Return x [S,3] of factors `b` [S,8] (NaN = absent) in a phase; NaN where all are absent.

        Multipliers of the phase are applied to the learned weights, not into them, so that a full cycle
        leaves no trace; the log pool renormalises.
        """
        weights = self.weights * np.asarray(PHASE_MULTIPLIERS[phase], dtype=np.float64)
        return log_pool(experts(b), weights)

    def learn(self, b: F8, y: NDArray[np.int64]) -> None:
        """Move weight to the experts that gave outcomes `y` [R] more, by their factors [R,8]; NaN sleeps."""
        given = experts(b)[np.arange(len(y)), :, y]
        settings = self._settings
        self.weights = hedge_rows(
            self.weights, -np.log(np.maximum(given, FLOOR)), settings.hedge_rate, settings.hedge_share
        )
