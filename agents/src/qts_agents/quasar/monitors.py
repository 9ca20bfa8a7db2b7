"""Drift by ADWIN (Bifet & Gavaldà 2007), anomaly by Half-Space Trees (Tan, Ting & Liu 2011).

Up to 16 symbols have a stream each; more share the equal-weight aggregate, so that a bar costs a bounded
time and memory. The trees are rebuilt from their last inputs, which is what is saved of them.

On rank-scaled features the raw score of the trees is above 0.9 for most bars (uniform margins leave every
leaf thin), so a fixed level of it would flag all of them. Strength is therefore how far the score lies in
the last 2 % of its own last 250: only the highest of 250 passes 0.75.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import adwin, half_space
from qts_agents.kernels.indicators import Indicators

F8 = NDArray[np.float64]
MAX_STREAMS = 16
EVEN = 5  # features
TREES, HEIGHT, WINDOW = 50, 8, 50
RANK_BARS = 250
LEAST_SCORES = 100  # before that no strength is stated
TAIL = 0.02
SOFT_DELTA = 0.05
SOFT_BARS = 30  # how long a soft flag stands
CEILING = 25.0  # of the squared statistic: one crash is no change of mean


class Signs(msgspec.Struct, frozen=True):
    """What a stream says after a bar."""

    strength: float  # of the anomaly, 0…1
    alarm: bool  # drift at the δ of alarms
    shift: float  # how far the mean of the drifting statistic has moved


def rank(values: F8) -> float:
    """Return the mid-rank of the last value among all, in (0,1]."""
    last = values[-1]
    return float(((values < last).sum() + 0.5 * (values == last).sum()) / values.shape[0])


class Drift:
    """Two ADWINs, alarm and soft, over one statistic."""

    def __init__(self, delta: float) -> None:
        self.recent: list[float] = []  # the last 250 inputs
        self.windows = adwin.windows(np.array([delta, SOFT_DELTA]))

    def update(self, value: float) -> tuple[bool, bool, float]:
        """Take a value; return whether alarm and soft flag rose, and at an alarm the shift of the mean."""
        self.recent = [*self.recent[1 - RANK_BARS :], value]
        alarm, soft = adwin.adwin(self.windows, np.full(2, value)).tolist()
        return alarm, alarm or soft, self._shift() if alarm else 0.0

    def _shift(self) -> float:
        """Return how far the mean of the newest 32 inputs is from that of up to 218 before them."""
        fresh, past = self.recent[-adwin.CLOCK :], self.recent[: -adwin.CLOCK]
        return abs(sum(fresh) / len(fresh) - sum(past) / len(past)) if past else 0.0


class Stream:
    """The detectors of one symbol, or of the aggregate."""

    def __init__(self, seed: int, delta: float) -> None:
        self._seed = seed
        self._trees = half_space.forest(EVEN, TREES, HEIGHT, WINDOW, seed)
        self._tree_inputs: list[F8] = []  # since the last but one window of the trees began
        self._ranked: F8 = np.zeros((0, EVEN))
        self._scores: F8 = np.zeros(0)
        self._drifts = (Drift(delta), Drift(delta))
        self.strength = 0.0
        self.soft_left = 0

    def update(self, even: F8, ratio: float) -> Signs:
        """Take a bar's even features [5] (the first is a rank already) and r/σ₂₀; score before learning."""
        past = self._ranked = np.concatenate((self._ranked[1 - RANK_BARS :], even[None, :]))
        below, equal = (past < even).sum(axis=0), (past == even).sum(axis=0)
        scaled = (below + 0.5 * equal) / past.shape[0]
        scaled[0] = even[0]
        self._scores = np.append(self._scores[1 - RANK_BARS :], self._score(scaled))
        top = rank(self._scores) if self._scores.shape[0] >= LEAST_SCORES else 0.0
        self.strength = min(max(1.0 - (1.0 - top) / TAIL, 0.0), 1.0)
        signs = [d.update(v) for d, v in zip(self._drifts, (ratio, min(ratio**2, CEILING)), strict=True)]
        self.soft_left = SOFT_BARS if any(soft for _, soft, _ in signs) else max(0, self.soft_left - 1)
        alarm = any(alarm for alarm, _, _ in signs)
        shift = max(moved for _, _, moved in signs)
        return Signs(self.strength, alarm, shift)

    def _score(self, scaled: F8) -> float:
        score = half_space.score(self._trees, scaled)
        self._tree_inputs.append(scaled)
        if len(self._tree_inputs) == 2 * WINDOW:
            self._tree_inputs = self._tree_inputs[WINDOW:]
        return score

    def pack(self) -> tuple[Any, ...]:
        """Return what the stream can be rebuilt from."""
        kept = (self._tree_inputs, self._ranked, self._scores, self._drifts)
        return (self._seed, *kept, self.strength, self.soft_left)

    @classmethod
    def unpack(cls, kept: tuple[Any, ...]) -> Stream:
        """Return the stream that `pack` described: the trees know no more than their last two windows."""
        seed, tree_inputs, ranked, scores, drifts, strength, soft_left = kept
        stream = cls(seed, float(drifts[0].windows.delta[0]))
        for scaled in tree_inputs:
            stream._score(scaled)
        stream._ranked, stream._scores, stream._drifts = ranked, scores, drifts
        stream.strength, stream.soft_left = strength, soft_left
        return stream


def even_features(ind: Indicators) -> F8:
    """Return [S,5]: volatility (a rank), ADX, abs(r)/σ₂₀, anomaly, tail."""
    return np.stack((ind.volatility, ind.adx, np.abs(ratios(ind)), ind.anomaly, ind.tail), axis=1)


def ratios(ind: Indicators) -> F8:
    """Return r/σ₂₀ [S], 0 without variance."""
    return np.divide(ind.r, ind.sigma20, out=np.zeros_like(ind.r), where=ind.sigma20 > 0.0)


def aggregate(ind: Indicators, market_ret: F8) -> tuple[F8, F8]:
    """Return the even features [1,5] and r/σ₂₀ [1] of the equal-weight mean of all symbols."""
    even = even_features(ind)
    known = even[np.isfinite(even).all(axis=1)]
    recent = market_ret[-20:]
    sigma = float(np.std(recent, ddof=1)) if recent.shape[0] > 1 else 0.0
    ratio = float(market_ret[-1]) / sigma if sigma > 0.0 else 0.0
    mean = known.mean(axis=0) if known.shape[0] else np.full(5, math.nan)
    return mean[None, :], np.array([ratio])
