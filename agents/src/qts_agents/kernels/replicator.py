"""Replicator dynamics of bimatrix games: shares grow by what is earned above the mean.

Two populations (Taylor 1979, after Taylor & Jonker 1978): ẋᵢ = xᵢ((Ay)ᵢ − x·Ay), ẏⱼ = yⱼ((Bᵀx)ⱼ − y·Bᵀx),
followed by the Runge–Kutta method of order four. Shares are scaled to sum to 1 after every step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel, part

F8 = NDArray[np.float64]
LONGEST = 0.5  # step × payoff range; beyond it the method leaves the simplex


@part
def _growth(payoff: F8, own: F8, other: F8, out: F8) -> None:
    """Write the rate of change of `own` [m], whose actions earn payoff [m,n] against `other` [n]."""
    mean = 0.0
    for i in range(own.shape[0]):
        out[i] = 0.0
        for j in range(other.shape[0]):
            out[i] += payoff[i, j] * other[j]
        mean += own[i] * out[i]
    for i in range(own.shape[0]):
        out[i] = own[i] * (out[i] - mean)


@part
def flow_of(a: F8, bt: F8, steps: int, dt: float, x: F8, y: F8, here: F8, slope: F8, total: F8) -> None:
    """Move the shares x [m], y [n] of one game by `steps` steps; the last three [m+n] are scratch."""
    m, n = x.shape[0], y.shape[0]
    for _ in range(steps):
        for i in range(m + n):
            here[i] = x[i] if i < m else y[i - m]
            total[i] = 0.0
        for stage in range(4):
            _growth(a, here[:m], here[m:], slope[:m])
            _growth(bt, here[m:], here[:m], slope[m:])
            weight = 1.0 if stage == 0 or stage == 3 else 2.0
            ahead = dt if stage == 2 else 0.5 * dt
            for i in range(m + n):
                total[i] += weight * slope[i]
                here[i] = (x[i] if i < m else y[i - m]) + ahead * slope[i]
        _advance(x, dt, total[:m])
        _advance(y, dt, total[m:])


@part
def _advance(share: F8, dt: float, total: F8) -> None:
    """Add a step of the four slopes' weighted `total` to a population's shares and scale them to sum to 1."""
    sums = 0.0
    for i in range(share.shape[0]):
        share[i] += dt / 6.0 * total[i]
        sums += share[i]
    for i in range(share.shape[0]):
        share[i] /= sums


@kernel
def _flow(a: F8, bt: F8, steps: int, dt: float, x: F8, y: F8) -> None:
    """Move the shares x [G,m], y [G,n] of every game a [G,m,n], bt [G,n,m], in place."""
    both = a.shape[1] + a.shape[2]
    here, slope, total = np.empty(both), np.empty(both), np.empty(both)
    for g in range(a.shape[0]):
        flow_of(a[g], bt[g], steps, dt, x[g], y[g], here, slope, total)


def replicate(a: F8, b: F8, x: F8, y: F8, time: float, steps: int) -> tuple[F8, F8]:
    """Return the shares [G,m], [G,n] after `time`, from x, y, in the games a, b [G,m,n]; `steps` equal steps.

    Time is in 1/payoff. ValueError when a step times the payoff range is longer than ½.
    """
    a, b = (np.array(payoff, np.float64, order="C") for payoff in (a, b))
    span = max((float(np.ptp(payoff)) for payoff in (a, b) if payoff.size), default=0.0)
    if steps < 1 or abs(time) / steps * span > LONGEST:
        raise ValueError(f"replicate: {steps} steps are too few for time {time:g} and payoff range {span:g}")
    x, y = (np.array(share, np.float64, order="C") for share in (x, y))
    games = a, np.ascontiguousarray(b.transpose(0, 2, 1)), steps, time / steps
    backend.fill("replicator_gpu.flow", (x, y), games, _flow, flow_reference)
    return x, y


def flow_reference(a: F8, bt: F8, steps: int, dt: float, x: F8, y: F8) -> None:
    """Do what `_flow` does with numpy."""

    def slopes(p: F8, q: F8) -> tuple[F8, F8]:
        earned, paid = np.einsum("gij,gj->gi", a, q), np.einsum("gji,gi->gj", bt, p)
        return (
            p * (earned - (p * earned).sum(axis=1, keepdims=True)),
            q * (paid - (q * paid).sum(axis=1, keepdims=True)),
        )

    for _ in range(steps):
        k = [slopes(x, y)]
        for ahead in (0.5 * dt, 0.5 * dt, dt):
            k.append(slopes(x + ahead * k[-1][0], y + ahead * k[-1][1]))
        for side, share in enumerate((x, y)):
            share += dt / 6.0 * (k[0][side] + 2.0 * k[1][side] + 2.0 * k[2][side] + k[3][side])
            share /= share.sum(axis=1, keepdims=True)
