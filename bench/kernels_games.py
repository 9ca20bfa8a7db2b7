"""Games, circuits, learning against nashpy and numpy, results first: python -m bench.kernels_games --json."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

import nashpy
import numpy as np
from bench.harness import Row, median_time, run

from qts_agents.kernels import backend, ewa, ewl, lemke_howson, nash, qre, qtable, recall, statevector, tiles

NashSet = list[np.ndarray]


def games(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random games, which are nondegenerate with probability 1."""
    draws = np.random.default_rng(size)
    return draws.normal(size=(count, size, size)), draws.normal(size=(count, size, size))


def _peer_sets(a: np.ndarray, b: np.ndarray) -> list[NashSet]:
    """Return nashpy's equilibria of each game by vertex enumeration, which loses none to rounding."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        pairs = (nashpy.Game(p, q).vertex_enumeration() for p, q in zip(a, b, strict=True))
        return [[np.concatenate(pair) for pair in found] for found in pairs]


def _equal(ours: nash.Equilibria, peers: list[NashSet]) -> bool:
    """Tell whether both found the same set in every game."""
    for g, theirs in enumerate(peers):
        mine = [np.concatenate((ours.x[g, e], ours.y[g, e])) for e in range(ours.count[g])]
        if len(mine) != len(theirs):
            return False
        if not all(min(np.abs(p - q).max() for q in mine) < 1e-8 for p in theirs):
            return False
    return True


def _enumeration(size: int, goal: float, smoke: bool) -> Row:
    """Return games a second, all equilibria, against nashpy's support enumeration."""
    a, b = games(50 if smoke else 5_000, size)
    some = slice(0, 5 if smoke else 100)
    agrees = _equal(nash.nash_all(a[some], b[some]), _peer_sets(a[some], b[some]))
    value = len(a) / median_time(lambda: nash.nash_all(a, b), 1 if smoke else 7)
    few = slice(0, 2 if smoke else 10)

    def theirs() -> list[list[object]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            peers = (nashpy.Game(p, q) for p, q in zip(a[few], b[few], strict=True))
            return [list(game.support_enumeration(non_degenerate=True)) for game in peers]

    peer = len(a[few]) / median_time(theirs, 1)
    figure = f"nash_all {size}x{size}, one thread"
    return Row(
        figure, value, "games/s", "nashpy", peer, None if smoke else goal, agrees, lower_is_better=False
    )


def nash_four(smoke: bool) -> Row:
    """All equilibria of 4×4 games."""
    return _enumeration(4, 100_000.0, smoke)


def nash_five(smoke: bool) -> Row:
    """All equilibria of 5×5 games."""
    return _enumeration(5, 30_000.0, smoke)


def nash_one(smoke: bool) -> Row:
    """One equilibrium of 11×11 games by Lemke–Howson, against numpy: nashpy overflows on one game in six."""
    a, b = games(20 if smoke else 500, 11)
    agrees = bool(lemke_howson.nash_one(a, b).regret.max() <= 1e-9)
    value = median_time(lambda: lemke_howson.nash_one(a, b), 1 if smoke else 7) / len(a) * 1e6
    few = slice(0, 2 if smoke else 20)
    backend.set_jit(False)
    agrees &= bool(lemke_howson.nash_one(a[few], b[few]).regret.max() <= 1e-9)
    peer = median_time(lambda: lemke_howson.nash_one(a[few], b[few]), 3) / few.stop * 1e6
    backend.set_jit(True)
    return Row("nash_one 11x11", value, "us/game", "numpy", peer, None if smoke else 30.0, agrees)


def entangled(smoke: bool) -> Row:
    """Payoffs of 1 000 four-qubit EWL games, against dense Kronecker matrices."""
    (a,), (b,) = games(1, 4)
    angles = np.random.default_rng(5).uniform(0.0, 3.0, (20 if smoke else 1_000, 2, 4))
    few = angles[:10]
    reference = np.array([ewl.ewl_reference(row, 0.7) for row in few])
    agrees = bool(np.allclose(ewl.ewl(few, 0.7, a, b)[1], reference, rtol=0.0, atol=1e-12))
    value = median_time(lambda: ewl.ewl(angles, 0.7, a, b), 3 if smoke else 20) * 1e3
    peer = median_time(lambda: [ewl.ewl_reference(row, 0.7) for row in few], 3) * len(angles) / len(few) * 1e3
    figure = f"ewl payoffs, {len(angles)} games of 4 qubits"
    return Row(figure, value, "ms", "numpy", peer, None if smoke else 2.0, agrees)


def best_responses(smoke: bool) -> Row:
    """Best responses of one 4-qubit EWL game from 8 starts, against dense Kronecker matrices."""
    a, b = games(1 if smoke else 3, 4)
    ours = ewl.play(a, b, 1.0)
    value = median_time(lambda: ewl.play(a, b, 1.0), 1 if smoke else 20) / len(a) * 1e3
    backend.set_jit(False)
    agrees = bool(np.allclose(ewl.play(a[:1], b[:1], 1.0).joint, ours.joint[:1], rtol=0.0, atol=1e-9))
    peer = median_time(lambda: ewl.play(a[:1], b[:1], 1.0), 1) * 1e3
    backend.set_jit(True)
    return Row("ewl best responses", value, "ms/game", "numpy", peer, None, agrees)


def layered(qubits: int, layers: int) -> tuple[tuple[statevector.Gate, ...], int]:
    """Return a circuit of `layers` of three rotations a qubit and a ring of NOTs, and its parameters."""
    gates: list[statevector.Gate] = []
    for layer in range(layers):
        for q in range(qubits):
            first = 3 * (layer * qubits + q)
            turns = (statevector.RX, statevector.RY, statevector.RZ)
            gates += [statevector.Gate(kind, q, parameter=first + i) for i, kind in enumerate(turns)]
        gates += [statevector.Gate(statevector.X, (q + 1) % qubits, control=q) for q in range(qubits)]
    gates += [statevector.Gate(statevector.H, q) for q in range(qubits)]
    return tuple(gates), 3 * layers * qubits


def _circuits(qubits: int, goal: float, smoke: bool) -> Row:
    """Time 1 000 circuits of ten layers against dense matrices."""
    gates, count = layered(qubits, 2 if smoke else 10)
    params = np.random.default_rng(9).uniform(-3.0, 3.0, (20 if smoke else 1_000, count))
    few = params[:1]
    reference = statevector.probabilities_reference(gates, few, qubits)
    agrees = bool(np.allclose(statevector.probabilities(gates, few, qubits), reference, rtol=0.0, atol=1e-12))
    value = median_time(lambda: statevector.probabilities(gates, params, qubits), 3) * 1e3
    peer = median_time(lambda: statevector.probabilities_reference(gates, few, qubits), 1) * 1e3 * len(params)
    figure = f"{len(params)} circuits of {qubits} qubits, {len(gates)} gates"
    return Row(figure, value, "ms", "numpy", peer, None if smoke else goal, agrees)


def circuits_four(smoke: bool) -> Row:
    """Circuits of 4 qubits."""
    return _circuits(4, 2.0, smoke)


def circuits_ten(smoke: bool) -> Row:
    """Circuits of 10 qubits; short ones when it has to be quick."""
    return _circuits(5 if smoke else 10, 150.0, smoke)


def attraction(smoke: bool) -> Row:
    """Three populations of experience-weighted attraction over 150 bars."""
    draws = np.random.default_rng(6)
    count = 20 if smoke else 1_000
    u, own = draws.normal(size=(count, 4, 4)), draws.integers(0, 4, (count, 150))
    seen = draws.integers(0, 4, (count, 150))
    few = slice(0, 5)
    given = u[few], own[few], seen[few], ewa.DELAYS, ewa.MEMORIES
    reference = np.zeros(u[few].shape[:2])
    ewa.ewa_reference(*given, reference)
    agrees = bool(np.allclose(ewa.ewa(u[few], own[few], seen[few]), reference, rtol=0.0, atol=1e-10))
    value = median_time(lambda: ewa.ewa(u, own, seen), 5) / count * 1e6
    peer = median_time(lambda: ewa.ewa_reference(*given, np.zeros_like(reference)), 1) / 5 * 1e6
    return Row("ewa", value, "us/symbol", "numpy", peer, None if smoke else 20.0, agrees)


def responses(smoke: bool) -> Row:
    """Quantal responses of three players at λ = 50 of their payoffs' range, against short steps in numpy."""
    payoff = np.random.default_rng(4).random((20 if smoke else 1_000, 3, 4, 4, 4))
    ours, few = qre.qre(payoff, 50.0), payoff[: 2 if smoke else 10]
    value = median_time(lambda: qre.qre(payoff, 50.0), 1 if smoke else 7) / len(payoff) * 1e6
    backend.set_jit(False)
    plain = qre.qre(few, 50.0)
    peer = median_time(lambda: qre.qre(few, 50.0), 1) / len(few) * 1e6
    backend.set_jit(True)
    agrees = bool(ours.residual.max() <= 1e-10 and np.abs(ours.mix[: len(few)] - plain.mix).max() <= 1e-10)
    return Row(
        "qre 4x4x4 to 50, one thread", value, "us/game", "numpy", peer, None if smoke else 100.0, agrees
    )


def remembered(smoke: bool) -> Row:
    """Recall of 5 from 10 000 episodes, against a full sort."""
    draws = np.random.default_rng(7)
    held = draws.normal(size=(100 if smoke else 10_000, 16)).astype(np.float32)
    held /= np.linalg.norm(held, axis=1, keepdims=True)
    inputs = (
        held[:4],
        np.ascontiguousarray(held.T),
        np.arange(len(held)),
        draws.integers(0, 3, len(held)),
        len(held),
    )
    reference = recall.recall_reference(*inputs)
    agrees = bool(np.array_equal(recall.recall(*inputs)[1], reference[1]))
    agrees &= bool(np.allclose(recall.recall(*inputs)[0], reference[0], equal_nan=True, atol=1e-12))
    value = median_time(lambda: recall.recall(*inputs), 5 if smoke else 50) / 4 * 1e6
    peer = median_time(lambda: recall.recall_reference(*inputs), 3) / 4 * 1e6
    return Row("recall of 10 000", value, "us/symbol", "numpy", peer, None if smoke else 50.0, agrees)


def tile_served(smoke: bool) -> Row:
    """Values of 1 000 states from eight grids, against numpy's indexing of the same tiles."""
    draws = np.random.default_rng(8)
    W, N = draws.normal(size=(2, tiles.ROWS, 7)), np.ones((2, tiles.ROWS, 7))
    states = draws.integers(0, 3 * tiles.CODES, 20 if smoke else 1_000)
    rows, images = np.empty((2, len(states), tiles.PAIRS), np.int64)
    for i, state in enumerate(states.tolist()):
        tiles.tiles(state // 3, state % 3 - 1, rows[i], images[i])
    swapped = [1, 0, *range(2, 7)]

    def theirs() -> np.ndarray:
        mean = 0.5 * (W[0] + W[1])
        return np.asarray((mean[rows] + mean[images][:, :, swapped]).sum(axis=1) / tiles.TILINGS)

    agrees = bool(np.allclose(tiles.serve(W, N, states)[0], theirs(), rtol=0.0, atol=1e-12))
    value = median_time(lambda: tiles.serve(W, N, states), 3 if smoke else 50) / len(states) * 1e9
    peer = median_time(theirs, 3 if smoke else 20) / len(states) * 1e9
    return Row("tile-coded values", value, "ns/state", "numpy, tiles given", peer, None, agrees)


def tile_learned(smoke: bool) -> Row:
    """Steps of double Q-learning on eight grids, against the plain form."""
    draws = np.random.default_rng(9)
    bars, episodes = (40, 2) if smoke else (400, 50)
    code = draws.integers(0, tiles.CODES, (1, bars))
    tape = qtable.Tape(code, np.ones((1, bars), np.int8), draws.normal(size=(1, bars)), np.ones((1, bars)))
    begin, greedy = np.zeros(episodes, np.int64), np.full(episodes, 0.1)
    plan = qtable.Plan(begin, begin, begin, greedy, draws.random((episodes, bars)), np.ones(episodes))
    rule = qtable.Rule(0.97, 0.02, 10.0, False, 1e-5, 0.1)

    def learn(count: int) -> np.ndarray:
        W, N = np.zeros((2, 2, tiles.ROWS, 7))
        tiles.train(W, N, tape, qtable.Plan(*(column[:count] for column in plan)), rule)
        return W

    ours = learn(2)
    value = median_time(lambda: learn(episodes), 1 if smoke else 7) / episodes / (bars - 1) * 1e6
    backend.set_jit(False)
    agrees = bool(np.array_equal(ours, learn(2)))
    peer = median_time(lambda: learn(2), 1) / 2 / (bars - 1) * 1e6
    backend.set_jit(True)
    return Row("tile-coded learning", value, "us/step", "python", peer, None, agrees)


#: one function per row; each takes `smoke`
ROWS: tuple[Callable[[bool], Row], ...] = (
    nash_four,
    nash_five,
    nash_one,
    entangled,
    best_responses,
    circuits_four,
    circuits_ten,
    attraction,
    responses,
    remembered,
    tile_served,
    tile_learned,
)

if __name__ == "__main__":
    sys.exit(run(ROWS, __doc__ or ""))
