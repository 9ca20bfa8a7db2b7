"""A data re-uploading circuit (Pérez-Salinas et al. 2020), exactly simulated, and its gradient.

Each layer turns every qubit by RY and RZ of a feature times a weight plus a constant, then a ring of CZ joins
them; softmax of ⟨Z⟩ of the first three qubits gives (up, flat, down). The forecast is the mean of f(x) and
the mirrored f(mirror x), so that the inverted market gets the inverted forecast. Gradients by the adjoint
method (Jones & Gacon 2020): one pass forward, one back. Slot k of the circuit reads feature k, round and
round. The weights are [layers, qubits, RY or RZ, slope or constant]; qubit 0 is the most significant.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend, gpu, reupload_reference
from qts_agents.kernels.backend import kernel, part
from qts_agents.kernels.reupload_reference import CLASSES, LIMIT, SCALE, ring, signs

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
C16 = NDArray[np.complex128]
ENTRY = "reupload.forecast"


def forecast(x: Any, mirror: F8, weights: F8) -> F8:
    """Return probabilities [R,3] for features x [R,F]; NaN rows stay NaN. `mirror` [F] holds ±1."""
    rows, out = np.array(x, dtype=np.float64, order="C"), np.empty((len(x), CLASSES))
    fixed = mirror, weights, *_diagonals(weights.shape[1])
    run = _forecast if backend.jit_enabled() else reupload_reference.forecast
    if not gpu.runs("reupload_gpu.forecast", len(out), rows, *fixed, out=(out,)):
        backend.each_part(lambda some, part_: run(some, *fixed, part_), rows, out, entry=ENTRY)
    return out


def gradient(x: Any, y: I8, mirror: F8, weights: F8) -> F8:
    """Return the gradient, shaped as `weights`, of the mean of −ln p[y] over finite features x [R,F]."""
    rows, out = np.array(x, dtype=np.float64, order="C"), np.zeros_like(weights)
    run = _gradient if backend.jit_enabled() else reupload_reference.gradient
    run(rows, np.array(y, dtype=np.int64), mirror, weights, *_diagonals(weights.shape[1]), out)
    return out


@functools.cache
def _diagonals(qubits: int) -> tuple[F8, F8]:
    """Return the diagonals of the ring [2ⁿ] and of Z of the qubits that are measured [3,2ⁿ]."""
    return ring(qubits), np.ascontiguousarray(signs(qubits)[:CLASSES])


@part
def _turn(state: C16, stride: int, axis: int, c: float, s: float) -> None:
    """Apply RY (axis 0) or RZ (axis 1), given cosine and sine of half its angle, to the qubit of `stride`."""
    for i in range(state.shape[0]):
        if i & stride == 0:
            zero, one = state[i], state[i | stride]
            if axis == 0:
                state[i], state[i | stride] = c * zero - s * one, s * zero + c * one
            else:
                state[i], state[i | stride] = complex(c, -s) * zero, complex(c, s) * one


@part
def _angle(x: F8, weights: F8, layer: int, q: int, axis: int) -> tuple[float, float]:
    """Return the feature that a slot reads, cut, and half the angle that it makes."""
    slot = (layer * weights.shape[1] + q) * 2 + axis
    value = min(max(float(x[slot % x.shape[0]]), -LIMIT), LIMIT)
    return value, 0.5 * (weights[layer, q, axis, 0] * value + weights[layer, q, axis, 1])


@part
def _forward(x: F8, weights: F8, joined: F8, z: F8, state: C16, p: F8) -> None:
    """Run the circuit on features [F]; leave its final state [2ⁿ] and the probabilities [3]."""
    layers, qubits = weights.shape[0], weights.shape[1]
    state[:] = 0.0
    state[0] = 1.0
    for layer in range(layers):
        for q in range(qubits):
            for axis in range(2):
                _, half = _angle(x, weights, layer, q, axis)
                _turn(state, 1 << (qubits - 1 - q), axis, math.cos(half), math.sin(half))
        for i in range(state.shape[0]):
            state[i] *= joined[i]
    top = -np.inf
    for k in range(p.shape[0]):
        total = 0.0
        for i in range(state.shape[0]):
            total += z[k, i] * (state[i].real ** 2 + state[i].imag ** 2)
        p[k] = SCALE * total
        top = max(top, p[k])
    total = 0.0
    for k in range(p.shape[0]):
        p[k] = math.exp(p[k] - top)
        total += p[k]
    for k in range(p.shape[0]):
        p[k] /= total


@part
def _backward(x: F8, weights: F8, joined: F8, state: C16, costate: C16, out: F8) -> None:
    """Add the gradient of ⟨state|O|state⟩ to `out`, given costate = O·state; both are undone on the way."""
    layers, qubits = weights.shape[0], weights.shape[1]
    for layer in range(layers - 1, -1, -1):
        for i in range(state.shape[0]):
            state[i] *= joined[i]
            costate[i] *= joined[i]
        for q in range(qubits - 1, -1, -1):
            stride = 1 << (qubits - 1 - q)
            for axis in range(1, -1, -1):
                value, half = _angle(x, weights, layer, q, axis)
                turned = 0.0
                for i in range(state.shape[0]):
                    if i & stride == 0:
                        zero, one = state[i], state[i | stride]
                        a, b = costate[i].conjugate(), costate[i | stride].conjugate()
                        if axis == 0:  # Y: (−i·one, i·zero)
                            turned += (b * zero - a * one).real
                        else:  # Z
                            turned += (a * zero - b * one).imag
                out[layer, q, axis, 0] += turned * value
                out[layer, q, axis, 1] += turned
                c, s = math.cos(half), -math.sin(half)
                _turn(state, stride, axis, c, s)
                _turn(costate, stride, axis, c, s)


@part
def forecast_of(
    x: F8, mirror: F8, weights: F8, joined: F8, z: F8, state: C16, turned: F8, p: F8, out: F8
) -> None:
    """Write the mean of a row's forecast and of the mirrored one; state, turned [F], p [2,3] are scratch."""
    known = True
    for i in range(x.shape[0]):
        turned[i] = x[i] * mirror[i]
        known = known and math.isfinite(x[i])
    _forward(x, weights, joined, z, state, p[0])
    _forward(turned, weights, joined, z, state, p[1])
    for k in range(out.shape[0]):
        out[k] = 0.5 * (p[0, k] + p[1, out.shape[0] - 1 - k]) if known else np.nan


@kernel
def _forecast(x: F8, mirror: F8, weights: F8, joined: F8, z: F8, out: F8) -> None:
    """Write the forecast of each row."""
    state, turned, p = np.empty(joined.shape[0], np.complex128), np.empty(x.shape[1]), np.empty((2, CLASSES))
    for r in range(x.shape[0]):
        forecast_of(x[r], mirror, weights, joined, z, state, turned, p, out[r])


@kernel
def _gradient(x: F8, y: I8, mirror: F8, weights: F8, joined: F8, z: F8, out: F8) -> None:
    """Add up the gradients of the rows, in their order."""
    size = joined.shape[0]
    states, p = np.empty((2, size), np.complex128), np.empty((2, CLASSES))
    costate, inputs = np.empty(size, np.complex128), np.empty((2, x.shape[1]))
    for r in range(x.shape[0]):
        for i in range(x.shape[1]):
            inputs[0, i], inputs[1, i] = x[r, i], x[r, i] * mirror[i]
        _forward(inputs[0], weights, joined, z, states[0], p[0])
        _forward(inputs[1], weights, joined, z, states[1], p[1])
        mean = 0.5 * (p[0, y[r]] + p[1, CLASSES - 1 - y[r]])
        for side in range(2):
            at = y[r] if side == 0 else CLASSES - 1 - y[r]
            share = 0.5 * p[side, at] / mean * SCALE / x.shape[0]
            for i in range(size):
                weight = 0.0
                for k in range(CLASSES):
                    weight += share * (p[side, k] - (1.0 if k == at else 0.0)) * z[k, i]
                costate[i] = weight * states[side, i]
            _backward(inputs[side], weights, joined, states[side], costate, out)


def warm_up(mirror: F8, weights: F8) -> None:
    """Compile what serving and learning call."""
    x = np.zeros((1, len(mirror)))
    forecast(x, mirror, weights)
    gradient(x, np.zeros(1, np.int64), mirror, weights)
