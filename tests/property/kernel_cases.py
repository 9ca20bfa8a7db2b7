"""Inputs for every row of the kernels' registry: random, degenerate, with gaps and NaN.

A case draws its inputs once and returns a function that calls the kernel on them and gives back all that it
computed; the parity tests run that function on every backend. `kind` counts up from 0: cases that have an
easy and a nasty form take the nasty one at odd numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tests.property.made_windows import made

from qts_agents.kernels import (
    adwin,
    convexity,
    ewa,
    ewl,
    factors,
    half_space,
    hedge,
    indicators,
    lemke_howson,
    nash,
    outcomes,
    phase,
    philox,
    pool,
    prospect,
    qre,
    qre_three,
    qtable,
    readout,
    recall,
    replicator,
    rolling,
    shapley,
    statevector,
    sumtree,
)
from qts_agents.market.simulate import Simulation
from qts_agents.pads import hmm
from qts_agents.quasar.learner import FRAME
from qts_agents.quasar.states import CODES, STATES

Generator = np.random.Generator
Case = Callable[[Generator, int], Callable[[], Any]]


def games(draws: Generator, kind: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Return payoffs of both sides, with ties at odd kinds."""
    a, b = draws.normal(size=(2, *shape))
    return (np.floor(1.5 * a), np.floor(1.5 * b)) if kind % 2 else (a, b)


def rows(draws: Generator, kind: int) -> np.ndarray:
    """Return rows of returns on a grid; at odd kinds with gaps, a flat stretch and a jump."""
    x = np.round(draws.normal(0.0, 0.01, (3, 120)), 3)
    if kind % 2:
        x[draws.random(x.shape) < 0.02] = np.nan
        x[1, 20:70] = 0.25
        x[2, 60] = 1e3
    return x


def board(draws: Generator, _kind: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return opinions, some missing or extreme, weights that sum to at most 1, and a prior."""
    seats = int(draws.integers(1, 8))
    pi = draws.dirichlet([0.3, 0.3, 0.3], (50, seats))
    pi[draws.random((50, seats)) < 0.15] = np.nan
    omega = draws.dirichlet(np.ones(seats + 1), 50)[:, :seats]
    omega[draws.random((50, seats)) < 0.1] = 0.0
    return pi, omega, draws.dirichlet([5.0, 5.0, 5.0], 50)


def window(draws: Generator, kind: int) -> Any:
    """Return a window; odd kinds have a price grid, flat stretches and gaps."""
    seed = int(draws.integers(2**32))
    nasty = {"tick": 0.5, "flat": 0.3, "gaps": 0.02} if kind % 2 else {}
    return made(seed, 2, 340, closes_only=kind == 3, **nasty)


def tape(draws: Generator) -> tuple[qtable.Tape, qtable.Plan]:
    """Return a tape with gaps, zero deviations and markets equal to their own mirror, and episodes on it."""
    symbols, bars, episodes = 3, 200, 20
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


def _adwin(draws: Generator, kind: int) -> Callable[[], Any]:
    x = draws.normal(size=(1200, 4)) * draws.choice([0.1, 1.0, 3.0], 4)
    x[400:] += (0.0, 0.1, 2.0, -5.0)
    x[700:] *= (1.0, 3.0, 0.3, 1.0)
    x = np.round(x) if kind % 2 else x

    def run() -> Any:
        held = adwin.windows(np.array([0.002, 0.05, 0.3, 0.002]))
        flags = np.array([adwin.adwin(held, values) for values in x])
        assert flags.any()
        return flags, held.counts, held.whole

    return run


def _half_space(draws: Generator, kind: int) -> Callable[[], Any]:
    points = np.clip(0.5 + 0.1 * draws.normal(size=(130, 5)), 0.0, 1.0)
    points[110:] = draws.random((20, 5)) if kind % 2 else points[0]

    def run() -> Any:
        held = half_space.forest(5, 10, 6, 50, kind)
        return [half_space.score(held, x) for x in points], held.past, held.fresh

    return run


def _convexity(draws: Generator, kind: int) -> Callable[[], Any]:
    pnl, sigma = 0.01 * draws.normal(size=(5, 250)), 0.02 * draws.random((5, 251))
    pnl[0, :170] = np.nan  # too few
    sigma[1] = 0.5  # no variance
    sigma[2, 1::2] = sigma[2, 0]  # some changes are zero
    sigma[3] = 0.01 + 0.01 * (np.arange(251) // 3 % 2)  # three values, of which a parabola knows nothing
    pnl[4] = 0.0
    return lambda: convexity.convexity_t(pnl, sigma)


def _ewa(draws: Generator, kind: int) -> Callable[[], Any]:
    u = draws.normal(size=(5, 4, 4)) * (kind != 1)
    own, seen = draws.integers(-1, 4, (2, 5, (150, 150, 40, 2, 0)[kind % 5]))
    return lambda: ewa.ewa(u, own, seen)


def _regret_match(draws: Generator, kind: int) -> Callable[[], Any]:
    (a, b), uniform = games(draws, kind, 3, 4), draws.random((300, 2))
    return lambda: ewa.regret_match(a, b, uniform)


def _ewl(draws: Generator, kind: int) -> Callable[[], Any]:
    angles, gamma = draws.uniform(0.0, 3.0, (10, 2, 4)), (0.0, 0.7, np.pi / 2)[kind % 3]
    a, b = games(draws, kind, 4, 4)
    return lambda: ewl.ewl(angles, gamma, a, b)


def _play(draws: Generator, _kind: int) -> Callable[[], Any]:
    a, b = games(draws, 0, 1, 2, 2)
    return lambda: ewl.play(a, b, 1.1)


def _factors(draws: Generator, kind: int) -> Callable[[], Any]:
    data = window(draws, kind)
    ind = indicators.indicators(data)
    return lambda: factors.factors(data, ind)


def _indicators(draws: Generator, kind: int) -> Callable[[], Any]:
    data = window(draws, kind)
    return lambda: indicators.indicators(data)


def _hedge(draws: Generator, _kind: int) -> Callable[[], Any]:
    weights, loss = draws.dirichlet(np.ones(5), 20), draws.normal(size=(20, 5))
    loss[draws.random(loss.shape) < 0.2] = np.nan
    return lambda: hedge.hedge_update(weights, loss, 0.3)


def _one(draws: Generator, kind: int) -> Callable[[], Any]:
    a, b = games(draws, kind, 20, 5, 4)
    return lambda: lemke_howson.nash_one(a, b, kind % 9)


def _all(draws: Generator, kind: int) -> Callable[[], Any]:
    a, b = games(draws, 0, 20, *((3, 4), (4, 4), (2, 5))[kind % 3])
    return lambda: nash.nash_all(a, b)


def _choice(draws: Generator, kind: int) -> Callable[[], Any]:
    a, b = games(draws, 0, 20, *((3, 4), (4, 4), (2, 2))[kind % 3])
    return lambda: nash.nash_choice(a, b)


def _classify(draws: Generator, _kind: int) -> Callable[[], Any]:
    moved = draws.normal(size=50)
    return lambda: outcomes.classify(moved, 0.3)


def _phase(draws: Generator, _kind: int) -> Callable[[], Any]:
    data = window(draws, 0)
    return lambda: phase.pcr_phase(data.close)


def _uniforms(draws: Generator, kind: int) -> Callable[[], Any]:
    key = philox.key_of(int(draws.integers(2**31)), "quasar", "EURUSD")
    return lambda: philox.uniforms(key, 9, 2, (5, 2**40 + 5)[kind % 2], first=3)


def _normals(draws: Generator, kind: int) -> Callable[[], Any]:
    keys = [philox.key_of(int(draws.integers(2**31)), "qbmia", name) for name in "ABCD"[: kind + 1]]
    return lambda: philox.normal_rows(keys, 2000, 1, (5, 2**40 + 5)[kind % 2], first=3)


def _lmsr(draws: Generator, kind: int) -> Callable[[], Any]:
    pi, omega, prior = board(draws, kind)
    return lambda: pool.lmsr_pool(pi, omega, prior, 50.0)


def _log_pool(draws: Generator, kind: int) -> Callable[[], Any]:
    pi, omega, _ = board(draws, kind)
    return lambda: pool.log_pool(pi, omega)


def _prospect(draws: Generator, _kind: int) -> Callable[[], Any]:
    p, stakes = draws.dirichlet(np.ones(3), 20), draws.random((3, 20))
    return lambda: prospect.prospect_value(p, *stakes)


def _qre(draws: Generator, kind: int) -> Callable[[], Any]:
    a, b = draws.random((2, 3, 4, 4)) if kind % 2 else draws.random((2, 3, 3, 4))
    return lambda: qre.qre(a, b, 2.0)


def _three(draws: Generator, kind: int) -> Callable[[], Any]:
    payoff = draws.random((2, 3, *3 * ((3, 2)[kind % 2],)))
    return lambda: qre_three.qre_three(payoff, 1.5)


def _replicate(draws: Generator, kind: int) -> Callable[[], Any]:
    (a, b), x, y = games(draws, kind, 5, 3, 4), draws.dirichlet(np.ones(3), 5), draws.dirichlet(np.ones(4), 5)
    x[0] = 0.0, 1.0, 0.0  # what is extinct stays so
    return lambda: replicator.replicate(a, b, x, y, 2.0, 200)


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


def _moments(draws: Generator, kind: int) -> Callable[[], Any]:
    x, n = rows(draws, kind), int(draws.integers(2, 40))
    return lambda: rolling.rolling_moments(x, n)


def _rank(draws: Generator, kind: int) -> Callable[[], Any]:
    x, n = rows(draws, kind), int(draws.integers(2, 40))
    return lambda: rolling.rolling_rank(x, n)


def _entropy(draws: Generator, kind: int) -> Callable[[], Any]:
    x, n = rows(draws, kind), int(draws.integers(2, 40))
    codes = np.where(np.isnan(x), -1.0, np.abs(x) * 1000 // 8)
    return lambda: rolling.rolling_entropy(codes, n, 4)


def _shapley(draws: Generator, kind: int) -> Callable[[], Any]:
    worth = draws.normal(size=(10, 1 << (1 + kind % 6)))
    return lambda: shapley.shapley(worth)


def _circuit(draws: Generator, kind: int) -> Callable[[], Any]:
    gates, params, qubits = circuit(draws, kind)
    return lambda: statevector.probabilities(gates, params, qubits)


def priorities(draws: Generator) -> np.ndarray:
    """Return 100 priorities, a third of them 0."""
    return draws.random(100) * (draws.random(100) < 0.7)


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


def _simulate(draws: Generator, kind: int) -> Callable[[], Any]:
    seed = int(draws.integers(2**31))
    return lambda: Simulation(seed, ("A", "B"), kind % 2).advance(150)


def _hmm(draws: Generator, _kind: int) -> Callable[[], Any]:
    sigma = np.where(np.sin(np.arange(300) / 25.0) > 0, 0.03, 0.005)
    x = np.stack((sigma * draws.normal(size=300), np.log(sigma) + 0.1 * draws.normal(size=300)), axis=1)
    return lambda: hmm.fit(x, 4)


#: entry of the registry → its inputs
CASES: dict[str, Case] = {
    "adwin.adwin": _adwin,
    "convexity.convexity_t": _convexity,
    "ewa.ewa": _ewa,
    "ewa.regret_match": _regret_match,
    "ewl.ewl": _ewl,
    "ewl.play": _play,
    "factors.factors": _factors,
    "half_space.score": _half_space,
    "hedge.hedge_update": _hedge,
    "indicators.indicators": _indicators,
    "lemke_howson.nash_one": _one,
    "market.simulate.Simulation": _simulate,
    "nash.nash_all": _all,
    "nash.nash_choice": _choice,
    "outcomes.classify": _classify,
    "pads.hmm.fit": _hmm,
    "phase.pcr_phase": _phase,
    "philox.normal_rows": _normals,
    "philox.uniforms": _uniforms,
    "pool.lmsr_pool": _lmsr,
    "pool.log_pool": _log_pool,
    "prospect.prospect_value": _prospect,
    "qre.qre": _qre,
    "qre_three.qre_three": _three,
    "qtable.serve": _serve,
    "qtable.train": _train,
    "readout.readout": _readout,
    "recall.recall": _recall,
    "replicator.replicate": _replicate,
    "rolling.rolling_entropy": _entropy,
    "rolling.rolling_moments": _moments,
    "rolling.rolling_rank": _rank,
    "shapley.shapley": _shapley,
    "statevector.probabilities": _circuit,
    "sumtree.sample": _sample,
    "sumtree.update": _update,
}


def flat(answer: Any) -> list[np.ndarray]:
    """Return every number of an answer, as arrays in a fixed order."""
    if hasattr(answer, "__struct_fields__"):
        return [a for name in answer.__struct_fields__ for a in flat(getattr(answer, name))]
    if isinstance(answer, tuple):
        return [a for part in answer for a in flat(part)]
    return [] if isinstance(answer, str) else [np.asarray(answer)]
