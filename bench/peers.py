"""Kernels against the peers that are too heavy to be among the dependencies: python -m bench.peers --json.

A peer is measured where it can be imported and named as absent where not. All of them, one thread each:

OMP_NUM_THREADS=1 uv run --with pygambit==17.0.0b2 --with quantecon --with pennylane --with qiskit-aer \\
    python -m bench.peers --json

Peers get the same inputs, answers are compared before times, and what they can be given as one batch
they are given as one. nashpy's Lemke-Howson is left out: its pivots overflow on such payoffs, and
it may not end.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable
from typing import Any

import nashpy
import numpy as np
from bench.harness import Row, median_time, run
from bench.kernels_games import games, layered
from numpy.lib.stride_tricks import sliding_window_view

from qts_agents.kernels import lemke_howson, nash, rolling, statevector

F8 = np.ndarray
Pairs = list[tuple[F8, F8]]
Solver = Callable[[Any, F8, F8], Pairs]


def _quantecon_game(quantecon: Any, a: F8, b: F8) -> Any:
    gt = quantecon.game_theory
    return gt.NormalFormGame([gt.Player(a), gt.Player(np.ascontiguousarray(b.T))])


def _quantecon_supports(quantecon: Any, a: F8, b: F8) -> Pairs:
    found: Pairs = quantecon.game_theory.support_enumeration(_quantecon_game(quantecon, a, b))
    return found


def _quantecon_vertices(quantecon: Any, a: F8, b: F8) -> Pairs:
    found: Pairs = quantecon.game_theory.vertex_enumeration(_quantecon_game(quantecon, a, b))
    return found


def _quantecon_path(quantecon: Any, a: F8, b: F8) -> Pairs:
    return [quantecon.game_theory.lemke_howson(_quantecon_game(quantecon, a, b))]


def _mixtures(profile: Any) -> tuple[F8, F8]:
    x, y = (np.array([float(p) for _, p in profile[player]]) for player in profile.game.players)
    return x, y


def _gambit(solve: Callable[[Any, Any], Any]) -> Solver:
    """Return a solver that hands a game to Gambit and reads its profiles."""

    def found(pygambit: Any, a: F8, b: F8) -> Pairs:
        profiles = solve(pygambit, pygambit.StrategicGame.from_arrays(a, b)).equilibria
        return [_mixtures(profile) for profile in profiles]

    return found


_gambit_all = _gambit(lambda gambit, game: gambit.nash.enummixed_solve(game, rational=False))
_gambit_path = _gambit(lambda gambit, game: gambit.nash.lcp_solve(game, rational=False, stop_after=1))


def _nashpy_supports(_: Any, a: F8, b: F8) -> Pairs:
    found: Any = nashpy.Game(a, b).support_enumeration(non_degenerate=True)
    return list(found)


def _among(ours: nash.Equilibria, g: int, theirs: Pairs) -> bool:
    """Tell whether every equilibrium of the peer is ours; peers in floating point lose some of ours."""
    mine = [np.concatenate((ours.x[g, e], ours.y[g, e])) for e in range(ours.count[g])]
    return all(min(np.abs(np.concatenate(pair) - own).max() for own in mine) < 1e-6 for pair in theirs)


def every(package: str, peer: str, solve: Solver, smoke: bool) -> Row:
    """Return games a second: all equilibria of 5×5 games."""
    figure, size = "nash_all 5x5, one thread", 5
    a, b = games(50 if smoke else 5_000, size)
    module, some = importlib.import_module(package), 3 if smoke else 50
    solved = nash.nash_all(a[:some], b[:some])
    pairs = [solve(module, a[g], b[g]) for g in range(some)]
    agrees = all(_among(solved, g, found) for g, found in enumerate(pairs))
    value = len(a) / median_time(lambda: nash.nash_all(a, b), 1 if smoke else 7)
    theirs = some / median_time(lambda: [solve(module, a[g], b[g]) for g in range(some)], 1)
    goal = None if smoke else 30_000.0
    return Row(figure, value, "games/s", peer, theirs, goal, agrees, lower_is_better=False)


def one(package: str, peer: str, solve: Solver, smoke: bool) -> Row:
    """Return the time for one equilibrium of an 11×11 game."""
    a, b = games(20 if smoke else 500, 11)
    module, some = importlib.import_module(package), 3 if smoke else 50
    pairs = [solve(module, a[g], b[g])[0] for g in range(some)]
    x, y = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    left = nash.regret(a[:some], b[:some], x, y)
    agrees = bool(lemke_howson.nash_one(a, b).regret.max() <= 1e-9) and bool(left.max() <= 1e-6)
    value = median_time(lambda: lemke_howson.nash_one(a, b), 1 if smoke else 7) / len(a) * 1e6
    theirs = median_time(lambda: [solve(module, a[g], b[g]) for g in range(some)], 1) / some * 1e6
    return Row("nash_one 11x11, one thread", value, "us/game", peer, theirs, None if smoke else 30.0, agrees)


def _pennylane(qml: Any, gates: tuple[statevector.Gate, ...], qubits: int, params: F8) -> F8:
    """Run the circuits one after the other on lightning.qubit, which takes no batch."""
    kinds = (qml.RX, qml.RY, qml.RZ, qml.Hadamard)

    @qml.qnode(qml.device("lightning.qubit", wires=qubits), diff_method=None)
    def circuit(row: F8) -> Any:
        for gate in gates:
            if gate.control >= 0:
                qml.CNOT(wires=(gate.control, gate.target))
            elif gate.kind == statevector.H:
                qml.Hadamard(wires=gate.target)
            else:
                kinds[gate.kind](row[gate.parameter], wires=gate.target)
        return qml.probs(wires=range(qubits))

    return np.array([circuit(row) for row in params])


def _aer(
    aer: Any, gates: tuple[statevector.Gate, ...], qubits: int, params: F8
) -> tuple[Callable[[], F8], int]:
    """Return what runs the circuits as one batch on qiskit-aer's statevector simulator."""
    qiskit = importlib.import_module("qiskit")
    held = [qiskit.circuit.Parameter(f"p{i}") for i in range(params.shape[1])]
    circuit = qiskit.QuantumCircuit(qubits)
    turns = (circuit.rx, circuit.ry, circuit.rz)
    for gate in gates:
        target = qubits - 1 - gate.target  # their bits count from the other end
        if gate.control >= 0:
            circuit.cx(qubits - 1 - gate.control, target)
        elif gate.kind == statevector.H:
            circuit.h(target)
        else:
            turns[gate.kind](held[gate.parameter], target)
    circuit.save_probabilities()
    machine = aer.AerSimulator(method="statevector", max_parallel_threads=1)
    binds = [{name: params[:, i].tolist() for i, name in enumerate(held)}]

    def go() -> F8:
        results = machine.run(circuit, parameter_binds=binds, shots=1).result().results
        return np.array([row.data.probabilities for row in results])

    return go, len(params)


def circuits(package: str, peer: str, qubits: int, goal: float, smoke: bool) -> Row:
    """Return the time for 1,000 circuits of ten layers."""
    gates, count = layered(qubits, 1 if smoke else 10)
    params = np.random.default_rng(9).uniform(-3.0, 3.0, (20 if smoke else 1_000, count))
    module, few = importlib.import_module(package), params[: 3 if smoke else 50]
    theirs: Callable[[], F8] = lambda: _pennylane(module, gates, qubits, few)  # noqa: E731
    if package == "qiskit_aer":
        theirs, _ = _aer(module, gates, qubits, few)
    agrees = bool(np.allclose(theirs(), statevector.probabilities(gates, few, qubits), rtol=0.0, atol=1e-10))
    value = median_time(lambda: statevector.probabilities(gates, params, qubits), 3) * 1e3
    slow = median_time(theirs, 1) / len(few) * len(params) * 1e3
    figure = f"{len(params)} circuits of {qubits} qubits, {len(gates)} gates, one thread"
    return Row(figure, value, "ms", peer, slow, None if smoke else goal, agrees)


def windows(_package: str, peer: str, smoke: bool) -> Row:
    """Return the time for rolling deviation and skewness of 250 bars, against numpy's windows by strides."""
    data = np.random.default_rng(3).normal(0.0, 0.01, (4, 1_000) if smoke else (1_000, 10_000))
    few, out = data[:4], np.zeros((4, *data.shape))

    def theirs() -> tuple[F8, F8]:
        held = sliding_window_view(few, 250, axis=1)
        off = held - held.mean(axis=2, keepdims=True)
        square = (off * off).mean(axis=2)
        return np.sqrt(square * 250 / 249), (off**3).mean(axis=2) / square**1.5

    ours = rolling.rolling_moments(data, 250, out=out)
    agrees = all(
        np.allclose(mine[: len(few), 249:], other, rtol=1e-9, atol=1e-9)
        for mine, other in zip((ours.std, ours.skew), theirs(), strict=True)
    )
    value = median_time(lambda: rolling.rolling_moments(data, 250, out=out), 1 if smoke else 5)
    slow = median_time(theirs, 1) / len(few) * len(data)
    figure = f"rolling moments 250, {data.shape[0]} x {data.shape[1]}, memory reused, one thread"
    return Row(figure, value, "s", peer, slow, None if smoke else 0.5, agrees)


#: package to import, its name in the row, what measures it
PEERS: tuple[tuple[str, str, Callable[..., Row], tuple[Any, ...]], ...] = (
    ("nashpy", "nashpy, support enumeration", every, (_nashpy_supports,)),
    ("quantecon", "QuantEcon, support enumeration", every, (_quantecon_supports,)),
    ("quantecon", "QuantEcon, vertex enumeration", every, (_quantecon_vertices,)),
    ("pygambit", "pygambit, enummixed", every, (_gambit_all,)),
    ("quantecon", "QuantEcon, Lemke-Howson", one, (_quantecon_path,)),
    ("pygambit", "pygambit, lcp", one, (_gambit_path,)),
    ("pennylane", "PennyLane lightning.qubit", circuits, (4, 2.0)),
    ("qiskit_aer", "qiskit-aer, statevector", circuits, (4, 2.0)),
    ("pennylane", "PennyLane lightning.qubit", circuits, (10, 150.0)),
    ("qiskit_aer", "qiskit-aer, statevector", circuits, (10, 150.0)),
    ("numpy", "numpy stride tricks", windows, ()),
)


def _row(entry: tuple[str, str, Callable[..., Row], tuple[Any, ...]]) -> Callable[[bool], Row]:
    """Return the row function of a peer; an absent one gives a row that says so and measures nothing."""
    package, peer, measure, arguments = entry

    def row(smoke: bool) -> Row:
        if importlib.util.find_spec(package) is None:
            return Row(f"{peer}: absent; bench/peers.py says how to bring it", 0.0, "measured")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return measure(package, peer, *arguments, smoke)

    return row


if __name__ == "__main__":
    sys.exit(run(map(_row, PEERS), __doc__ or ""))
