"""The re-uploading circuit in plain numpy: what the compiled rows must equal, all rows gate by gate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
C16 = NDArray[np.complex128]
SCALE = 2.0  # of ⟨Z⟩ in the softmax: an outcome is never surer than e⁴ to 1
LIMIT = 3.0  # features beyond this count as this
CLASSES = 3


def signs(qubits: int) -> F8:
    """Return the diagonal of Z of each qubit [n,2ⁿ]; qubit 0 is the most significant."""
    bits = np.arange(2**qubits)[None, :] >> np.arange(qubits)[::-1, None] & 1
    return np.asarray(1.0 - 2.0 * bits)


def ring(qubits: int) -> F8:
    """Return the diagonal [2ⁿ] of CZ between neighbours round the ring."""
    z = signs(qubits)
    diagonal = np.ones(2**qubits)
    for q in range(qubits):
        both = (z[q] < 0.0) & (z[(q + 1) % qubits] < 0.0)
        diagonal = np.where(both, -diagonal, diagonal)
    return diagonal


def forecast(x: F8, mirror: F8, weights: F8, joined: F8, z: F8, out: F8) -> None:
    """Write probabilities [R,3] of features x [R,F]; NaN rows stay NaN."""
    known = np.isfinite(x).all(axis=1)
    out[:] = np.nan
    one, other = (_forward(rows, weights, joined, z)[0] for rows in (x[known], x[known] * mirror))
    out[known] = 0.5 * (one + other[:, ::-1])


def gradient(x: F8, y: I8, mirror: F8, weights: F8, joined: F8, z: F8, out: F8) -> None:
    """Add the gradient of the mean of −ln p[y] in the weights to `out`."""
    rows = np.arange(len(y))
    one, other = _forward(x, weights, joined, z), _forward(x * mirror, weights, joined, z)
    p = 0.5 * (one[0] + other[0][:, ::-1])
    for inputs, (own, state), at in ((x, one, y), (x * mirror, other, 2 - y)):
        share = 0.5 * own[rows, at] / p[rows, y]
        slope = share[:, None] * (own - np.eye(CLASSES)[at]) * SCALE / len(y)
        out += _backward(inputs, weights, joined, state, state * (slope @ z))


def _turn(state: C16, qubit: int, axis: int, angle: F8) -> C16:
    """Return states [R,2ⁿ] after RY (axis 0) or RZ (axis 1) of `angle` [R] on a qubit."""
    parts = state.reshape(len(state), 2**qubit, 2, -1)
    zero, one = parts[:, :, 0], parts[:, :, 1]
    half = 0.5 * angle[:, None, None]
    if axis == 0:
        c, s = np.cos(half), np.sin(half)
        turned = (c * zero - s * one, s * zero + c * one)
    else:
        phase = np.exp(-1j * half)
        turned = (phase * zero, phase.conj() * one)
    return np.asarray(np.stack(turned, axis=2).reshape(state.shape))


def _generator(state: C16, qubit: int, axis: int) -> C16:
    """Return Y (axis 0) or Z (axis 1) on a qubit of states [R,2ⁿ]."""
    parts = state.reshape(len(state), 2**qubit, 2, -1)
    zero, one = parts[:, :, 0], parts[:, :, 1]
    done = (-1j * one, 1j * zero) if axis == 0 else (zero, -one)
    return np.asarray(np.stack(done, axis=2).reshape(state.shape))


def _inputs(x: F8, weights: F8) -> F8:
    """Return the feature [R,L,n,2] that each slot reads, cut."""
    shape = weights.shape[:3]
    slot = np.arange(int(np.prod(shape))) % x.shape[1]
    return np.asarray(np.clip(x, -LIMIT, LIMIT)[:, slot].reshape(len(x), *shape))


def _forward(x: F8, weights: F8, joined: F8, z: F8) -> tuple[F8, C16]:
    """Return probabilities [R,3] and final states [R,2ⁿ]."""
    angles = weights[..., 0] * _inputs(x, weights) + weights[..., 1]
    state = np.zeros((len(x), len(joined)), dtype=np.complex128)
    state[:, 0] = 1.0
    for layer in range(weights.shape[0]):
        for q in range(weights.shape[1]):
            for axis in (0, 1):
                state = _turn(state, q, axis, angles[:, layer, q, axis])
        state = state * joined
    seen = SCALE * (np.abs(state) ** 2 @ z.T)
    raised = np.exp(seen - seen.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True), state


def _backward(x: F8, weights: F8, joined: F8, state: C16, costate: C16) -> F8:
    """Return the gradient in the weights, undoing the circuit from its final `state` and O·state."""
    inputs = _inputs(x, weights)
    angles = weights[..., 0] * inputs + weights[..., 1]
    out = np.zeros_like(weights)
    for layer in reversed(range(weights.shape[0])):
        state, costate = state * joined, costate * joined
        for q in reversed(range(weights.shape[1])):
            for axis in (1, 0):
                turned = (costate.conj() * _generator(state, q, axis)).sum(axis=1).imag
                out[layer, q, axis, 0] = float((turned * inputs[:, layer, q, axis]).sum())
                out[layer, q, axis, 1] = float(turned.sum())
                back = -angles[:, layer, q, axis]
                state, costate = _turn(state, q, axis, back), _turn(costate, q, axis, back)
    return out
