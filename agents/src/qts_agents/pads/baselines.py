"""What stands beside the adaptive cycle so that it can be judged: hidden Markov model, change points, tests.

None of it decides anything; it is published and journalled, and `bench.regimes` compares it with the phases.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from qts_agents.agent import F8
from qts_agents.pads.changepoint import ChangePoints
from qts_agents.pads.hmm import Hmm
from qts_agents.pads.warning import Watch
from qts_core.sections import PadsSettings


class Baselines:
    """One of each for the mean return of all symbols."""

    def __init__(self, settings: PadsSettings, seed: int) -> None:
        self.hmm = Hmm(settings.hmm_refit)
        self.changes = ChangePoints(settings.change_hazard)
        self.watch = Watch(seed, settings.surrogates)

    def step(self, returns: Callable[..., F8], sigma: float, warning: tuple[float, float], bar: int) -> None:
        """Take a bar: what tells the system's newest returns, its σ₂₀, its early-warning score and crisis."""
        newest = returns(1)
        last = float(newest[0]) if len(newest) else math.nan
        self.hmm.step(last, math.log(sigma) if sigma > 0.0 else math.nan)
        self.changes.step(last)
        self.watch.step(*warning, returns, bar)

    def describe(self) -> dict[str, Any]:
        """Return what /statusz and the journal show; NaN where nothing is known yet."""
        found = self.watch.found
        return {
            "hmm": [float(x) for x in self.hmm.p],
            "change_recent": self.changes.recent,
            "run_length": self.changes.length,
            **self.watch.describe(),
            "ews_p_variance": found.variance,
            "ews_p_autocorrelation": found.autocorrelation,
        }
