"""What each seat is worth: exact Shapley values (1953) of the seats over the last 250 outcomes (pure).

The value of a coalition is the mean log score of the pool of its seats alone less that of the climatology, so
the values of all seats add up to what the whole pool is worth. Only PADS sees every opinion, so it is
computed here; beside reputation, which it does not touch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.pool import lmsr_pool
from qts_agents.kernels.shapley import shapley
from qts_agents.pads.outcomes import Waiting
from qts_agents.pads.reputation import pick
from qts_agents.pads.scale import Ring

OUTCOMES = 250
ROWS = 64  # symbols looked at, evenly spread: the mean needs no more


def coalitions(n: int) -> NDArray[np.bool_]:
    """Return who belongs to each of the 2ⁿ coalitions [2ⁿ,n]; number c holds seat i where bit i is set."""
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(np.bool_)


class Credit:
    """Coalition values of the newest outcomes."""

    def __init__(self, seats: tuple[str, ...], b: float) -> None:
        self.seats, self._b = seats, b
        self._gains = Ring(2 ** len(seats), OUTCOMES)

    def learn(self, w: Waiting, outcome: NDArray[np.uint8]) -> None:
        """Take a resolved decision; rows without an outcome are left out."""
        known = np.flatnonzero(outcome < 3)
        if not known.size:
            return
        rows = known[np.unique(np.linspace(0, known.size - 1, min(ROWS, known.size)).astype(np.int64))]
        member = coalitions(len(self.seats))
        count = len(member)
        omega = np.where(member[:, None, :], w.omega[rows], 0.0).reshape(-1, len(self.seats))
        pool = lmsr_pool(
            np.tile(w.pi[rows], (count, 1, 1)), omega, np.tile(w.prior[rows], (count, 1)), self._b
        )
        y = np.tile(outcome[rows], count)
        gain = np.log(pick(pool.p, y)).reshape(count, -1) - np.log(pick(w.prior[rows], outcome[rows]))
        self._gains.push(gain.mean(axis=1))

    def by_seat(self) -> dict[str, float]:
        """Return seat → its value, nats an outcome; empty before the first one."""
        if not len(self._gains):
            return {}
        values = shapley(self._gains.last(OUTCOMES).mean(axis=1))[0]
        return {seat: float(v) for seat, v in zip(self.seats, values, strict=True)}
