"""What is learned, pooled and remembered: inputs for rows of the kernels' registry (`kernel_cases` says how)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qts_agents.kernels import (
    cluster,
    hedge,
    online,
    pool,
    prospect,
    qtable,
    readout,
    recall,
    reupload,
    sumtree,
    tiles,
)
from qts_agents.quasar.represent import FRAME
from qts_agents.quasar.states import CODES, STATES

Generator = np.random.Generator


def board(draws: Generator, _kind: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return opinions, some missing or extreme, weights that sum to at most 1, and a prior."""
    seats = int(draws.integers(1, 8))
    pi = draws.dirichlet([0.3, 0.3, 0.3], (50, seats))
    pi[draws.random((50, seats)) < 0.15] = np.nan
    omega = draws.dirichlet(np.ones(seats + 1), 50)[:, :seats]
    omega[draws.random((50, seats)) < 0.1] = 0.0
    return pi, omega, draws.dirichlet([5.0, 5.0, 5.0], 50)


def tape(draws: Generator, episodes: int = 20) -> tuple[qtable.Tape, qtable.Plan]:
    """Return a tape with gaps, zero deviations and markets equal to their own mirror, and episodes on it."""
    symbols, bars = 3, 200
    code = draws.integers(0, CODES, (symbols, bars))
    code[:, ::3] = CODES // 2
    code[1, 100] = -1
    ret = draws.normal(size=(symbols, bars)) * 0.001
    ret[2, 50] = np.nan
    orient = draws.choice([-1, 1], (symbols, bars)).astype(np.int8)
    sigma = np.full((symbols, bars), 0.001)
    sigma[0, 7] = 0.0
    plan = qtable.Plan(
        draws.integers(0, symbols, episodes), draws.integers(0, bars, episodes),
        draws.integers(-1, 2, episodes), np.linspace(1, 0.05, episodes), draws.random((episodes, 64)), draws.random(episodes),
    )  # fmt: skip
    return qtable.Tape(code, orient, ret, sigma), plan


def table(draws: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return values and visits of both tables; a third was never visited, many values tie."""
    values, visits = draws.integers(-2, 3, (2, STATES, 7)) / 2.0, draws.integers(0, 5, (2, STATES, 7)) * 1.0
    visits[:, draws.random(STATES) < 0.3] = 0.0
    return values, visits


def classified(draws: Generator, kind: int) -> tuple[np.ndarray, ...]:
    """Return features, outcomes, the mirror and the weights of a re-uploading circuit; odd: far features."""
    qubits, scale = (3, 4, 5)[kind % 3], 100.0 if kind % 2 else 1.0
    mirror = np.where(draws.random(10) < 0.5, -1.0, 1.0)
    x, y = scale * draws.normal(size=(9, 10)), draws.integers(0, 3, 9)
    return x, y, mirror, draws.normal(size=(3, qubits, 2, 2))


def priorities(draws: Generator) -> np.ndarray:
    """Return 100 priorities, a third of them 0."""
    return draws.random(100) * (draws.random(100) < 0.7)


def _hedge_rows(draws: Generator, _kind: int) -> Callable[[], Any]:
    w, loss = draws.dirichlet(np.ones(8)), draws.random((40, 8)) * 7.0
    loss[draws.random(loss.shape) < 0.2] = np.nan
    loss[7] = np.nan
    return lambda: online.hedge_rows(w, loss, 0.1, 0.01)


def _calibrate(draws: Generator, kind: int) -> Callable[[], Any]:
    gained = draws.random((200, 2)) * (0.0 if kind == 3 else 1.0)
    gained[draws.random(200) < 0.1, 0] = np.nan
    return lambda: online.calibrate(0.25, gained, 0.01 if kind % 2 else 0.5, 0.9)


def _logistic(draws: Generator, _kind: int) -> Callable[[], Any]:
    x, y = draws.normal(size=(60, 10)), draws.integers(0, 3, 60)
    x[draws.random(60) < 0.1, 3] = np.nan
    return lambda: online.logistic_rows(np.zeros(11), x, y, 8, 0.05, 1e-4)


def _nlms(draws: Generator, kind: int) -> Callable[[], Any]:
    b, e = draws.uniform(-1.0, 1.0, (60, 5)), draws.normal(size=60) * (50.0 if kind % 2 else 1.0)
    e[draws.random(60) < 0.1] = np.nan
    return lambda: online.nlms_rows(np.full(5, 0.2), b, e, 0.05)


def _cluster(draws: Generator, kind: int) -> Callable[[], Any]:
    vectors = draws.normal(size=(200, 16))
    vectors /= np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    held = vectors[:5].astype(np.float32) if kind % 2 else np.zeros((0, 16), np.float32)
    return lambda: cluster.cluster(held, vectors.astype(np.float32), 12, 0.7, 0.1)


def _hedge(draws: Generator, _kind: int) -> Callable[[], Any]:
    weights, loss = draws.dirichlet(np.ones(5), 20), draws.normal(size=(20, 5))
    loss[draws.random(loss.shape) < 0.2] = np.nan
    return lambda: hedge.hedge_update(weights, loss, 0.3)


def _lmsr(draws: Generator, kind: int) -> Callable[[], Any]:
    pi, omega, prior = board(draws, kind)
    return lambda: pool.lmsr_pool(pi, omega, prior, 50.0)


def _log_pool(draws: Generator, kind: int) -> Callable[[], Any]:
    pi, omega, _ = board(draws, kind)
    return lambda: pool.log_pool(pi, omega)


def _prospect(draws: Generator, _kind: int) -> Callable[[], Any]:
    p, stakes = draws.dirichlet(np.ones(3), 20), draws.random((3, 20))
    return lambda: prospect.prospect_value(p, *stakes)


def _train(draws: Generator, kind: int) -> Callable[[], Any]:
    rule, (seen, plan) = qtable.Rule(0.97, 0.02, 10.0, kind % 2 == 1, 0.00005, 0.1), tape(draws)

    def run() -> Any:
        values, visits = np.zeros((2, 2, STATES, 7))
        moved, count, error = qtable.train(values, visits, FRAME, seen, plan, rule)
        assert count > 300
        return values, visits, np.float64(f"{moved:.12g}"), count, error

    return run


def _serve(draws: Generator, _kind: int) -> Callable[[], Any]:
    values, visits = table(draws)
    return lambda: qtable.serve(values, visits, FRAME, np.arange(-1, STATES))


def tiled(draws: Generator) -> tuple[qtable.Tape, qtable.Plan]:
    """Return `tape` with codes of the lattice, of all of it or of a corner in which tiles are shared."""
    seen, plan = tape(draws)
    code = draws.integers(0, tiles.LEVELS, (4, *seen.code.shape))
    code[:, :, 1::3] = tiles.LEVELS // 2 + draws.integers(-2, 3, code[:, :, 1::3].shape)
    fine = np.ravel_multi_index(tuple(code), (tiles.LEVELS,) * 4)
    return seen._replace(code=np.where(seen.code < 0, -1, fine)), plan


def _train_tiles(draws: Generator, kind: int) -> Callable[[], Any]:
    rule, (seen, plan) = qtable.Rule(0.97, 0.02, 10.0, kind % 2 == 1, 0.00005, 0.1), tiled(draws)

    def run() -> Any:
        values, visits = np.zeros((2, 2, tiles.ROWS, 7))
        moved, count, error = tiles.train(values, visits, seen, plan, rule)
        assert count > 300
        return values, visits, np.float64(f"{moved:.12g}"), count, error

    return run


def _serve_tiles(draws: Generator, _kind: int) -> Callable[[], Any]:
    values = draws.integers(-2, 3, (2, tiles.ROWS, 7)) / 2.0
    visits = draws.integers(0, 5, (2, tiles.ROWS, 7)) * 1.0
    visits[:, draws.random(tiles.ROWS) < 0.05] = 0.0
    states = draws.integers(-1, 3 * tiles.CODES, 2000)
    return lambda: tiles.serve(values, visits, states)


def _readout(draws: Generator, _kind: int) -> Callable[[], Any]:
    intent, risk = draws.uniform(-1.0, 1.0, 200), draws.random(200)
    intent[:3] = -1.0, 0.0, 1.0
    side = draws.integers(-1, 2, 200).astype(np.float64)
    return lambda: readout.readout(intent, risk, side, 0.25)


def _recall(draws: Generator, kind: int) -> Callable[[], Any]:
    held = draws.normal(size=(40, 16)).astype(np.float32)
    held[:30] = held[0] + 0.05 * held[:30]
    held[20:25] = held[19]  # equal cosines: the newest counts
    held /= np.linalg.norm(held, axis=1, keepdims=True)
    count = 4 if kind == 3 else 40
    when, what = np.arange(40) * 300, draws.integers(0, 3, 40)
    columns = np.ascontiguousarray(held.T)
    return lambda: recall.recall(held[:6], columns, when[:count], what[:count], 13_000)


def _forecast(draws: Generator, kind: int) -> Callable[[], Any]:
    x, _, mirror, weights = classified(draws, kind)
    if kind % 2:
        x[draws.random(len(x)) < 0.3, 4] = np.nan
    return lambda: reupload.forecast(x, mirror, weights)


def _gradient(draws: Generator, kind: int) -> Callable[[], Any]:
    x, y, mirror, weights = classified(draws, kind)
    return lambda: reupload.gradient(x, y, mirror, weights)


def _update(draws: Generator, _kind: int) -> Callable[[], Any]:
    leaves, values = draws.integers(0, 100, 300), draws.random(300)

    def run() -> Any:
        tree = sumtree.new_tree(100)
        sumtree.update(tree, leaves, values)
        return tree

    return run


def _sample(draws: Generator, _kind: int) -> Callable[[], Any]:
    tree, uniform = sumtree.new_tree(100), draws.random(64)
    sumtree.update(tree, np.arange(100), priorities(draws))
    return lambda: sumtree.sample(tree, uniform, 0.6, 100)


#: entry of the registry → its inputs
CASES: dict[str, Callable[[Generator, int], Callable[[], Any]]] = {
    "cluster.cluster": _cluster,
    "hedge.hedge_update": _hedge,
    "online.calibrate": _calibrate,
    "online.hedge_rows": _hedge_rows,
    "online.logistic_rows": _logistic,
    "online.nlms_rows": _nlms,
    "pool.lmsr_pool": _lmsr,
    "pool.log_pool": _log_pool,
    "prospect.prospect_value": _prospect,
    "qtable.serve": _serve,
    "qtable.train": _train,
    "readout.readout": _readout,
    "recall.recall": _recall,
    "reupload.forecast": _forecast,
    "reupload.gradient": _gradient,
    "tiles.serve": _serve_tiles,
    "tiles.train": _train_tiles,
    "sumtree.sample": _sample,
    "sumtree.update": _update,
}
