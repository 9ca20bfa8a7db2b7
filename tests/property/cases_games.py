"""Games, circuits and what agents play with them: inputs for rows of the kernels' registry (`kernel_cases` says how)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qts_agents.kernels import (
    ewa,
    ewl,
    lemke_howson,
    market_game,
    nash,
    qre,
    replicator,
    scaling,
    shapley,
    statevector,
)

Generator = np.random.Generator


def games(draws: Generator, kind: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Return payoffs of both sides, with ties at odd kinds."""
    a, b = draws.normal(size=(2, *shape))
    return (np.floor(1.5 * a), np.floor(1.5 * b)) if kind % 2 else (a, b)


def circuit(draws: Generator, kind: int) -> tuple[tuple[statevector.Gate, ...], np.ndarray, int]:
    """Return a circuit of every kind of gate, controlled or not, and parameters for some runs."""
    qubits, gates = (1, 2, 3, 5, 4)[kind % 5], []
    for _ in range(60):
        target, other = draws.permutation(max(qubits, 2))[:2] % qubits
        control = int(other) if other != target and draws.random() < 0.5 else statevector.FREE
        parameter = int(draws.integers(-1, 4))
        gates.append(
            statevector.Gate(int(draws.integers(5)), int(target), control, parameter, draws.normal())
        )
    return tuple(gates), draws.normal(size=(41, 4)) * (1e7 if kind == 4 else 1.0), qubits


def _ewa(draws: Generator, kind: int) -> Callable[[], Any]:
    u = draws.normal(size=(5, 4, 4)) * (kind != 1)
    own, seen = draws.integers(-1, 4, (2, 5, (150, 150, 40, 2, 0)[kind % 5]))
    return lambda: ewa.ewa(u, own, seen)


def _regret_match(draws: Generator, kind: int) -> Callable[[], Any]:
    (a, b), uniform = games(draws, kind, 2, 3, 4), draws.random((2, 120, 2))
    return lambda: ewa.regret_match(a, b, uniform)


def _ewl(draws: Generator, kind: int) -> Callable[[], Any]:
    angles, gamma = draws.uniform(0.0, 3.0, (10, 2, 4)), (0.0, 0.7, np.pi / 2)[kind % 3]
    a, b = games(draws, kind, 4, 4)
    return lambda: ewl.ewl(angles, gamma, a, b)


def _play(draws: Generator, _kind: int) -> Callable[[], Any]:
    a, b = games(draws, 0, 1, 2, 2)
    return lambda: ewl.play(a, b, 1.1)


def _one(draws: Generator, kind: int) -> Callable[[], Any]:
    a, b = games(draws, kind, 20, 5, 4)
    return lambda: lemke_howson.nash_one(a, b, kind % 9)


def _all(draws: Generator, kind: int) -> Callable[[], Any]:
    a, b = games(draws, 0, 20, *((3, 4), (4, 4), (2, 5))[kind % 3])
    return lambda: nash.nash_all(a, b)


def _choice(draws: Generator, kind: int) -> Callable[[], Any]:
    a, b = games(draws, 0, 20, *((3, 4), (4, 4), (2, 2))[kind % 3])
    return lambda: nash.nash_choice(a, b)


def _scaled(draws: Generator, kind: int) -> Callable[[], Any]:
    payoff = draws.normal(3.0, 50.0, (40, *((3, 4), (4, 4), (1, 1))[kind % 3]))
    payoff[3] = 7.0  # constant
    payoff[5, 0, 0] = np.nan
    return lambda: scaling.scaled(payoff)


def _qre(draws: Generator, kind: int) -> Callable[[], Any]:
    payoff = draws.random((2, 3, *3 * ((3, 2)[kind % 2],)))
    return lambda: qre.qre(payoff, 1.5)


def _replicate(draws: Generator, kind: int) -> Callable[[], Any]:
    (a, b), x, y = games(draws, kind, 5, 3, 4), draws.dirichlet(np.ones(3), 5), draws.dirichlet(np.ones(4), 5)
    x[0] = 0.0, 1.0, 0.0  # what is extinct stays so
    return lambda: replicator.replicate(a, b, x, y, 2.0, 60)


def _shapley(draws: Generator, kind: int) -> Callable[[], Any]:
    worth = draws.normal(size=(10, 1 << (1 + kind % 6)))
    return lambda: shapley.shapley(worth)


def _chances(draws: Generator, kind: int) -> Callable[[], Any]:
    S, N = 7, 1 + kind % 6
    pi, omega = draws.dirichlet(np.ones(3), (S, N)), draws.dirichlet(np.ones(N), S)
    pi[0], pi[1, 0], omega[2, -1], pi[3, 0] = np.nan, np.nan, 0.0, (1.0, 0.0, 0.0)
    prior, y = draws.dirichlet(np.ones(3), S), draws.integers(0, 3, S)
    return lambda: shapley.chances(pi, omega, prior, y)


def _payoffs(draws: Generator, kind: int) -> Callable[[], Any]:
    known, drift = draws.normal(size=(9, 6)), draws.normal(size=(9, (8, 1, 3, 8, 2)[kind % 5]))
    known[:, market_game.SIDE] = draws.integers(-1, 2, 9)
    if kind % 2:
        known[0, market_game.IMPACT], drift[1], known[2], drift[3] = np.nan, np.nan, 0.0, 0.0
    return lambda: market_game.payoffs(known, drift)


def _circuit(draws: Generator, kind: int) -> Callable[[], Any]:
    gates, params, qubits = circuit(draws, kind)
    return lambda: statevector.probabilities(gates, params, qubits)


#: entry of the registry → its inputs
CASES: dict[str, Callable[[Generator, int], Callable[[], Any]]] = {
    "ewa.ewa": _ewa,
    "ewa.regret_match": _regret_match,
    "ewl.ewl": _ewl,
    "ewl.play": _play,
    "lemke_howson.nash_one": _one,
    "market_game.payoffs": _payoffs,
    "nash.nash_all": _all,
    "nash.nash_choice": _choice,
    "qre.qre": _qre,
    "replicator.replicate": _replicate,
    "scaling.scaled": _scaled,
    "shapley.chances": _chances,
    "shapley.shapley": _shapley,
    "statevector.probabilities": _circuit,
}
