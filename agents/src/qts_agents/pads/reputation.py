"""What a seat's record earns it (agents.md §2.4; pure)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import F8
from qts_agents.choice import known_or_zero
from qts_agents.kernels.hedge import fixed_share, hedge_update

U1 = NDArray[np.uint8]
START, LEAST, MOST = 0.5, 0.1, 1.0
ETA, SHARE = 0.1, 0.01


def pick(p: F8, y: U1) -> F8:
    """Return p[..., y] per row: `p` [S,3] or [S,N,3], `y` [S]; NaN where y is no outcome."""
    index = np.where(y < 3, y, 0).astype(np.int64)
    rows = np.arange(len(index))
    taken = p[rows, index] if p.ndim == 2 else p[rows, :, index]
    known = (y < 3) if p.ndim == 2 else (y < 3)[:, None]
    return np.where(known, taken, np.nan)


def leave_one_out_score(pi: F8, without: F8, y: U1) -> F8:
    """Return g [S,N] = ln π[y] − ln p₋ᵢ[y]; NaN where a seat was silent or nothing is resolved."""
    return np.asarray(np.log(pick(pi, y)) - np.log(pick(without, y)))


def marginal_value(p: F8, without: F8, y: U1, b: float) -> F8:
    """Return M [S,N] = b·ln(p[y]/p₋ᵢ[y]), what a seat added to the pool; NaN where unresolved."""
    return np.asarray(b * (np.log(pick(p, y))[:, None] - np.log(pick(without, y))))


class Reputation:
    """One number in [0.1, 1] per seat, under Hedge in (0, 1], moved by resolved decisions."""

    def __init__(self, seats: tuple[str, ...], rate: float, mode: Literal["score", "hedge"]) -> None:
        self.seats, self._rate, self._mode = seats, rate, mode
        self.value = np.full(len(seats), START)
        self._hedge = np.full(len(seats), 1.0 / len(seats))

    def learn(self, g: F8, log_pi: F8) -> None:
        """Take the scores and log opinions [S,N] of one resolved decision; NaN rows teach nothing."""
        if self._mode == "hedge":
            loss = -_column_means(log_pi)
            self._hedge = fixed_share(hedge_update(self._hedge, loss, ETA), SHARE)
            self.value = self._hedge / self._hedge.max()  # only ratios count; a cut would not be Hedge's
            return
        step = known_or_zero(_column_means(np.clip(g, -1.0, 1.0)))
        self.value = np.clip(self.value + self._rate * step, LEAST, MOST)

    def by_seat(self) -> dict[str, float]:
        """Return seat → reputation."""
        return {seat: float(value) for seat, value in zip(self.seats, self.value, strict=True)}


def _column_means(x: F8) -> F8:
    """Return the mean of the known values of each column, NaN without any."""
    known = np.isfinite(x)
    count = known.sum(axis=0)
    total = np.where(known, x, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
