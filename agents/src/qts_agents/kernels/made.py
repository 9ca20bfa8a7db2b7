"""Made-up batches of every kernel that can go more than one way, on which `crossover` times it.

What agents ask of games takes longer a row; a device then pays from fewer rows on, if anything, so these
err towards the CPU, and cost a start little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qts_agents.kernels import (
    nash,
    permutation,
    qtable,
    registry,
    reupload,
    rolling,
    statevector,
    surrogates,
    tiles,
)

Call = Callable[[], Any]


def _games(rows: int) -> Call:
    a, b = np.random.default_rng(rows).random((2, rows, 4, 4))
    return lambda: nash.nash_choice(a, b)


def _circuits(rows: int) -> Call:
    gates = tuple(statevector.Gate(kind, q, parameter=q) for q in range(4) for kind in range(3))
    params = np.random.default_rng(rows).random((rows, 4))
    return lambda: statevector.probabilities(gates, params, 4)


def _forecasts(rows: int) -> Call:
    x, weights = np.random.default_rng(rows).random((rows, 10)), np.full((3, 4, 2, 2), 0.3)
    return lambda: reupload.forecast(x, np.ones(10), weights)


def _moments(rows: int) -> Call:
    x = np.random.default_rng(rows).random((rows, 512))
    return lambda: rolling.rolling_moments(x, 100)


def _warnings(rows: int) -> Call:
    x = np.random.default_rng(rows).random((rows, 512))
    return lambda: surrogates.taus(x, 50)


def _fills(rows: int) -> Call:
    draws = np.random.default_rng(rows)
    side, uniform = draws.choice([-1, 1], 200), draws.random((rows, 200))
    soon, size = np.ones(199, np.uint8), np.ones(200)
    return lambda: permutation.round_trips(side, soon, size, uniform)


def _cells(rows: int) -> Call:
    states, whole = np.arange(rows) % 1875, np.ones((2, 1875, 7))
    frame = qtable.Frame(np.arange(1875), np.zeros(1875, np.int8))
    return lambda: qtable.serve(whole, whole, frame, states)


def _tiled(rows: int) -> Call:
    states, whole = np.arange(rows) * 769 % (3 * tiles.CODES), np.ones((2, tiles.ROWS, 7))
    return lambda: tiles.serve(whole, whole, states)


def _of(entry: str, made: Callable[[np.random.Generator, int], tuple[Any, ...]]) -> Callable[[int], Call]:
    """Return how to call an entry, which is first imported then, on what `made` draws for so many rows."""

    def call(rows: int) -> Call:
        given, run = made(np.random.default_rng(rows), rows), registry.resolve(entry)
        return lambda: run(*given)

    return call


def _two(draws: np.random.Generator, rows: int, size: int = 4) -> tuple[Any, ...]:
    return tuple(draws.random((2, rows, size, size)))


def _shares(draws: np.random.Generator, rows: int) -> tuple[Any, ...]:
    return (*_two(draws, rows), *np.full((2, rows, 4), 0.25), 5.0, 20)


def _seen(draws: np.random.Generator, rows: int) -> tuple[Any, ...]:
    return (draws.random((rows, 4, 4)), *draws.integers(0, 4, (2, rows, 150)))


def _hidden(draws: np.random.Generator, rows: int) -> tuple[Any, ...]:
    moves = draws.dirichlet(np.ones(4), (rows, 4))
    return draws.random((rows, 250, 4)), moves, np.full((rows, 4), 0.25)


def _opinions(draws: np.random.Generator, rows: int) -> tuple[Any, ...]:
    seats = draws.dirichlet(np.ones(3), (rows, 6)), np.full((rows, 6), 0.2)
    return (*seats, np.full((rows, 3), 1.0 / 3.0), 50.0)


#: entry of the registry → a call of it on so many rows: these go to several threads as well
SHARED: dict[str, Callable[[int], Call]] = {
    nash.ENTRY: _games,
    permutation.ENTRY: _fills,
    qtable.ENTRY: _cells,
    reupload.ENTRY: _forecasts,
    rolling.ENTRY: _moments,
    statevector.ENTRY: _circuits,
    surrogates.ENTRY: _warnings,
    tiles.ENTRY: _tiled,
}
#: those that one thread or a device computes
ALONE: dict[str, Callable[[int], Call]] = {
    entry: _of(entry, made)
    for entry, made in (
        ("ewa.ewa", _seen),
        ("ewa.regret_match", lambda draws, rows: (*_two(draws, rows), draws.random((rows, 50, 2)))),
        ("ewl.ewl", lambda draws, rows: (draws.random((rows, 2, 4)), 1.1, *draws.random((2, 4, 4)))),
        ("ewl.play", lambda draws, rows: (*_two(draws, rows, 2), 1.1)),
        ("hmm_filter.hmm_filter", _hidden),
        ("lemke_howson.nash_one", _two),
        ("pool.lmsr_pool", _opinions),
        ("prospect.prospect_value", lambda draws, rows: (draws.random((rows, 3)) / 3.0, 0.03, 0.002, 0.02)),
        ("qre.qre", lambda draws, rows: (draws.random((rows, 3, 3, 3, 3)), 2.0)),
        ("replicator.replicate", _shares),
    )
}
MADE = SHARED | ALONE
