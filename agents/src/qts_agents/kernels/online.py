"""What is learned from outcomes one after the other: each row moves what the next one finds.

A round's outcomes are as many rows as there are symbols, and a step costs less than the call of one array
function; so each learner takes all rows in one call. NaN marks what is asleep or teaches nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel, part
from qts_agents.kernels.hedge import fixed_share, hedge_update

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
REGULAR = 0.1  # keeps a normalised step finite where the inputs are small


def hedge_rows(w: Any, loss: Any, eta: float, alpha: float) -> F8:
    """Return the weights [N] after Hedge with fixed share α on each row of losses [R,N]."""
    weights = np.array(w, dtype=np.float64)
    (_hedge if backend.jit_enabled() else hedge_reference)(weights, _rows(loss), eta, alpha)
    return weights


def calibrate(k: float, gained: Any, rate: float, most: float) -> float:
    """Return the reliability after each row of `gained` [R,2] = (x_y, u_y): a step along the log score."""
    run = _calibrate if backend.jit_enabled() else calibrate_reference
    return float(run(float(k), _rows(gained), rate, most))


def logistic_rows(w: Any, x: Any, y: Any, split: int, rate: float, decay: float) -> F8:
    """Return the weights [F+1] of the mirror-symmetric logistic model after a step for each row x [R,F].

    The first `split` features are odd; the last weight is the constant. Steps are on the log score of
    outcome y [R] (0 up, 1 flat, 2 down), with weight decay.
    """
    weights = np.array(w, dtype=np.float64)
    run = _logistic if backend.jit_enabled() else logistic_reference
    run(weights, _rows(x), np.array(np.atleast_1d(y), dtype=np.int64), split, rate, decay)
    return weights


def nlms_rows(w: Any, b: Any, e: Any, rate: float) -> F8:
    """Return the weights [N] after a normalised LMS step (Nagumo & Noda 1967) for each row of inputs b [R,N].

    e [R] are the errors; after each step the weights are projected back on the simplex (Duchi et al. 2008).
    """
    weights = np.array(w, dtype=np.float64)
    run = _nlms if backend.jit_enabled() else nlms_reference
    run(weights, _rows(b), np.array(np.atleast_1d(e), dtype=np.float64), rate)
    return weights


@kernel
def _hedge(w: F8, loss: F8, eta: float, alpha: float) -> None:
    """Scale what is awake so that it keeps its total, then let every expert come back a little."""
    experts = w.shape[0]
    for r in range(loss.shape[0]):
        least, before, after = np.inf, 0.0, 0.0
        for i in range(experts):
            if np.isfinite(loss[r, i]):
                least = min(least, loss[r, i])
                before += w[i]
        for i in range(experts):
            if np.isfinite(loss[r, i]):
                w[i] *= np.exp(-eta * (loss[r, i] - least))
                after += w[i]
        scale = before / after if after > 0.0 else 1.0
        for i in range(experts):
            awake = scale if np.isfinite(loss[r, i]) else 1.0
            w[i] = (1.0 - alpha) * (w[i] * awake) + alpha / experts


def hedge_reference(w: F8, loss: F8, eta: float, alpha: float) -> None:
    """Update row after row by `hedge_update`."""
    for row in loss:
        w[:] = fixed_share(hedge_update(w, row, eta), alpha)


@kernel
def _calibrate(k: float, gained: F8, rate: float, most: float) -> float:
    """Step after step, within [0, `most`]."""
    for r in range(gained.shape[0]):
        x, u = gained[r, 0], gained[r, 1]
        p = (1.0 - k) * u + k * x
        if np.isfinite(x) and p > 0.0:
            k = min(max(k + rate * (x - u) / p, 0.0), most)
    return k


def calibrate_reference(k: float, gained: F8, rate: float, most: float) -> float:
    """Do the same in Python."""
    for x, u in gained.tolist():
        p = (1.0 - k) * u + k * x
        if np.isfinite(x) and p > 0.0:
            k = min(max(k + rate * (x - u) / p, 0.0), most)
    return k


@kernel
def _logistic(w: F8, x: F8, y: I8, split: int, rate: float, decay: float) -> None:
    """Descend row by row; a row with a NaN teaches nothing."""
    last, p = w.shape[0] - 1, np.empty(3)
    for r in range(x.shape[0]):
        odd, even = 0.0, w[last]
        for i in range(last):
            if i < split:
                odd += w[i] * x[r, i]
            else:
                even += w[i] * x[r, i]
        if not np.isfinite(odd + even):
            continue
        p[0], p[1], p[2] = even + odd, 0.0, even - odd
        top = max(p[0], p[1], p[2])
        total = 0.0
        for k in range(3):
            p[k] = np.exp(p[k] - top)
            total += p[k]
        for k in range(3):
            p[k] = p[k] / total - (1.0 if k == y[r] else 0.0)
        for i in range(last + 1):
            value = x[r, i] if i < last else 1.0
            slope = p[0] - p[2] if i < split else p[0] + p[2]
            w[i] -= rate * (slope * value + decay * w[i])


def logistic_reference(w: F8, x: F8, y: I8, split: int, rate: float, decay: float) -> None:
    """Do the same with a row's vectors."""
    for row, outcome in zip(x, y, strict=True):
        if not np.isfinite(row).all():
            continue
        odd, even = float(w[:split] @ row[:split]), float(w[split:-1] @ row[split:]) + w[-1]
        z = np.array([even + odd, 0.0, even - odd])
        error = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        error[outcome] -= 1.0
        sides = np.where(np.arange(len(w)) < split, error[0] - error[2], error[0] + error[2])
        w -= rate * (sides * np.append(row, 1.0) + decay * w)


@part
def _onto_simplex(v: F8, falling: F8) -> None:
    """Move `v` [N] to the nearest point of the simplex; `falling` [N] is room for sorting."""
    n = v.shape[0]
    for i in range(n):  # insertion sort: n is 5
        j = i
        while j > 0 and falling[j - 1] < v[i]:
            falling[j] = falling[j - 1]
            j -= 1
        falling[j] = v[i]
    excess, total, support = 0.0, 0.0, 1
    for i in range(n):
        total += falling[i]
        if falling[i] * (i + 1) > total - 1.0:
            excess, support = total - 1.0, i + 1
    for i in range(n):
        v[i] = max(v[i] - excess / support, 0.0)


@kernel
def _nlms(w: F8, b: F8, e: F8, rate: float) -> None:
    """Step and project, row by row; a row without an error teaches nothing."""
    falling = np.empty(w.shape[0])
    for r in range(b.shape[0]):
        if not np.isfinite(e[r]):
            continue
        square = 0.0
        for i in range(w.shape[0]):
            square += b[r, i] * b[r, i]
        for i in range(w.shape[0]):
            w[i] += rate * e[r] * b[r, i] / (REGULAR + square)
        _onto_simplex(w, falling)


def nlms_reference(w: F8, b: F8, e: F8, rate: float) -> None:
    """Do the same with vectors."""
    for row, error in zip(b, e, strict=True):
        if np.isfinite(error):
            w[:] = simplex(w + rate * error * row / (REGULAR + float(row @ row)))


def simplex(v: F8) -> F8:
    """Return the point of the probability simplex nearest to `v` [N] (Duchi et al. 2008)."""
    falling = np.sort(v)[::-1]
    excess = np.cumsum(falling) - 1.0
    support = int(np.nonzero(falling * np.arange(1, v.shape[0] + 1) > excess)[0][-1])
    return np.asarray(np.maximum(v - excess[support] / (support + 1), 0.0))


def _rows(x: Any) -> F8:
    """Return a writable copy of `x` [R,N] in C order: one layout is one compiled signature."""
    return np.array(np.atleast_2d(x), dtype=np.float64, order="C")
