"""A data re-uploading circuit (Pérez-Salinas et al. 2020) as a classifier, simulated exactly (pure).

Each layer turns every qubit by RY and RZ of a feature times a weight plus a constant, then a ring of CZ joins
them; softmax of ⟨Z⟩ of the first three qubits gives (up, flat, down). The forecast is the mean of f(x) and
the mirrored f(mirror x), so that the inverted market gets the inverted forecast. Gradients by the adjoint
method (Jones & Gacon 2020): one pass forward, one back. It is a function of some fifty numbers, computed on a
CPU; it speaks only where it has beaten logistic regression (`gate`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import philox
from qts_agents.quasar.features import NAMES, ODD

F8 = NDArray[np.float64]
C16 = NDArray[np.complex128]
LAYERS = 3
SCALE = 2.0  # of ⟨Z⟩ in the softmax: an outcome is never surer than e⁴ to 1
LIMIT = 3.0  # features beyond this count as this
PURPOSE_START = 2
MIRROR: F8 = np.array([-1.0] * len(ODD) + [1.0] * (len(NAMES) - len(ODD)))


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


class Reuploading:
    """The circuit with its weights; learns by gradient descent on the log score."""

    def __init__(self, qubits: int, rate: float, key: philox.Key) -> None:
        self.qubits, self._rate = qubits, rate
        self.rows = 0
        start = philox.normals(key, LAYERS * qubits * 2 * 2, PURPOSE_START, 0)
        self.weights: F8 = 0.5 * start.reshape(LAYERS, qubits, 2, 2)  # slope and constant of RY and RZ

    def predict(self, features: F8) -> F8:
        """Return x [S,3] of features [S,10]; NaN rows stay NaN."""
        known = np.isfinite(features).all(axis=1)
        out = np.full((len(features), 3), np.nan)
        if known.any():
            out[known] = 0.5 * (
                self._forward(features[known])[0] + self._forward(features[known] * MIRROR)[0][:, ::-1]
            )
        return out

    def learn(self, features: F8, y: NDArray[np.int64]) -> None:
        """Take one gradient step on the mean log score of outcomes `y` [R] for features [R,10]."""
        known = np.isfinite(features).all(axis=1)
        if not known.any():
            return
        x, y = features[known], y[known]
        self.weights = self.weights - self._rate * self.gradient(x, y)
        self.rows += len(x)

    def gradient(self, x: F8, y: NDArray[np.int64]) -> F8:
        """Return the gradient of the mean of −ln p[y] in the weights."""
        rows = np.arange(len(y))
        one, other = self._forward(x), self._forward(x * MIRROR)
        p = 0.5 * (one[0] + other[0][:, ::-1])
        out = np.zeros_like(self.weights)
        for inputs, (own, state), at in ((x, one, y), (x * MIRROR, other, 2 - y)):
            share = 0.5 * own[rows, at] / p[rows, y]
            slope = share[:, None] * (own - np.eye(3)[at]) * SCALE / len(y)
            out += self._backward(inputs, state, slope)
        return out

    def _angles(self, x: F8) -> F8:
        """Return the angles [R,L,n,2]: slot k of the circuit reads feature k, round and round."""
        shape = self.weights.shape[:3]
        slot = np.arange(int(np.prod(shape))) % len(NAMES)
        inputs = np.clip(x, -LIMIT, LIMIT)[:, slot].reshape(len(x), *shape)
        return np.asarray(self.weights[..., 0] * inputs + self.weights[..., 1])

    def _forward(self, x: F8) -> tuple[F8, C16]:
        """Return probabilities [R,3] and final states [R,2ⁿ]."""
        angles, joined = self._angles(x), ring(self.qubits)
        state = np.zeros((len(x), 2**self.qubits), dtype=np.complex128)
        state[:, 0] = 1.0
        for layer in range(LAYERS):
            for q in range(self.qubits):
                for axis in (0, 1):
                    state = _turn(state, q, axis, angles[:, layer, q, axis])
            state = state * joined
        z = SCALE * (np.abs(state) ** 2 @ signs(self.qubits)[:3].T)
        raised = np.exp(z - z.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True), state

    def _backward(self, x: F8, state: C16, slope: F8) -> F8:
        """Return the gradient of Σ slope·⟨Z⟩ in the weights, undoing the circuit from its final `state`."""
        angles, joined = self._angles(x), ring(self.qubits)
        slot = np.arange(int(np.prod(self.weights.shape[:3]))) % len(NAMES)
        inputs = np.clip(x, -LIMIT, LIMIT)[:, slot].reshape(angles.shape)
        costate = state * (slope @ signs(self.qubits)[:3])
        out = np.zeros_like(self.weights)
        for layer in reversed(range(LAYERS)):
            state, costate = state * joined, costate * joined
            for q in reversed(range(self.qubits)):
                for axis in (1, 0):
                    turned = (costate.conj() * _generator(state, q, axis)).sum(axis=1).imag
                    out[layer, q, axis, 0] = float((turned * inputs[:, layer, q, axis]).sum())
                    out[layer, q, axis, 1] = float(turned.sum())
                    back = -angles[:, layer, q, axis]
                    state, costate = _turn(state, q, axis, back), _turn(costate, q, axis, back)
        return out
