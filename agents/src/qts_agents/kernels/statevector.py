"""Exact simulation of small circuits on classical hardware: rotations, Hadamard, NOT, optionally controlled.

Qubit 0 is the highest bit of a basis state's index.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
C16 = NDArray[np.complex128]
RX, RY, RZ, H, X = range(5)
FREE = -1  # no control, no parameter
MOST_QUBITS = 12


class Gate(msgspec.Struct, frozen=True):
    """One gate: RX, RY, RZ by scale·parameter, H or X, on `target`, if `control` (when given) is 1."""

    kind: int
    target: int
    control: int = FREE
    parameter: int = FREE  # column of params; FREE: the angle is `scale` itself
    scale: float = 1.0


@kernel
def _matrix(kind: int, angle: float, out: C16) -> None:
    """Write the 2×2 matrix of a gate."""
    c, s = np.cos(angle / 2.0), np.sin(angle / 2.0)
    if kind == 0:
        out[0, 0], out[0, 1], out[1, 0], out[1, 1] = c, -1j * s, -1j * s, c
    elif kind == 1:
        out[0, 0], out[0, 1], out[1, 0], out[1, 1] = c, -s, s, c
    elif kind == 2:
        out[0, 0], out[0, 1], out[1, 0], out[1, 1] = c - 1j * s, 0.0, 0.0, c + 1j * s
    elif kind == 3:
        half = np.sqrt(0.5)
        out[0, 0], out[0, 1], out[1, 0], out[1, 1] = half, half, half, -half
    else:
        out[0, 0], out[0, 1], out[1, 0], out[1, 1] = 0.0, 1.0, 1.0, 0.0


@kernel
def _run(table: I8, scales: F8, params: F8, qubits: int) -> F8:
    """Run K circuits from |0…0⟩; table [L,4] = kind, target, control, parameter → probabilities [K,2^n]."""
    size = 1 << qubits
    out, state, gate = (
        np.empty((params.shape[0], size)),
        np.empty(size, np.complex128),
        np.empty((2, 2), np.complex128),
    )
    for k in range(params.shape[0]):
        for i in range(size):
            state[i] = 0.0
        state[0] = 1.0
        for g in range(table.shape[0]):
            angle = scales[g] if table[g, 3] < 0 else scales[g] * params[k, table[g, 3]]
            _matrix(table[g, 0], angle, gate)
            bit = 1 << (qubits - 1 - table[g, 1])
            needed = 0 if table[g, 2] < 0 else 1 << (qubits - 1 - table[g, 2])
            for i in range(size):
                if i & bit == 0 and i & needed == needed:
                    zero, one = state[i], state[i | bit]
                    state[i] = gate[0, 0] * zero + gate[0, 1] * one
                    state[i | bit] = gate[1, 0] * zero + gate[1, 1] * one
        for i in range(size):
            out[k, i] = state[i].real ** 2 + state[i].imag ** 2
    return out


def probabilities(gates: tuple[Gate, ...], params: F8, qubits: int) -> F8:
    """Return outcome probabilities [K,2^n] of a circuit for parameters [K,P]; ValueError above 12 qubits."""
    if not 1 <= qubits <= MOST_QUBITS:
        raise ValueError(f"qubits: 1 to {MOST_QUBITS}, found {qubits}")
    params = np.array(params, np.float64)
    if not backend.jit_enabled():
        return probabilities_reference(gates, params, qubits)
    table = np.array([[g.kind, g.target, g.control, g.parameter] for g in gates], np.int64).reshape(-1, 4)
    return _run(table, np.array([g.scale for g in gates], np.float64), params, qubits)


def probabilities_reference(gates: tuple[Gate, ...], params: F8, qubits: int) -> F8:
    """Return `probabilities` with dense Kronecker matrices."""
    out = np.empty((len(params), 1 << qubits))
    small = np.empty((2, 2), np.complex128)
    fill = getattr(_matrix, "py_func", _matrix)
    for k, row in enumerate(params):
        state: C16 = np.zeros(1 << qubits, np.complex128)
        state[0] = 1.0
        for gate in gates:
            fill(gate.kind, gate.scale if gate.parameter < 0 else gate.scale * row[gate.parameter], small)
            parts = [np.eye(2, dtype=np.complex128) for _ in range(qubits)]
            parts[gate.target] = small
            if gate.control >= 0:
                parts[gate.target] = small - np.eye(2)
                parts[gate.control] = np.diag([0.0, 1.0]).astype(np.complex128)
            full: C16 = np.ones((1, 1), np.complex128)
            for part in parts:
                full = np.asarray(np.kron(full, part), np.complex128)
            state = full @ state + (state if gate.control >= 0 else 0.0)
        out[k] = np.abs(state) ** 2
    return out
