"""What became of decisions: waiting rounds, outcomes at t+h, frequencies that are learned (pure)."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import F8
from qts_agents.kernels.outcomes import FLAT, UNRESOLVED, band, classify
from qts_agents.pads.account import Account, Bar
from qts_agents.pads.reputation import Hindsight, hindsight
from qts_messaging.messages import PHASES

PSEUDO = 10.0  # counts per class before anything is seen
CLIMATE_DECAY, PHASE_DECAY = 2.0 ** (-1.0 / 5000.0), 2.0 ** (-1.0 / 500.0)  # half-lives in outcomes


class Waiting(msgspec.Struct):
    """A decision whose horizon is not over; `entry` is filled one bar after it."""

    decision_id: str
    round_id: str
    asof_ns: int
    phase: int
    made: int  # bar count at the decision
    pi: F8  # [S,N,3]
    p: F8  # [S,3]
    without: F8  # [S,N,3]
    omega: F8  # [S,N]
    prior: F8  # [S,3]
    share: F8  # [S,N]
    cost: F8
    sigma100: F8
    earned: F8  # [S] what the account had earned with each symbol when it was decided
    equity: float  # of the account then
    entry: F8 | None = None  # ln of the price at which it could be filled


class Resolved(msgspec.Struct, frozen=True):
    """A decision with its outcome."""

    waiting: Waiting
    outcome: NDArray[np.uint8]
    ret: F8
    hindsight: Hindsight
    pnl: F8  # [S] what the account earned until then, fills, stops, targets and costs included; of its equity


class Outcomes:
    """The queue of waiting decisions; at most horizon/round-distance of them."""

    def __init__(self, horizon: int) -> None:
        self._horizon = horizon
        self._waiting: deque[Waiting] = deque()

    def add(self, waiting: Waiting) -> None:
        """Remember a decision."""
        self._waiting.append(waiting)

    def on_bar(self, bar: Bar, count: int, account: Account) -> list[Resolved]:
        """Take the bar number `count`, which `account` has had; return what it resolves, oldest first."""
        for waiting in self._waiting:
            if count == waiting.made + 1:
                price = np.where(np.isfinite(bar.open), bar.open, bar.close)
                waiting.entry = np.log(np.where(bar.valid, price, np.nan))
        resolved = []
        while self._waiting and count >= self._waiting[0].made + self._horizon:
            resolved.append(self._resolve(self._waiting.popleft(), bar, account))
        return resolved

    def _resolve(self, w: Waiting, bar: Bar, account: Account) -> Resolved:
        close = np.log(np.where(bar.valid, bar.close, np.nan))
        ret = close - w.entry if w.entry is not None else np.full(len(close), np.nan)
        outcome = classify(ret, band(w.cost, w.sigma100, self._horizon))
        pnl = (account.earned() - w.earned) / w.equity
        seen = hindsight(w.pi, w.without, w.p, w.share, outcome)
        return Resolved(w, outcome, ret, seen, pnl)


class Frequencies:
    """Outcome counts that forget: climatology per symbol, and per symbol and phase."""

    def __init__(self, S: int) -> None:
        self.climate = np.zeros((S, 3))
        self.by_phase = np.zeros((S, len(PHASES), 3))

    def learn(self, outcome: NDArray[np.uint8], phase: int) -> None:
        """Count one resolved decision; 255 teaches nothing."""
        known = np.flatnonzero(outcome != UNRESOLVED)
        rows: Any = slice(None) if known.size == len(outcome) else known  # of all is cheaper than of each
        y = outcome[known]
        self.climate[rows] *= CLIMATE_DECAY
        self.climate[known, y] += 1.0
        self.by_phase[rows, phase] *= PHASE_DECAY
        self.by_phase[known, phase, y] += 1.0

    def flat_share(self) -> F8:
        """Return f [S], the share of flat outcomes under a Dirichlet prior."""
        total = self.climate.sum(axis=1) + 3.0 * PSEUDO
        return np.asarray((self.climate[:, FLAT] + PSEUDO) / total)

    def in_phase(self, phase: int) -> F8:
        """Return the outcome distribution [S,3] of a phase."""
        counts = self.by_phase[:, phase] + PSEUDO
        return np.asarray(counts / counts.sum(axis=1, keepdims=True))
