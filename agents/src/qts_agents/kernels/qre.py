"""Logit quantal response equilibria (McKelvey & Palfrey 1995) of bimatrix games, along a path of λ.

The path begins at λ = 0, the uniform pair, and goes on in steps; each step starts where the last one ended.
A damped fixed point comes near, Newton's method on (x, y) finishes. The branch that leads out of the
uniform pair is followed, which is the one that λ → ∞ selects as long as it does not turn back.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel, part

F8 = NDArray[np.float64]
DAMPED, NEWTON = 60, 8
DAMPING = 0.5
SETTLED = 1e-13


class Quantal(msgspec.Struct, frozen=True):
    """Where the path ends, for each of G games."""

    x: F8  # [G,m]
    y: F8  # [G,n]
    residual: F8  # [G] largest |z − response(z)|; above 1e-10 the path has been lost


@part
def _softmax(z: F8) -> F8:
    """Return exp(z)/Σ without overflow."""
    raised = np.exp(z - z.max())
    out: F8 = raised / raised.sum()
    return out


@part
def _respond(a: F8, b: F8, rate: float, z: F8, out: F8) -> float:
    """Write both logit responses to z = (x, y); return the largest distance from z."""
    m, n = a.shape
    earned = np.empty(m)
    for i in range(m):
        earned[i] = 0.0
        for j in range(n):
            earned[i] += rate * a[i, j] * z[m + j]
    out[:m] = _softmax(earned)
    earned = np.empty(n)
    for j in range(n):
        earned[j] = 0.0
        for i in range(m):
            earned[j] += rate * b[i, j] * z[i]
    out[m:] = _softmax(earned)
    return float(np.abs(out - z).max())


@part
def _slope(a: F8, b: F8, rate: float, answer: F8, out: F8) -> None:
    """Write the Jacobian of z − response(z); the response's is λ·(diag(p) − ppᵀ)·payoff."""
    m, n = a.shape
    out[:] = 0.0
    for i in range(m + n):
        out[i, i] = 1.0
    for j in range(n):
        mean = 0.0
        for i in range(m):
            mean += answer[i] * a[i, j]
        for i in range(m):
            out[i, m + j] = -rate * answer[i] * (a[i, j] - mean)
    for i in range(m):
        mean = 0.0
        for j in range(n):
            mean += answer[m + j] * b[i, j]
        for j in range(n):
            out[m + j, i] = -rate * answer[m + j] * (b[i, j] - mean)


@kernel
def _follow(a: F8, b: F8, rates: F8, path: F8) -> float:
    """Follow one game along `rates` [L]; write (x, y) at each to path [L,m+n]; return the last residual."""
    m, n = a.shape
    z, answer, slope, off = np.empty(m + n), np.empty(m + n), np.empty((m + n, m + n)), 0.0
    z[:m], z[m:] = 1.0 / m, 1.0 / n
    for step in range(rates.shape[0]):
        for _ in range(DAMPED):
            off = _respond(a, b, rates[step], z, answer)
            if off < 1e-4:
                break
            z += DAMPING * (answer - z)
        for _ in range(NEWTON):
            off = _respond(a, b, rates[step], z, answer)
            if off < SETTLED:
                break
            _slope(a, b, rates[step], answer, slope)
            z += np.linalg.solve(slope, answer - z)
        off = _respond(a, b, rates[step], z, answer)
        path[step] = z
    return off


def qre_path(a: F8, b: F8, rates: F8) -> F8:
    """Return (x, y) [L,m+n] of one game a, b [m,n] at each λ of `rates` [L], ascending."""
    path = np.empty((len(rates), sum(a.shape)))
    follow = _follow if backend.jit_enabled() else _follow_reference
    follow(np.array(a, np.float64, order="C"), np.array(b, np.float64, order="C"), np.array(rates), path)
    return path


def qre(a: F8, b: F8, rate: float, steps: int = 10) -> Quantal:
    """Return the equilibrium at λ = `rate` (per unit of payoff) of each game a, b [G,m,n]."""
    games, m, n = a.shape
    rates, follow = (
        np.linspace(0.0, rate, steps + 1)[1:],
        _follow if backend.jit_enabled() else _follow_reference,
    )
    x, y, residual, path = (
        np.empty((games, m)),
        np.empty((games, n)),
        np.empty(games),
        np.empty((steps, m + n)),
    )
    a, b = (np.array(payoff, np.float64, order="C") for payoff in (a, b))
    for g in range(games):
        residual[g] = follow(a[g], b[g], rates, path)
        x[g], y[g] = path[-1, :m], path[-1, m:]
    return Quantal(x, y, residual)


def _follow_reference(a: F8, b: F8, rates: F8, path: F8) -> float:
    """Do what `_follow` does by the damped fixed point alone, with as many steps as it takes."""
    m, n = a.shape
    x, y, off = np.full(m, 1.0 / m), np.full(n, 1.0 / n), np.inf
    for step, rate in enumerate(rates):
        for _ in range(200_000):
            up, left = np.exp(rate * (a @ y - (a @ y).max())), np.exp(rate * (x @ b - (x @ b).max()))
            moved_x, moved_y = up / up.sum() - x, left / left.sum() - y
            off = max(np.abs(moved_x).max(), np.abs(moved_y).max())
            if off < SETTLED:
                break
            x, y = x + 0.2 * moved_x, y + 0.2 * moved_y
        path[step, :m], path[step, m:] = x, y
    return float(off)


def warm_up() -> None:
    """Compile what serving calls."""
    qre(np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), 1.0, 1)
