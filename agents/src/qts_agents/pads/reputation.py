"""What a seat's record earns it (agents.md §2.4; pure)."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import F8
from qts_agents.choice import clipped, known_or_zero
from qts_agents.kernels.hedge import fixed_share, hedge_update
from qts_agents.kernels.pool import as_traded

U1 = NDArray[np.uint8]
START, LEAST, MOST = 0.5, 0.1, 1.0
ETA, SHARE = 0.1, 0.01


class Hindsight(msgspec.Struct, frozen=True):
    """What was thought of what came, [S,N] in nats; NaN where a seat was silent or nothing is resolved."""

    said: F8  # ln π[y] of each seat
    score: F8  # g = ln π[y] − ln p₋ᵢ[y], against the pool without it
    added: F8  # ln p[y] − ln p₋ᵢ[y], what it added to the pool


def hindsight(pi: F8, without: F8, p: F8, share: F8, y: U1) -> Hindsight:
    """Look back from `y` [S] at opinions and pools [S,N,3], the pool of all [S,3], shares [S,N].

    Opinions count as they traded: a seat that was sure of something else has a score, and a bad one.
    """
    N, known = pi.shape[1], y < 3
    all_said = np.concatenate((as_traded(pi), without, p[:, None, :]), axis=1)
    given = all_said[np.arange(len(y)), :, np.where(known, y, 0)]
    logs = np.log(np.where(known[:, None], given, np.nan))
    said, left = logs[:, :N], logs[:, N : 2 * N]
    used = np.where(share > 0.0, 1.0, np.nan)
    return Hindsight(said * used, (said - left) * used, (logs[:, 2 * N :] - left) * used)


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
            if np.isfinite(loss).any():  # the share alone would draw all seats together
                self._hedge = fixed_share(hedge_update(self._hedge, loss, ETA), SHARE)
                self.value = self._hedge / self._hedge.max()  # only ratios count; a cut would not be Hedge's
            return
        step = known_or_zero(_column_means(clipped(g, -1.0, 1.0)))
        self.value = clipped(self.value + self._rate * step, LEAST, MOST)

    def by_seat(self) -> dict[str, float]:
        """Return seat → reputation."""
        return dict(zip(self.seats, self.value.tolist(), strict=True))


def _column_means(x: F8) -> F8:
    """Return the mean of the known values of each column, NaN without any."""
    known = np.isfinite(x)
    if len(x) == 1:
        return np.where(known[0], x[0], np.nan)
    count = known.sum(axis=0)
    total = np.where(known, x, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
