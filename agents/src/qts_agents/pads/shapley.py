"""What each seat is worth: exact Shapley values (1953) of the seats over the last 250 outcomes (pure).

The value of a coalition is the mean log score of the pool of its seats alone less that of the climatology, so
the values of all seats add up to what the whole pool is worth. Only PADS sees every opinion, so it is
computed here; beside reputation, which it does not touch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.shapley import chances, shapley
from qts_agents.pads.outcomes import Waiting
from qts_agents.pads.scale import Ring

OUTCOMES = 250
ROWS = 64  # symbols looked at, evenly spread: the mean needs no more


class Credit:
    """Coalition values of the newest outcomes."""

    def __init__(self, seats: tuple[str, ...]) -> None:
        self.seats = seats
        self._gains = Ring(2 ** len(seats), OUTCOMES)

    def learn(self, w: Waiting, outcome: NDArray[np.uint8]) -> None:
        """Take a resolved decision; rows without an outcome are left out."""
        known = np.flatnonzero(outcome < 3)
        if not known.size:
            return
        rows = known
        if known.size > ROWS:
            rows = known[np.unique(np.linspace(0, known.size - 1, ROWS).astype(np.int64))]
        prior, y = w.prior[rows], outcome[rows].astype(np.int64)
        gain = np.log(chances(w.pi[rows], w.omega[rows], prior, y)) - np.log(prior[np.arange(len(y)), y])
        self._gains.push(gain.mean(axis=1))

    def by_seat(self) -> dict[str, float]:
        """Return seat → its value, nats an outcome; empty before the first one."""
        if not len(self._gains):
            return {}
        values = shapley(self._gains.view(OUTCOMES).mean(axis=1))[0]
        return dict(zip(self.seats, values.tolist(), strict=True))
