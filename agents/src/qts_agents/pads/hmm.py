"""Baseline: a Gaussian hidden Markov model of four states on (r, ln σ₂₀) (Hamilton 1989), filtered.

Parameters are fitted by expectation maximisation (Baum et al. 1970) to the bars of the past only, and again
every 250 bars; what is published is the probability of each state given the bars so far. States are sorted
by their mean ln σ, so that state 0 is the calmest.
"""

from __future__ import annotations

import functools
import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import F8
from qts_agents.kernels.backend import jit_enabled, kernel
from qts_agents.kernels.hmm_filter import filtered, hmm_filter, rows_reference
from qts_agents.pads.scale import Ring

STATES, WIDTH = 4, 2
WINDOW = 1000  # bars of the past that a fit looks at
ITERATIONS = 15
STICKY = 5.0  # pseudo-transitions of a state to itself
LEAST_VARIANCE = 1e-3  # of standardised observations


class Parameters(msgspec.Struct, frozen=True):
    """A fitted model; observations are standardised by `center` and `scale` first."""

    center: F8  # [2]
    scale: F8  # [2]
    mean: F8  # [4,2]
    variance: F8  # [4,2]
    move: F8  # [4,4] rows sum to 1
    start: F8  # [4]


@kernel
def _smooth(b: F8, move: F8, start: F8, forward: F8, gamma: F8, moves: F8) -> None:
    """Fill filtered `forward` [T,4], smoothed `gamma` [T,4] and expected transitions `moves` [4,4]."""
    T, K = b.shape
    filtered(b, move, start, forward)
    for i in range(K):
        gamma[T - 1, i] = forward[T - 1, i]
    for t in range(T - 2, -1, -1):
        for i in range(K):
            gamma[t, i] = 0.0
        for j in range(K):
            prior = 0.0
            for i in range(K):
                prior += forward[t, i] * move[i, j]
            if prior > 0.0:
                for i in range(K):
                    joint = forward[t, i] * move[i, j] * gamma[t + 1, j] / prior
                    gamma[t, i] += joint
                    moves[i, j] += joint


def smooth_reference(b: F8, move: F8, start: F8, forward: F8, gamma: F8, moves: F8) -> None:
    """Do what `_smooth` does, by vectors (Rabiner 1989, with the backward pass on filtered values)."""
    rows_reference(b[None], move[None], start[None], forward[None])
    gamma[-1] = forward[-1]
    for t in range(len(b) - 2, -1, -1):
        ahead = forward[t] @ move
        ratio = np.divide(gamma[t + 1], ahead, out=np.zeros_like(ahead), where=ahead > 0.0)
        both = forward[t][:, None] * move * ratio
        gamma[t] = both.sum(axis=1)
        moves += both


def likelihood(x: F8, known: Parameters) -> F8:
    """Return the density [T,4] of observations [T,2] under each state, scaled so that the best is 1."""
    z = [(x[:, k] - known.center[k]) / known.scale[k] for k in range(WIDTH)]
    logs, width = np.empty((len(x), STATES)), np.log(known.variance)
    for j in range(STATES):  # by long rows: along axes of two and four numpy is slow
        apart = [(z[k] - known.mean[j, k]) ** 2 / known.variance[j, k] + width[j, k] for k in range(WIDTH)]
        logs[:, j] = -0.5 * (apart[0] + apart[1])
    best = functools.reduce(np.maximum, logs.T)
    return np.asarray(np.exp(logs - best[:, None]))


def fit(x: F8, iterations: int = ITERATIONS) -> tuple[Parameters, F8]:
    """Return the parameters fitted to observations [T,2] and the filtered probabilities [T,4]."""
    known = _first(x)
    smooth = _smooth if jit_enabled() else smooth_reference
    forward, gamma = np.zeros((len(x), STATES)), np.zeros((len(x), STATES))
    for _ in range(iterations):
        moves = STICKY * np.eye(STATES)
        smooth(likelihood(x, known), known.move, known.start, forward, gamma, moves)
        known = _maximised(x, gamma, moves, known)
    order = np.argsort(known.mean[:, 1], kind="stable")
    known = msgspec.structs.replace(
        known,
        mean=known.mean[order],
        variance=known.variance[order],
        move=known.move[np.ix_(order, order)],
        start=known.start[order],
    )
    return known, _filtered(x, known, known.start)


def _filtered(x: F8, known: Parameters, start: F8) -> F8:
    """Return the filtered probabilities [T,4] of observations [T,2]; `start` is expected of the first."""
    return np.asarray(hmm_filter(likelihood(x, known)[None], known.move[None], start[None])[0])


def warm_up() -> None:
    """Compile what serving calls."""
    fit(np.arange(16.0).reshape(8, 2), 1)


def _first(x: F8) -> Parameters:
    """Return the model that calls the quarters of ln σ states."""
    center, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 0.0, scale, 1.0)
    z = (x - center) / scale
    parts = np.array_split(np.argsort(z[:, 1], kind="stable"), STATES)
    move = np.full((STATES, STATES), 0.02 / (STATES - 1))
    np.fill_diagonal(move, 0.98)
    return Parameters(
        center=center,
        scale=scale,
        mean=np.stack([z[part].mean(axis=0) for part in parts]),
        variance=np.stack([z[part].var(axis=0) + LEAST_VARIANCE for part in parts]),
        move=move,
        start=np.full(STATES, 1.0 / STATES),
    )


def _maximised(x: F8, gamma: F8, moves: F8, known: Parameters) -> Parameters:
    z = (x - known.center) / known.scale
    held = gamma.sum(axis=0)[:, None] + 1e-9
    mean = gamma.T @ z / held
    variance = np.maximum(gamma.T @ (z * z) / held - mean**2, 0.0) + LEAST_VARIANCE
    move = moves / moves.sum(axis=1, keepdims=True)
    return msgspec.structs.replace(known, mean=mean, variance=variance, move=move, start=gamma[0].copy())


class Hmm:
    """The model as bars arrive: a fit every `refit` bars, one filter step between."""

    def __init__(self, refit: int) -> None:
        self._refit = refit
        self._seen = Ring(WIDTH, WINDOW)
        self._since = 0
        self.known: Parameters | None = None
        self.p = np.full(STATES, math.nan)

    def step(self, ret: float, log_sigma: float) -> None:
        """Take a bar's return and ln σ₂₀; what is not finite teaches nothing."""
        if not (math.isfinite(ret) and math.isfinite(log_sigma)):
            return
        x = np.array([ret, log_sigma])
        self._seen.push(x)
        self._since += 1
        if self._since >= self._refit:
            self._since = 0
            self.known, filtered = fit(np.ascontiguousarray(self._seen.last(WINDOW).T))
            self.p = filtered[-1].copy()
        elif self.known is not None:
            self.p = _filtered(x[None], self.known, self.p @ self.known.move)[0]

    @property
    def state(self) -> int:
        """Return the likeliest state, −1 before the first fit."""
        return int(np.argmax(self.p)) if self.known is not None else -1


def labels(probability: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the likeliest state [T] of filtered probabilities [T,4]; −1 where unknown."""
    known = np.isfinite(probability).all(axis=1)
    return np.where(known, np.nan_to_num(probability).argmax(axis=1), -1)
