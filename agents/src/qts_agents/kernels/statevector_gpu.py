"""Circuits on a GPU: a lane of `lanes` is a thread, a block of LANES circuits a block of threads.

Lanes never read each other's amplitudes, so nothing has to be waited for.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.lanes import LANES, flip, mix, rotate_x, rotate_y, rotate_z, turn
from qts_agents.kernels.launch import Columns, cuda, launch

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]


@cuda.jit(device=True)
def _absorb(kind: Any, c: Any, s: Any, gate: Any, lane: Any) -> None:
    """Multiply a gate of `kind` onto a lane's."""
    if kind == 0:
        rotate_x(gate, lane, c, s)
    elif kind == 1:
        rotate_y(gate, lane, c, s)
    elif kind == 2:
        rotate_z(gate, lane, c, s)
    elif kind == 3:
        mix(gate, lane)
    else:
        flip(gate, lane)


@cuda.jit(device=True)
def _turn_all(state: Any, where: Any, bit: Any, needed: Any, gate: Any, lane: Any) -> None:
    """Apply a lane's gate to every pair of its amplitudes that differ in `bit` (of those with `needed`)."""
    wide = 2 * LANES
    for pair in range(where.shape[0] // 2):
        i = ((pair & -bit) << 1) | (pair & (bit - 1))
        if i & needed == needed:
            low, high = where[i] * wide, where[i + bit] * wide
            turn(state[low : low + wide], state[high : high + wide], gate, lane)


@cuda.jit
def _run(table: Any, halves: Any, steps: Any, places: Any, qubits: Any, params: Any,
         states: Any, gates: Any, out: Any) -> None:  # fmt: skip
    """Run a circuit in each thread."""
    k, lane, size, wide = cuda.grid(1), cuda.threadIdx.x, out.shape[1], 2 * LANES
    if k >= out.shape[0]:
        return
    state, gate = states[cuda.blockIdx.x], gates[cuda.blockIdx.x]
    for i in range(2 * size):
        state[i * LANES + lane] = 1.0 if i == 0 else 0.0
    for step in range(steps.shape[0]):
        begins, behind = steps[step, 1], steps[step, 2]
        for j in range(8):
            gate[j * LANES + lane] = 1.0 if j == 0 or j == 6 else 0.0
        for row in range(begins, behind):
            half = halves[row] * (1.0 if table[row, 3] < 0 else params[k, table[row, 3]])
            _absorb(table[row, 0], math.cos(half), math.sin(half), gate, lane)
        bit = 1 << (qubits - 1 - table[begins, 1])
        needed = 0 if steps[step, 0] == 0 else 1 << (qubits - 1 - table[begins, 2])
        _turn_all(state, places[steps[step, 3]], bit, needed, gate, lane)
    where = places[places.shape[0] - 1]
    for i in range(size):
        re, im = state[where[i] * wide + lane], state[where[i] * wide + LANES + lane]
        out[k, i] = re * re + im * im


def run(table: I8, halves: F8, steps: I8, places: I8, qubits: int, params: F8, out: Columns) -> Columns:
    """Write what `statevector.probabilities` returns."""
    blocks = -(-len(params) // LANES)
    room = ((blocks, places.shape[1] * 2 * LANES), np.float64), ((blocks, 8 * LANES), np.float64)
    return launch(_run, len(params), (table, halves, steps, places, qubits, params), room, out, LANES)
