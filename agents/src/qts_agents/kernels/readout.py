"""AMOS readout: intention, risk and position → probabilities of the seven actions (agents.md §6).

Three implementations of one thing: the closed form compiled (`readout`), the closed form in numpy
(`readout_reference`), and the 3-qubit circuit by `statevector` (`circuit`). The circuit is a
notation for the closed form; nothing here needs or uses quantum hardware. Columns follow `ACTIONS`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.lanes import RY
from qts_agents.kernels.statevector import Gate, probabilities

F8 = NDArray[np.float64]
BUY, SELL, HOLD, INCREASE, DECREASE, HEDGE, EXIT = range(7)


@backend.kernel
def _readout(I: F8, risk: F8, d: F8, nu: float, out: F8) -> None:  # noqa: E741 - the textbook's letter
    for s in range(I.shape[0]):
        a = abs(I[s])
        U = math.sin(0.25 * math.pi * (1.0 + I[s])) ** 2
        V = math.sin(0.25 * math.pi * (1.0 - I[s])) ** 2
        rho = math.sin(0.5 * math.pi * risk[s]) ** 2
        z0 = math.sin(0.5 * math.pi * a) ** 2
        z1 = math.sin(0.5 * (1.0 - nu) * math.pi * a) ** 2
        z = (1.0 - rho) * z0 + rho * z1
        if d[s] == 0.0:
            out[s, BUY] = U * z
            out[s, SELL] = V * z
            out[s, HOLD] = 1.0 - z
        else:
            A = U if d[s] > 0.0 else V
            against = V if d[s] > 0.0 else U
            out[s, INCREASE] = A * z
            out[s, DECREASE] = against * (1.0 - rho) * z0
            out[s, EXIT] = against * rho * z1
            out[s, HOLD] = (1.0 - rho) * (1.0 - z0)
            out[s, HEDGE] = rho * (1.0 - z1)


def readout(I: F8, risk: F8, d: F8, nu: float) -> F8:  # noqa: E741
    """Return [S,7] action probabilities of intention `I` ∈ [−1,1], `risk` ∈ [0,1], side `d` (all [S])."""
    if not backend.jit_enabled():
        return readout_reference(I, risk, d, nu)
    out = np.zeros((I.shape[0], 7))
    _readout(I, risk, d, nu, out)
    return out


def readout_reference(I: F8, risk: F8, d: F8, nu: float) -> F8:  # noqa: E741
    """Return what `readout` returns, by numpy."""
    U = np.sin(0.25 * np.pi * (1.0 + I)) ** 2
    V = np.sin(0.25 * np.pi * (1.0 - I)) ** 2
    rho = np.sin(0.5 * np.pi * risk) ** 2
    z0 = np.sin(0.5 * np.pi * np.abs(I)) ** 2
    z1 = np.sin(0.5 * (1.0 - nu) * np.pi * np.abs(I)) ** 2
    side, risky = np.stack([V, U], axis=1), np.stack([1.0 - rho, rho], axis=1)
    strong = np.stack([np.stack([1.0 - z0, z0], axis=1), np.stack([1.0 - z1, z1], axis=1)], axis=1)
    return measured(side[:, :, None, None] * risky[:, None, :, None] * strong[:, None, :, :], d)


#: the circuit on qubits (direction, risk, strength); angles are columns of its parameters
GATES = (
    Gate(RY, 0, parameter=0),
    Gate(RY, 1, parameter=1),
    Gate(RY, 2, parameter=2),
    Gate(RY, 2, control=1, parameter=3),
)


def circuit(I: F8, risk: F8, d: F8, nu: float) -> F8:  # noqa: E741
    """Return what `readout` returns, from the simulated circuit."""
    return measured(simulated(I, risk, nu), d)


def simulated(I: F8, risk: F8, nu: float) -> F8:  # noqa: E741
    """Return the circuit's basis-state probabilities [S,direction,risk,strength]: no side is in them."""
    turn = np.pi * np.abs(I)
    angles = np.stack((0.5 * np.pi * (1.0 + I), np.pi * risk, turn, -nu * turn), axis=1)
    known: NDArray[np.bool_] = np.all(np.isfinite(angles), axis=1)
    prob = np.asarray(probabilities(GATES, np.where(known[:, None], angles, 0.0), 3))
    prob[~known] = np.nan  # a block of circuits shares its sines, which one unknown angle would change
    return prob.reshape(-1, 2, 2, 2)


def measured(prob: F8, d: F8) -> F8:
    """Read basis-state probabilities [S,direction,risk,strength] as actions."""
    flat = d == 0.0
    ahead = np.where(d > 0.0, 1, 0)
    rows = np.arange(d.shape[0])
    weak = prob[:, :, :, 0].sum(axis=1)
    out = np.zeros((d.shape[0], 7))
    out[:, BUY] = np.where(flat, prob[:, 1, :, 1].sum(axis=1), 0.0)
    out[:, SELL] = np.where(flat, prob[:, 0, :, 1].sum(axis=1), 0.0)
    out[:, HOLD] = np.where(flat, weak.sum(axis=1), weak[:, 0])
    out[:, INCREASE] = np.where(flat, 0.0, prob[rows, ahead, :, 1].sum(axis=1))
    out[:, DECREASE] = np.where(flat, 0.0, prob[rows, 1 - ahead, 0, 1])
    out[:, EXIT] = np.where(flat, 0.0, prob[rows, 1 - ahead, 1, 1])
    out[:, HEDGE] = np.where(flat, 0.0, weak[:, 1])
    return out


def sample(p: F8, uniforms: F8) -> F8:
    """Return the frequencies [S,7] of `uniforms` [S,shots] drawn from `p` [S,7] by inverse CDF."""
    edges = np.cumsum(p, axis=1)
    out = np.empty_like(p)
    for row in range(p.shape[0]):
        # the last edge is 1 up to rounding; a draw above it belongs to the last possible action
        last = int(np.nonzero(p[row] > 0.0)[0][-1])
        drawn = np.minimum(np.searchsorted(edges[row], uniforms[row], side="right"), last)
        out[row] = np.bincount(drawn, minlength=7) / uniforms.shape[1]
    return out
