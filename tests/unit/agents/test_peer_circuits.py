"""Circuits and quantum games come out as PennyLane's answers say, which are stored."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.golden.peer_circuits import CIRCUITS, FILE, GAMES, MOST_QUBITS

from qts_agents.kernels import ewl, statevector

pytestmark = pytest.mark.timeout(1200)  # compiling with a cold cache on a busy machine takes a minute
CLOSE = 1e-10


@pytest.mark.usefixtures("either")
def test_circuits_are_those_of_pennylane() -> None:
    """Each outcome's probability to 1e-10, compiled and by the reference, on 1 to 8 qubits."""
    circuits = json.loads(FILE.read_text())["circuits"]
    assert [row["qubits"] for row in circuits] == [1 + i % MOST_QUBITS for i in range(CIRCUITS)]
    for row in circuits:
        gates = tuple(statevector.Gate(k, t, control=c, scale=angle) for k, t, c, angle in row["gates"])
        ours = statevector.probabilities(gates, np.zeros((1, 0)), row["qubits"])[0]
        np.testing.assert_allclose(ours, row["probabilities"], rtol=0.0, atol=CLOSE)


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("qubits", [1, 2])
def test_quantum_games_are_those_of_pennylane(qubits: int) -> None:
    """Outcome probabilities of moves with one and two qubits a player, each to 1e-10."""
    games = [row for row in json.loads(FILE.read_text())["games"] if len(row["angles"][0]) == 2 * qubits]
    assert len(games) == GAMES // 2
    payoff = np.eye(1 << qubits)
    for row in games:
        _, ours = ewl.ewl(np.array([row["angles"]]), row["gamma"], payoff, payoff)
        np.testing.assert_allclose(ours[0], row["probabilities"], rtol=0.0, atol=CLOSE)
