"""Pooling of opinions: Hanson's logarithmic market scoring rule (LMSR 2003, 2007) and the log pool.

Outcomes are (up, flat, down). All shapes: S rows, N opinions. An opinion that is NaN or has weight 0
is absent: it leaves its share to the prior (LMSR) or to the others (log pool).
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.backend import fill, floats, jit_enabled, kernel, part

F8 = NDArray[np.float64]
FLOOR, CEILING = 0.001, 0.999
BUDGET = 2.0  # what a seat may spend, of b·ω
Room = tuple[F8, F8, F8, F8]  # scratch of one row: [N,3] three times, [3,3]
LN2, LN3 = float(np.log(2.0)), float(np.log(3.0))


class PoolResult(msgspec.Struct, frozen=True):
    """What the market maker ends with when all opinions traded at the prior."""

    p: F8  # [S,3] pooled
    dissent: F8  # [S] in [0,1]
    share: F8  # [S,N] weights after the budget
    leave_one_out: F8  # [S,N,3] the pool without each opinion
    q: F8  # [S,3] securities outstanding


def as_traded(pi: F8) -> F8:
    """Return opinions [...,3] kept off 0 and 1 and renormalised (agents.md §2.2); NaN stays NaN."""
    clipped = np.clip(pi, FLOOR, CEILING)
    return np.asarray(clipped / clipped.sum(axis=-1, keepdims=True))


def lmsr_pool(pi: Any, omega: Any, prior: Any, b: float, budget_factor: float = BUDGET) -> PoolResult:
    """Pool opinions `pi` [S,N,3] of weight `omega` [S,N] on `prior` [S,3]; budget per seat is factor·b·ω."""
    opinions, weights = floats(pi), floats(omega)
    start, rows = floats(prior), (opinions.shape[0], 3)
    start = start if start.shape == rows else floats(np.broadcast_to(start, rows))
    given = opinions, weights, start, float(b), float(budget_factor)
    S, N = weights.shape
    out = np.empty((S, 3)), np.empty(S), np.empty((S, N)), np.empty((S, N, 3)), np.empty((S, 3))
    fill("pool_gpu.lmsr", out, given, _lmsr_kernel, lmsr_reference)
    return PoolResult(*out)


def lmsr_reference(pi: F8, omega: F8, prior: F8, b: float, factor: float, *out: F8) -> None:
    """Write p, dissent, share, leave_one_out and q by array arithmetic."""
    log_prior = np.log(prior)
    present = np.isfinite(pi).all(axis=2) & (omega > 0.0)
    clipped = as_traded(np.where(present[:, :, None], pi, prior[:, None, :]))
    ratio = np.where(present[:, :, None], np.log(clipped) - log_prior[:, None, :], 0.0)
    worst = np.maximum((-ratio).max(axis=2, initial=0.0), 1e-300)
    share = np.where(present, omega, 0.0) * np.minimum(1.0, factor / worst)
    trades = share[:, :, None] * ratio
    total = log_prior + trades.sum(axis=1)
    p = _softmax(total)
    without = _softmax(total[:, None, :] - trades)
    spread = (share * js(clipped, p[:, None, :])).sum(axis=1)
    held = share.sum(axis=1)
    dissent = np.divide(spread, held * LN2, out=np.zeros_like(spread), where=held > 0.0)
    for column, values in zip(out, (p, dissent, share, without, b * total), strict=True):
        column[...] = values


@part
def softmax_row(z: F8, out: F8) -> None:
    """Write exp(z)/Σ exp(z) of three values."""
    top = max(z[0], z[1], z[2])
    total = 0.0
    for k in range(3):
        out[k] = math.exp(z[k] - top)
        total += out[k]
    for k in range(3):
        out[k] /= total


@part
def clip_row(pi: F8, out: F8) -> bool:
    """Write an opinion kept off 0 and 1; False where it says nothing."""
    total = 0.0
    for k in range(3):
        if not math.isfinite(pi[k]):
            return False
        out[k] = min(max(pi[k], FLOOR), CEILING)
        total += out[k]
    for k in range(3):
        out[k] /= total
    return True


@part
def _divergence(p: F8, log_p: F8, q: F8, log_q: F8) -> float:
    """Return the Jensen-Shannon divergence of two rows whose logarithms are known."""
    total = 0.0
    for k in range(3):
        m = 0.5 * (p[k] + q[k])
        total += 0.5 * p[k] * log_p[k] + 0.5 * q[k] * log_q[k]
        if m > 0.0:
            total -= m * np.log(m)
    return max(total, 0.0)


@part
def pool_of(
    pi: F8, omega: F8, prior: F8, b: float, factor: float, room: Room,
    p: F8, share: F8, without: F8, q: F8,
) -> float:  # fmt: skip
    """Write the pool of one row's opinions [N,3] and return its dissent.

    Each logarithm is taken once: they are what a row costs.
    """
    clipped, logs, trade, three = room
    total, z, log_prior = three[0], three[1], three[2]
    for k in range(3):
        log_prior[k] = total[k] = np.log(prior[k])
    for i in range(pi.shape[0]):
        share[i] = trade[i, 0] = trade[i, 1] = trade[i, 2] = 0.0
        if not (omega[i] > 0.0 and clip_row(pi[i], clipped[i])):
            continue
        worst = 1e-300
        for k in range(3):
            logs[i, k] = np.log(clipped[i, k])
            worst = max(worst, log_prior[k] - logs[i, k])
        share[i] = omega[i] * min(1.0, factor / worst)
        for k in range(3):
            trade[i, k] = share[i] * (logs[i, k] - log_prior[k])
            total[k] += trade[i, k]
    softmax_row(total, p)
    for k in range(3):
        q[k] = b * total[k]
        z[k] = np.log(p[k]) if p[k] > 0.0 else 0.0
    held, dissent = 0.0, 0.0
    for i in range(pi.shape[0]):
        if share[i] > 0.0:
            held += share[i]
            dissent += share[i] * _divergence(clipped[i], logs[i], p, z)
    if held > 0.0:
        dissent /= held * LN2
    for i in range(pi.shape[0]):
        for k in range(3):
            z[k] = total[k] - trade[i, k]
        softmax_row(z, without[i])
    return dissent


@kernel
def _lmsr_kernel(
    pi: F8, omega: F8, prior: F8, b: float, factor: float, p: F8, dissent: F8, share: F8, without: F8, q: F8
) -> None:
    """Pool the opinions of S rows."""
    N = pi.shape[1]
    room = np.empty((N, 3)), np.empty((N, 3)), np.empty((N, 3)), np.empty((3, 3))
    for s in range(pi.shape[0]):
        dissent[s] = pool_of(pi[s], omega[s], prior[s], b, factor, room, p[s], share[s], without[s], q[s])


def lmsr_price(q: Any, b: float) -> F8:
    """Return the prices of securities `q` [...,n]: softmax(q/b)."""
    return _softmax(floats(q) / b)


def log_pool(p: Any, w: Any) -> F8:
    """Return the weighted geometric mean [S,3] of `p` [S,N,3], weights [N] or [S,N] renormalised.

    Rows of `p` with NaN are absent; a row with nobody present is NaN. Probabilities are floored at 0.001.
    """
    opinions = floats(p)
    weights = np.empty(opinions.shape[:2])
    weights[...] = w
    compute = _log_pool_kernel if jit_enabled() else log_pool_reference
    return compute(opinions, weights)


def log_pool_reference(p: F8, w: F8) -> F8:
    """Return the log pool by array arithmetic; see `log_pool`."""
    present = np.isfinite(p).all(axis=2) & (w > 0.0)
    clipped = np.clip(np.where(present[:, :, None], p, 1.0 / 3.0), FLOOR, CEILING)
    clipped = clipped / clipped.sum(axis=2, keepdims=True)
    weights = np.where(present, w, 0.0)
    held = weights.sum(axis=1, keepdims=True)
    weights = np.divide(weights, held, out=np.zeros_like(weights), where=held > 0.0)
    pooled = _softmax((weights[:, :, None] * np.log(clipped)).sum(axis=1))
    return np.where(held > 0.0, pooled, np.nan)


@kernel
def _log_pool_kernel(p: F8, w: F8) -> F8:
    S, N = p.shape[0], p.shape[1]
    out, row, z = np.full((S, 3), np.nan), np.empty(3), np.empty(3)
    for s in range(S):
        z[:] = 0.0
        held = 0.0
        for i in range(N):
            if w[s, i] > 0.0 and clip_row(p[s, i], row):
                held += w[s, i]
                for k in range(3):
                    z[k] += w[s, i] * np.log(row[k])
        if held > 0.0:
            for k in range(3):
                z[k] /= held
            softmax_row(z, out[s])
    return out


def belief_map(s: Any, c: Any) -> F8:
    """Return p [S,3] of a direction `s` in [-1,1] held with confidence `c` in [0,1] (agents.md §1.2)."""
    side, sure = floats(s), floats(c)
    rest = (1.0 - sure) / 3.0
    up, down = rest + sure * np.maximum(side, 0.0), rest + sure * np.maximum(-side, 0.0)
    return np.stack((up, rest + sure * (1.0 - np.abs(side)), down), axis=-1)


def entropy_confidence(p: Any) -> F8:
    """Return 1 − H(p)/ln 3 of each row of `p` [S,3]: 0 says nothing, 1 is certain; NaN stays NaN."""
    return np.asarray(1.0 + _x_log_x(floats(p)).sum(axis=-1) / LN3)


def js(p: Any, q: Any) -> F8:
    """Return the Jensen-Shannon divergence in nats (Lin 1991) along the last axis."""
    a, b = floats(p), floats(q)
    parts = 0.5 * _x_log_x(a) + 0.5 * _x_log_x(b) - _x_log_x(0.5 * (a + b))
    return np.asarray(np.maximum(parts.sum(axis=-1), 0.0))


def warm_up() -> None:
    """Compile what serving calls."""
    if jit_enabled():
        third, one = np.full((1, 1, 3), 1.0 / 3.0), np.ones((1, 1))
        lmsr_pool(third, one, third[0], 50.0)
        log_pool(third, one)


def _x_log_x(p: F8) -> F8:
    """Return x·ln x with 0·ln 0 = 0."""
    return np.asarray(p * np.log(np.where(p > 0.0, p, 1.0)))


def _softmax(z: F8) -> F8:
    """Return exp(z)/Σ exp(z) along the last axis without overflow."""
    raised = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
