"""Write what PennyLane says of 64 circuits and 24 quantum games: uv run --with pennylane==X python -m tests.golden.peer_circuits.

Half of the circuits' gates are controlled, of every kind that `statevector` knows, on 1 to 8 qubits; angles have six
digits, so that the file holds them exactly. The games are those of Eisert, Wilkens & Lewenstein (1999) with one or
two qubits a player. The device is default.qubit, which shares no code with ours. PennyLane is under the Apache
licence 2.0; what it answers is data.
"""

from __future__ import annotations

import importlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parent / "peers" / "pennylane.json"
CIRCUITS, GATES, MOST_QUBITS = 64, 40, 8
GAMES = 24
KINDS = ("RX", "RY", "RZ", "Hadamard", "PauliX")  # in the order of statevector's numbers

Gate = tuple[int, int, int, float]  # kind, target, control (−1: none), angle


def drawn_circuit(draws: np.random.Generator, qubits: int) -> list[Gate]:
    """Return random gates; where there is one qubit none is controlled."""
    gates = []
    for _ in range(GATES):
        target, other = draws.permutation(max(qubits, 2))[:2].tolist()
        control = other if qubits > 1 and draws.random() < 0.5 else -1
        target = target if qubits > 1 else 0
        gates.append((int(draws.integers(5)), target, control, round(draws.uniform(-7.0, 7.0), 6)))
    return gates


def circuit(qml: Any, qubits: int, gates: list[Gate]) -> list[float]:
    """Return PennyLane's outcome probabilities; wire 0 is the highest bit, as with us."""

    @qml.qnode(qml.device("default.qubit", wires=qubits))
    def run() -> Any:
        for kind, target, control, angle in gates:
            operation = getattr(qml, KINDS[kind])
            gate = operation(angle, wires=target) if kind < 3 else operation(wires=target)
            if control >= 0:
                qml.ctrl(gate, control)
        return qml.probs(wires=range(qubits))

    # a controlled gate is queued together with the one it wraps, which PennyLane takes out again
    return [float(p) for p in run()]


def game(qml: Any, angles: np.ndarray, gamma: float) -> list[float]:
    """Return the outcome probabilities of J†(⊗U)J|0…0⟩, J = exp(iγ/2·D^⊗n), D = iY; angles [2,2q]."""
    moves = angles.reshape(-1, 2)
    n = len(moves)
    turn = gamma if n == 2 else -gamma  # D⊗D is −Y⊗Y, D^⊗4 is Y^⊗4, and PauliRot(θ) is exp(−iθ/2·P)

    @qml.qnode(qml.device("default.qubit", wires=n))
    def run() -> Any:
        qml.PauliRot(turn, "Y" * n, wires=range(n))
        for wire, (theta, phi) in enumerate(moves):
            c, s = np.cos(theta / 2), np.sin(theta / 2)
            qml.QubitUnitary(np.array([[np.exp(1j * phi) * c, s], [-s, np.exp(-1j * phi) * c]]), wires=wire)
        qml.PauliRot(-turn, "Y" * n, wires=range(n))
        return qml.probs(wires=range(n))

    return [float(p) for p in run()]


def main() -> None:
    """Draw, run, write."""
    qml = importlib.import_module("pennylane")  # not among the dependencies: only this command needs it
    draws, circuits, games = np.random.default_rng(64), [], []
    for i in range(CIRCUITS):
        qubits = 1 + i % MOST_QUBITS
        gates = drawn_circuit(draws, qubits)
        circuits.append({"qubits": qubits, "gates": gates, "probabilities": circuit(qml, qubits, gates)})
    for i in range(GAMES):
        angles, gamma = (
            np.round(draws.uniform(0.0, 3.0, (2, 2 + 2 * (i % 2))), 6),
            round(draws.uniform(0.0, 1.57), 6),
        )
        games.append({"angles": angles.tolist(), "gamma": gamma, "probabilities": game(qml, angles, gamma)})
    made_by = f"uv run --with pennylane=={version('pennylane')} python -m tests.golden.peer_circuits"
    lines = [f'"made_by": {json.dumps(made_by)}']
    for name, rows_of in (("circuits", circuits), ("games", games)):
        rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows_of)
        lines.append(f'"{name}": [\n{rows}\n]')
    FILE.write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
