"""Exact simulation of small circuits on classical hardware: rotations, Hadamard, NOT, optionally controlled.

Qubit 0 is the highest bit of a basis state's index. Gates that follow each other on one qubit are
multiplied into one 2×2 matrix first (gate fusion), so a layer of three rotations passes the state once; a
run of controlled NOTs only renumbers amplitudes, which the plan knows before anything runs. Circuits run in
blocks of `lanes.LANES`.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend, gpu
from qts_agents.kernels.backend import kernel, part
from qts_agents.kernels.lanes import (
    FAR,
    LANES,
    RX,
    RY,
    RZ,
    H,
    X,
    flip,
    mix,
    rotate_x,
    rotate_y,
    rotate_z,
    sine_cosine,
    turn,
)

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
C16 = NDArray[np.complex128]
FREE = -1  # no control, no parameter
MOST_QUBITS = 12
ENTRY = "statevector.probabilities"
SINGLE, CONTROLLED = range(2)  # kinds of a step


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
    steps: I8  # [N,4]: kind, first gate, behind the last gate, row of `places`
    places: I8  # [R,2^n]: which block holds the amplitude of each basis state; the last row at the end


@part
def _absorb(kind: int, c: F8, s: F8, gate: F8) -> None:
    """Multiply a gate of `kind` onto every lane's; a loop for each kind, so that it is vectorised."""
    if kind == 0:
        for lane in range(LANES):
            rotate_x(gate, lane, c[lane], s[lane])
    elif kind == 1:
        for lane in range(LANES):
            rotate_y(gate, lane, c[lane], s[lane])
    elif kind == 2:
        for lane in range(LANES):
            rotate_z(gate, lane, c[lane], s[lane])
    elif kind == 3:
        for lane in range(LANES):
            mix(gate, lane)
    else:
        for lane in range(LANES):
            flip(gate, lane)


@part
def _turn_pair(low: F8, high: F8, gate: F8) -> None:
    """Apply every lane's gate to one pair of amplitudes."""
    for lane in range(LANES):
        turn(low, high, gate, lane)


@part
def _turn_all(state: F8, where: I8, bit: int, needed: int, gate: F8) -> None:
    """Apply the gate to every pair of amplitudes that differ in `bit` (of those with `needed` set)."""
    wide = 2 * LANES
    for pair in range(where.shape[0] // 2):
        i = ((pair & -bit) << 1) | (pair & (bit - 1))
        if i & needed == needed:
            low, high = where[i] * wide, where[i + bit] * wide
            _turn_pair(state[low : low + wide], state[high : high + wide], gate)


@part
def _angles(table: I8, halves: F8, params: F8, first: int, sine: F8, cosine: F8, room: F8) -> None:
    """Write sine and cosine of half the angle of every gate in the lanes of circuits first…; [L·LANES]."""
    last, far = params.shape[0] - 1, False
    for row in range(table.shape[0]):
        column, out = table[row, 3], room[row * LANES : (row + 1) * LANES]
        for lane in range(LANES):
            out[lane] = halves[row] * (1.0 if column < 0 else params[min(first + lane, last), column])
            far |= not abs(out[lane]) < FAR
    if far:
        for i in range(room.shape[0]):
            sine[i], cosine[i] = np.sin(room[i]), np.cos(room[i])
    else:
        sine_cosine(room, sine, cosine)


@kernel
def _run(table: I8, halves: F8, steps: I8, places: I8, qubits: int, params: F8, out: F8) -> None:
    """Run K circuits from |0…0⟩ by the plan's steps; params [K,P]; write probabilities [K,2^n]."""
    size, wide, gates = 1 << qubits, 2 * LANES, table.shape[0]
    state, gate = np.empty(size * wide), np.empty(8 * LANES)
    sine, cosine, room = np.empty(gates * LANES), np.empty(gates * LANES), np.empty(gates * LANES)
    for first in range(0, out.shape[0], LANES):
        _angles(table, halves, params, first, sine, cosine, room)
        state[:] = 0.0
        state[:LANES] = 1.0
        for step in range(steps.shape[0]):
            kind, begins, behind, place = steps[step]
            gate[:] = 0.0
            gate[:LANES] = gate[6 * LANES : 7 * LANES] = 1.0
            for row in range(begins, behind):
                lanes = slice(row * LANES, (row + 1) * LANES)
                _absorb(table[row, 0], cosine[lanes], sine[lanes], gate)
            bit = 1 << (qubits - 1 - table[begins, 1])
            needed = 0 if kind == 0 else 1 << (qubits - 1 - table[begins, 2])
            _turn_all(state, places[place], bit, needed, gate)
        for i in range(size):
            begins = places[-1, i] * wide
            re, im = state[begins : begins + LANES], state[begins + LANES : begins + wide]
            for lane in range(min(LANES, out.shape[0] - first)):
                out[first + lane, i] = re[lane] * re[lane] + im[lane] * im[lane]


@lru_cache(maxsize=64)
def plan(gates: tuple[Gate, ...], qubits: int) -> Plan:
    """Put the gates of each qubit together where nothing between them touches it, and runs of NOTs into one.

    Gates on different qubits commute, so single ones may wait until their qubit meets a control.
    """
    ordered: list[Gate] = []
    steps: list[tuple[int, int, int, int]] = []
    waiting: dict[int, list[Gate]] = {}
    numbers = np.arange(1 << qubits)
    places: list[I8] = [numbers]

    def flush(qubit: int) -> None:
        held = waiting.pop(qubit, [])
        if held:
            steps.append((SINGLE, len(ordered), len(ordered) + len(held), len(places) - 1))
            ordered.extend(held)

    for gate in gates:
        if gate.control < 0:
            waiting.setdefault(gate.target, []).append(gate)
            continue
        flush(gate.control)
        flush(gate.target)
        if gate.kind != X:
            steps.append((CONTROLLED, len(ordered), len(ordered) + 1, len(places) - 1))
            ordered.append(gate)
            continue
        on = (numbers >> (qubits - 1 - gate.control)) & 1
        moved = places[-1][numbers ^ (on << (qubits - 1 - gate.target))]
        if steps and steps[-1][3] == len(places) - 1:
            places.append(moved)
        else:  # no step has used the last one
            places[-1] = moved
    for qubit in tuple(waiting):
        flush(qubit)
    table = [(g.kind, g.target, g.control, g.parameter) for g in ordered]
    return Plan(
        np.array(table, np.int64).reshape(-1, 4),
        np.array([g.scale for g in ordered], np.float64),
        np.array(steps, np.int64).reshape(-1, 4),
        np.array(places, np.int64),
    )


def probabilities(gates: tuple[Gate, ...], params: F8, qubits: int) -> F8:
    """Return outcome probabilities [K,2^n] of a circuit for parameters [K,P]; ValueError above 12 qubits."""
    if not 1 <= qubits <= MOST_QUBITS:
        raise ValueError(f"qubits: 1 to {MOST_QUBITS}, found {qubits}")
    params = np.array(params, np.float64)
    way, out = plan(gates, qubits), np.empty((len(params), 1 << qubits))
    fixed = way.table, 0.5 * way.scales, way.steps, way.places, qubits
    if gpu.runs("statevector_gpu.run", len(out), *fixed, params, out=(out,)):
        return out
    if not backend.jit_enabled():
        return probabilities_reference(gates, params, qubits)
    backend.each_part(lambda some, part_: _run(*fixed, some, part_), params, out, entry=ENTRY)
    return out


def _matrix(kind: int, angle: float) -> C16:
    """Return the 2×2 matrix of a gate."""
    c, s = np.cos(0.5 * angle), np.sin(0.5 * angle)
    forms = {RX: [[c, -1j * s], [-1j * s, c]], RY: [[c, -s], [s, c]], RZ: [[c - 1j * s, 0], [0, c + 1j * s]]}
    forms |= {H: [[0.5**0.5, 0.5**0.5], [0.5**0.5, -(0.5**0.5)]], X: [[0, 1], [1, 0]]}
    return np.array(forms[kind], np.complex128)


def probabilities_reference(gates: tuple[Gate, ...], params: F8, qubits: int) -> F8:
    """Return `probabilities` with dense Kronecker matrices, gate by gate."""
    out = np.empty((len(params), 1 << qubits))
    for k, row in enumerate(params):
        state: C16 = np.zeros(1 << qubits, np.complex128)
        state[0] = 1.0
        for gate in gates:
            small = _matrix(gate.kind, gate.scale * (1.0 if gate.parameter < 0 else row[gate.parameter]))
            parts = [np.eye(2, dtype=np.complex128) for _ in range(qubits)]
            parts[gate.target] = small
            if gate.control >= 0:
                parts[gate.target] = small - np.eye(2)
                parts[gate.control] = np.diag([0.0, 1.0]).astype(np.complex128)
            full: C16 = np.ones((1, 1), np.complex128)
            for factor in parts:
                full = np.asarray(np.kron(full, factor), np.complex128)
            state = full @ state + (state if gate.control >= 0 else 0.0)
        out[k] = np.abs(state) ** 2
    return out
