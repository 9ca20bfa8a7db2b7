"""Exact simulation of small circuits on classical hardware: rotations, Hadamard, NOT, optionally controlled.

Qubit 0 is the highest bit of a basis state's index. Gates that follow each other on one qubit are
multiplied into one 2×2 matrix first (gate fusion), so a layer of three rotations passes the state once; a
run of controlled NOTs only renumbers amplitudes and is applied as one permutation.
"""

from __future__ import annotations

from functools import lru_cache

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
SINGLE, CONTROLLED, RENUMBER = range(3)  # kinds of a step
RUN = 8  # amplitudes in a row from which a vectorised loop pays


class Gate(msgspec.Struct, frozen=True):
    """One gate: RX, RY, RZ by scale·parameter, H or X, on `target`, if `control` (when given) is 1."""

    kind: int
    target: int
    control: int = FREE
    parameter: int = FREE  # column of params; FREE: the angle is `scale` itself
    scale: float = 1.0


class Plan(msgspec.Struct, frozen=True):
    """A circuit in steps: gates [L,4] (kind, target, control, parameter) and which are done together."""

    table: I8
    scales: F8
    steps: I8  # [N,4]: kind, first gate, behind the last gate, row of `sources`
    sources: I8  # [R,2^n]: where the amplitude of each basis state comes from


@kernel
def _matrix(kind: int, c: float, s: float, out: C16) -> None:
    """Write the 2×2 matrix of a gate; c and s are cosine and sine of half its angle."""
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
def _fuse(table: I8, cosine: F8, sine: F8, first: int, behind: int, gate: C16, one: C16) -> None:
    """Multiply gates first…behind−1, which share their qubit, into `gate`; `one` is scratch."""
    _matrix(table[first, 0], cosine[first], sine[first], gate)
    for g in range(first + 1, behind):
        _matrix(table[g, 0], cosine[g], sine[g], one)
        for j in range(2):
            top, low = gate[0, j], gate[1, j]
            gate[0, j] = one[0, 0] * top + one[0, 1] * low
            gate[1, j] = one[1, 0] * top + one[1, 1] * low


@kernel
def _turn(re: F8, im: F8, bit: int, needed: int, gate: C16) -> None:
    """Apply a 2×2 matrix to every pair of amplitudes that differ in `bit` (of those with `needed` set)."""
    a, b, c, d = gate[0, 0], gate[0, 1], gate[1, 0], gate[1, 1]
    ar, ai, br, bi, cr, ci, dr, di = a.real, a.imag, b.real, b.imag, c.real, c.imag, d.real, d.imag
    for pair in range(re.shape[0] // 2):
        i = ((pair & -bit) << 1) | (pair & (bit - 1))
        if i & needed == needed:
            zr, zi, wr, wi = re[i], im[i], re[i + bit], im[i + bit]
            re[i] = ar * zr - ai * zi + br * wr - bi * wi
            im[i] = ar * zi + ai * zr + br * wi + bi * wr
            re[i + bit] = cr * zr - ci * zi + dr * wr - di * wi
            im[i + bit] = cr * zi + ci * zr + dr * wi + di * wr


@kernel
def _turn_all(re: F8, im: F8, bit: int, gate: C16) -> None:
    """Do `_turn` without a control, in runs that the compiler vectorises."""
    a, b, c, d = gate[0, 0], gate[0, 1], gate[1, 0], gate[1, 1]
    ar, ai, br, bi, cr, ci, dr, di = a.real, a.imag, b.real, b.imag, c.real, c.imag, d.real, d.imag
    for block in range(0, re.shape[0], 2 * bit):
        r0, r1 = re[block : block + bit], re[block + bit : block + 2 * bit]
        i0, i1 = im[block : block + bit], im[block + bit : block + 2 * bit]
        for i in range(bit):
            zr, zi, wr, wi = r0[i], i0[i], r1[i], i1[i]
            r0[i] = ar * zr - ai * zi + br * wr - bi * wi
            i0[i] = ar * zi + ai * zr + br * wi + bi * wr
            r1[i] = cr * zr - ci * zi + dr * wr - di * wi
            i1[i] = cr * zi + ci * zr + dr * wi + di * wr


@kernel
def _run(table: I8, steps: I8, sources: I8, qubits: int, cosine: F8, sine: F8, out: F8) -> None:
    """Run K circuits from |0…0⟩ by the plan's steps, given half angles [K,L]; write probabilities [K,2^n]."""
    size = 1 << qubits
    state, moved = np.empty((2, size)), np.empty((2, size))
    gate, one = np.empty((2, 2), np.complex128), np.empty((2, 2), np.complex128)
    for k in range(out.shape[0]):
        state[:] = 0.0
        state[0, 0] = 1.0
        for step in range(steps.shape[0]):
            kind, first, behind, source = steps[step]
            if kind == 2:
                for i in range(size):
                    moved[0, i], moved[1, i] = state[0, sources[source, i]], state[1, sources[source, i]]
                state, moved = moved, state
                continue
            _fuse(table, cosine[k], sine[k], first, behind, gate, one)
            bit = 1 << (qubits - 1 - table[first, 1])
            if kind == 0 and bit >= RUN:
                _turn_all(state[0], state[1], bit, gate)
            else:
                needed = 0 if kind == 0 else 1 << (qubits - 1 - table[first, 2])
                _turn(state[0], state[1], bit, needed, gate)
        for i in range(size):
            out[k, i] = state[0, i] ** 2 + state[1, i] ** 2


@lru_cache(maxsize=64)
def plan(gates: tuple[Gate, ...], qubits: int) -> Plan:
    """Put the gates of each qubit together where nothing between them touches it, and runs of NOTs into one.

    Gates on different qubits commute, so single ones may wait until their qubit meets a control.
    """
    ordered: list[Gate] = []
    steps: list[tuple[int, int, int, int]] = []
    sources: list[I8] = []
    waiting: dict[int, list[Gate]] = {}
    numbers = np.arange(1 << qubits)

    def flush(qubit: int) -> None:
        held = waiting.pop(qubit, [])
        if held:
            steps.append((SINGLE, len(ordered), len(ordered) + len(held), 0))
            ordered.extend(held)

    for gate in gates:
        if gate.control < 0:
            waiting.setdefault(gate.target, []).append(gate)
            continue
        flush(gate.control)
        flush(gate.target)
        if gate.kind != X:
            steps.append((CONTROLLED, len(ordered), len(ordered) + 1, 0))
            ordered.append(gate)
            continue
        on = (numbers >> (qubits - 1 - gate.control)) & 1
        source = numbers ^ (on << (qubits - 1 - gate.target))
        if steps and steps[-1][0] == RENUMBER:
            sources[-1] = sources[-1][source]
        else:
            steps.append((RENUMBER, len(ordered), len(ordered), len(sources)))
            sources.append(source)
    for qubit in tuple(waiting):
        flush(qubit)
    table = [(g.kind, g.target, g.control, g.parameter) for g in ordered]
    return Plan(
        np.array(table, np.int64).reshape(-1, 4),
        np.array([g.scale for g in ordered], np.float64),
        np.array(steps, np.int64).reshape(-1, 4),
        np.array(sources, np.int64).reshape(-1, 1 << qubits),
    )


def probabilities(gates: tuple[Gate, ...], params: F8, qubits: int) -> F8:
    """Return outcome probabilities [K,2^n] of a circuit for parameters [K,P]; ValueError above 12 qubits."""
    if not 1 <= qubits <= MOST_QUBITS:
        raise ValueError(f"qubits: 1 to {MOST_QUBITS}, found {qubits}")
    params = np.array(params, np.float64)
    if not backend.jit_enabled():
        return probabilities_reference(gates, params, qubits)
    way, out = plan(gates, qubits), np.empty((len(params), 1 << qubits))
    free = way.table[:, 3] < 0
    half = np.broadcast_to(0.5 * way.scales, (len(params), len(way.scales))).copy()
    half[:, ~free] *= params[:, way.table[~free, 3]]
    backend.each_part(
        lambda c, s, part: _run(way.table, way.steps, way.sources, qubits, c, s, part),
        np.cos(half), np.sin(half), out,
    )  # fmt: skip
    return out


def probabilities_reference(gates: tuple[Gate, ...], params: F8, qubits: int) -> F8:
    """Return `probabilities` with dense Kronecker matrices, gate by gate."""
    out = np.empty((len(params), 1 << qubits))
    small = np.empty((2, 2), np.complex128)
    fill = getattr(_matrix, "py_func", _matrix)
    for k, row in enumerate(params):
        state: C16 = np.zeros(1 << qubits, np.complex128)
        state[0] = 1.0
        for gate in gates:
            half = 0.5 * gate.scale * (1.0 if gate.parameter < 0 else row[gate.parameter])
            fill(gate.kind, np.cos(half), np.sin(half), small)
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
