"""Phases, readout, tables, streams against River and plain forms: python -m bench.kernels_online --json."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from bench.harness import Row, median_time, run
from river import anomaly
from river.drift import ADWIN

from qts_agents.kernels import adwin, backend, half_space, hmm_filter, online, phase, qtable, readout, sumtree
from qts_agents.market.simulate import Simulation
from qts_agents.pads import hmm
from qts_agents.pads.account import Bar
from qts_agents.pads.scale import Scale
from qts_agents.quasar.represent import FRAME
from qts_agents.quasar.states import CODES, STATES

DELTA = 0.002


def _plain(call: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    """Return what the plain form says, and the seconds that it takes."""
    backend.set_jit(False)
    answer, taken = call(), median_time(call, repeats)
    backend.set_jit(True)
    return answer, taken


def _same(ours: Any, theirs: Any, tolerance: float = 0.0) -> bool:
    pairs = zip(ours, theirs, strict=True)
    return all(np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True) for a, b in pairs)


def phases(smoke: bool) -> Row:
    """P, C, R and scores at a new bar, as PADS keeps them, against numpy on the whole history."""
    S, T = 20 if smoke else 1_000, 320
    draws = np.random.default_rng(11)
    close = 100.0 * np.exp(np.cumsum(0.001 * draws.standard_normal((S, T + 1)), axis=1))
    scale, seq = Scale(S, 1, 250, "rank"), iter(range(10**9))

    def push(t: int) -> Any:
        c = np.ascontiguousarray(close[:, t])
        scale.push(Bar(t, c, c, c, c, np.ones(S), np.ones(S, bool), 0.0, np.zeros(S)), next(seq))
        return scale.reading()

    for t in range(T):
        said = push(t)
    pcr, scores = phase.pcr_phase(close[:, :T])
    agrees = _same((said.p, said.c, said.r, said.scores), (*pcr.T, scores), 1e-12)
    value = median_time(lambda: push(T), 3 if smoke else 100) / S * 1e6
    _, peer = _plain(lambda: phase.pcr_phase(close[:, :T]), 1 if smoke else 3)
    goal = None if smoke else 2.0
    return Row(
        "pcr_phase, last bar", value, "us/symbol", "numpy, whole history", peer / S * 1e6, goal, agrees
    )


def read_out(smoke: bool) -> Row:
    """Seven action probabilities of many symbols, against the closed form in numpy."""
    draws, S = np.random.default_rng(12), 1_000
    given = draws.uniform(-1.0, 1.0, S), draws.random(S), draws.integers(-1, 2, S) * 1.0
    call = partial(readout.readout, *given, 0.25)
    theirs, peer = _plain(call, 3 if smoke else 100)
    agrees = _same((call(),), (theirs,), 1e-12)
    value = median_time(call, 3 if smoke else 200)
    return Row("amos_readout", value / S * 1e9, "ns/symbol", "numpy", peer / S * 1e9, 100.0, agrees)


def table_served(smoke: bool) -> Row:
    """Values and greedy actions of 1,000 states from the table, against the plain form."""
    draws, rows = np.random.default_rng(13), 20 if smoke else 1_000
    Q, N = draws.normal(size=(2, STATES, 7)), draws.integers(0, 2, (2, STATES, 7)) * 1.0
    call = partial(qtable.serve, Q, N, FRAME, draws.integers(0, STATES, rows))
    theirs, peer = _plain(call, 3)
    agrees = _same(call(), theirs)
    value, goal = median_time(call, 3 if smoke else 200), None if smoke else 100.0
    return Row("q_serve", value / rows * 1e9, "ns/row", "python", peer / rows * 1e9, goal, agrees)


def table_learned(smoke: bool) -> Row:
    """Steps of double Q-learning on the table, against the plain form."""
    draws = np.random.default_rng(14)
    bars, episodes, few = (40, 2, 2) if smoke else (400, 500, 5)
    code, orient = draws.integers(0, CODES, (1, bars)), draws.choice([-1, 1], (1, bars)).astype(np.int8)
    tape = qtable.Tape(code, orient, draws.normal(size=(1, bars)), np.ones((1, bars)))
    begin, greedy = np.zeros(episodes, np.int64), np.full(episodes, 0.1)
    plan = qtable.Plan(begin, begin, begin, greedy, draws.random((episodes, bars)), np.ones(episodes))
    rule = qtable.Rule(0.97, 0.02, 10.0, False, 1e-5, 0.1)

    def learn(count: int) -> tuple[np.ndarray, np.ndarray]:
        Q, N = np.zeros((2, 2, STATES, 7))
        qtable.train(Q, N, FRAME, tape, qtable.Plan(*(column[:count] for column in plan)), rule)
        return Q, N

    theirs, slow = _plain(lambda: learn(few), 1)
    agrees = _same(learn(few), theirs)
    steps, each = episodes * (bars - 1), few * (bars - 1)
    value = steps / median_time(lambda: learn(episodes), 1 if smoke else 7)
    goal = None if smoke else 5e6
    return Row("q_update", value, "updates/s", "python", each / slow, goal, agrees, lower_is_better=False)


def drawn(smoke: bool) -> Row:
    """64 prioritised draws from 10,000, against cumulative sums and bisection."""
    draws, held = np.random.default_rng(15), 100 if smoke else 10_000
    tree, uniform = sumtree.new_tree(held), draws.random(64)
    sumtree.update(tree, np.arange(held), draws.random(held))
    call = partial(sumtree.sample, tree, uniform, 0.4, held)
    theirs, peer = _plain(call, 3 if smoke else 50)
    agrees = bool(np.array_equal(call()[0], theirs[0])) and _same(call(), theirs, 1e-12)
    value, goal = median_time(call, 3 if smoke else 200) * 1e6, None if smoke else 10.0
    return Row(f"sumtree, 64 draws from {held}", value, "us", "numpy", peer * 1e6, goal, agrees)


def trees(smoke: bool) -> Row:
    """A point scored and counted in 50 half-space trees, against River's own object on the same points."""
    count = 110 if smoke else 500
    held = half_space.forest(5, 50, 8, 50, seed=7)
    river = anomaly.HalfSpaceTrees(n_trees=50, height=8, window_size=50, seed=7)
    points = np.clip(0.5 + 0.05 * np.random.default_rng(16).normal(size=(count, 5)), 0.0, 1.0)
    named = [dict(enumerate(x)) for x in points.tolist()]

    def ours() -> list[float]:
        return [half_space.score(held, x) for x in points]

    def theirs() -> list[float]:
        scores = []
        for x in named:
            scores.append(river.score_one(x))
            river.learn_one(x)
        return scores

    agrees = ours() == theirs()  # the same draws, and the windows fill alike
    value = median_time(ours, 1 if smoke else 5) / count * 1e6
    peer = median_time(theirs, 1) / count * 1e6
    goal = None if smoke else 5.0
    return Row("half-space trees, 50 of height 8", value, "us/point", "River", peer, goal, agrees)


def windows(smoke: bool) -> Row:
    """A value taken by each of 1,000 adaptive windows, against River's own object."""
    bars, streams = (300, 4) if smoke else (300, 1_000)
    x = np.random.default_rng(17).normal(size=(bars, streams))
    x[150:] += 2.0

    def ours() -> np.ndarray:
        held = adwin.windows(np.full(streams, DELTA))
        return np.array([adwin.adwin(held, values) for values in x])

    def theirs() -> np.ndarray:
        river = ADWIN(delta=DELTA)
        flags = []
        for value in x[:, 0].tolist():
            river.update(value)
            flags.append(river.drift_detected)
        return np.array(flags)

    agrees = bool(np.array_equal(ours()[:, 0], theirs())) and bool(theirs().any())
    value = median_time(ours, 1 if smoke else 5) / x.size * 1e6
    peer, goal = median_time(theirs, 3) / bars * 1e6, None if smoke else 1.0
    return Row("ADWIN", value, "us/value", "River", peer, goal, agrees)


def hedged(smoke: bool) -> Row:
    """Eight experts over 1,000 losses one after the other, against numpy row by row."""
    draws, rows = np.random.default_rng(18), 20 if smoke else 1_000
    call = partial(online.hedge_rows, np.full(8, 0.125), draws.random((rows, 8)), 0.1, 0.01)
    theirs, peer = _plain(call, 2)
    agrees = _same((call(),), (theirs,), 1e-12)
    value, goal = median_time(call, 3 if smoke else 100), None if smoke else 50.0
    per = 1e9 / (8 * rows)
    return Row("hedge with fixed share", value * per, "ns/expert", "numpy", peer * per, goal, agrees)


def simulated(smoke: bool) -> Row:
    """Bars of the simulated market, one thread, against plain Python on the first of them."""
    names = tuple(f"S{i}" for i in range(2 if smoke else 100))
    bars, few = (50, 20) if smoke else (2_000, 20)

    def made(symbols: tuple[str, ...], count: int) -> tuple[np.ndarray, ...]:
        stretch = Simulation(1, symbols).advance(count)
        return tuple(getattr(stretch, name) for name in stretch.__struct_fields__)

    theirs, slow = _plain(lambda: made(names[:2], few), 1)
    agrees = _same(made(names[:2], few), theirs)
    value = len(names) * bars / median_time(lambda: made(names, bars), 1 if smoke else 5)
    row = Row("simulate", value, "bars/s", "python", 2 * few / slow, 2e6, agrees, lower_is_better=False)
    return replace(row, goal=None) if smoke else row


def hidden(smoke: bool) -> Row:
    """Filtered states of (r, ln σ) of many symbols, densities included, one thread, against numpy."""
    S, T = (4, 100) if smoke else (1_000, 10_000)
    x = np.random.default_rng(19).normal(size=(S, T, 2))
    known, _ = hmm.fit(x[0, :100])
    move, start = np.tile(known.move, (S, 1, 1)), np.tile(known.start, (S, 1))

    def call(few: int) -> np.ndarray:
        density = np.stack([hmm.likelihood(row, known) for row in x[:few]])
        return hmm_filter.hmm_filter(density, move[:few], start[:few])

    theirs, peer = _plain(lambda: call(2), 1)
    agrees = _same((call(2),), (theirs,), 1e-10)
    value, goal = median_time(lambda: call(S), 1 if smoke else 3), None if smoke else 1.5
    return Row(f"hmm_filter, {S} x {T}", value, "s", "numpy", peer / 2 * S, goal, agrees)


#: one function per row; each takes `smoke`
ROWS: tuple[Callable[[bool], Row], ...] = (
    phases,
    read_out,
    table_served,
    table_learned,
    drawn,
    trees,
    windows,
    hedged,
    simulated,
    hidden,
)

if __name__ == "__main__":
    sys.exit(run(ROWS, __doc__ or ""))
