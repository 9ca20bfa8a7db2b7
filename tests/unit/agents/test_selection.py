"""QAOA in simulation: the state is the circuit's, deeper is better, and brute force is the truth."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qts_agents.quasar import selection


def made(seed: int, n: int, k: int) -> selection.Problem:
    """Return a problem of random returns."""
    r = np.random.default_rng(seed).normal(0.0, 1.0, (n, 40))
    return selection.problem(r.mean(axis=1), np.cov(r), k)


def neighbours(n: int, beta: float) -> np.ndarray:
    """Return the mixer of one layer as a dense matrix: exp(−iβ(XX+YY)/2) of every pair, from eigenvectors."""
    x, y = np.array([[0, 1], [1, 0]], complex), np.array([[0, -1j], [1j, 0]])
    whole = np.eye(2**n, dtype=complex)
    for one in range(n):
        pair = np.zeros((2**n, 2**n), complex)
        for pauli in (x, y):
            factors = [pauli if q in (one, (one + 1) % n) else np.eye(2) for q in range(n)]
            pair += 0.5 * functools.reduce(np.kron, factors)
        values, vectors = np.linalg.eigh(pair)
        whole = (vectors * np.exp(-1j * beta * values)) @ vectors.conj().T @ whole
    return whole


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), depth=st.integers(1, 3), k=st.integers(1, 3))
def test_the_state_is_that_of_the_matrices(seed: int, depth: int, k: int) -> None:
    """Within 1e-12 of dense matrices; only choices of k have a chance, and the chances add up."""
    n = 4
    known = made(seed, n, k)
    angles = np.random.default_rng(seed).uniform(-2.0, 2.0, (2, depth))
    expected = known.feasible / np.sqrt(known.feasible.sum())
    for gamma, beta in angles.T:
        expected = neighbours(n, beta) @ (np.exp(-1j * gamma * known.cost) * expected)
    found = selection.state(known, angles)
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-12)
    assert (np.abs(found) ** 2)[known.feasible].sum() == pytest.approx(1.0)


@pytest.mark.parametrize("aversion", [1.0, 3.0])
def test_brute_force_is_the_truth(aversion: float) -> None:
    r = np.random.default_rng(3).normal(0.0, 1.0, (6, 40))
    mean, covariance = r.mean(axis=1), np.cov(r)
    known = selection.problem(mean, covariance, 2, aversion)

    def worth(pair: tuple[int, ...]) -> float:
        return float(mean[list(pair)].sum() - 0.5 * aversion * covariance[np.ix_(pair, pair)].sum())

    best = max(itertools.combinations(range(6), 2), key=worth)
    number = selection.brute_force(known)
    assert tuple(np.flatnonzero(known.chosen[number])) == best
    assert known.utility[number] == pytest.approx(worth(best))
    assert known.cost[number] == 0.0
    assert known.cost[known.feasible].max() == pytest.approx(1.0)


def test_a_schedule_rises_and_falls_through_the_middles_of_its_layers() -> None:
    """As in annealing: γ to its end, β from its own, both read in the middle of each layer."""
    found = selection.schedule(4, 0.8, 1.6)
    np.testing.assert_allclose(found, [[0.1, 0.3, 0.5, 0.7], [1.4, 1.0, 0.6, 0.2]], rtol=1e-12)


@pytest.mark.parametrize("depth", [1, 2])
def test_the_search_ends_where_no_step_of_one_angle_helps(depth: int) -> None:
    """Its mean cost is below that of every schedule tried, and a fiftieth more or less of any angle raises it."""
    known = made(8, 4, 2)

    def mean_cost(angles: np.ndarray) -> float:
        return float(np.abs(selection.state(known, angles)) ** 2 @ known.cost)

    found = selection.solve(known, depth)
    least = mean_cost(found.angles)
    assert found.quality == pytest.approx(1.0 - least)
    assert found.best == found.p[selection.brute_force(known)]
    ends = np.linspace(0.1, 2.5, 25)
    assert least < min(mean_cost(selection.schedule(depth, g, b)) for g in ends for b in ends)
    for place, step in itertools.product(np.ndindex(2, depth), (0.02, -0.02)):
        moved = found.angles.copy()
        moved[place] += step
        assert mean_cost(moved) > least - 1e-9


def test_more_layers_are_better_and_all_beat_chance() -> None:
    """Mean utility and the chance of the best choice, over problems."""
    known = [made(seed, 5, 2) for seed in range(6)]
    found = [[selection.solve(p, depth) for p in known] for depth in (1, 3)]
    best = [np.mean([f.best for f in row]) for row in found]
    assert 1.0 / 10.0 < best[0] < best[1]
    shallow, deep = (np.mean([f.quality for f in row]) for row in found)
    even = [selection.judged(p, np.zeros((2, 1))) for p in known]
    assert np.mean([f.quality for f in even]) < shallow < deep <= 1.0
    np.testing.assert_allclose(even[0].p[known[0].feasible], 1.0 / 10.0)


def test_shots_and_limits() -> None:
    assert selection.shots_until_likely(0.5) == 7.0
    assert (selection.shots_until_likely(1.0), selection.shots_until_likely(0.0)) == (1.0, np.inf)
    assert made(1, 2, 1).feasible.tolist() == [False, True, True, False]
    for n, k in ((9, 3), (4, 0), (4, 4), (1, 1)):
        with pytest.raises(ValueError, match="expected 2 to 8 symbols"):
            made(1, n, k)
