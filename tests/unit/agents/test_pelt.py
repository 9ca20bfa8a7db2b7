"""PELT finds the division of least cost, and the change points that a reader can see."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qts_agents.kernels import pelt


def cost(x: np.ndarray, points: tuple[int, ...], penalty: float) -> float:
    """Return what a division costs, from the definition; the floor as `pelt` has it."""
    edges = (0, *points, len(x))
    parts = [x[a:b] for a, b in itertools.pairwise(edges)]
    return sum(len(p) * np.log(max(p.var(), pelt.FLOOR)) + len(p) for p in parts) + penalty * len(points)


def test_changes_of_variance_and_of_mean_are_found() -> None:
    draws = np.random.default_rng(0)
    wild = np.concatenate([draws.normal(0.0, s, 300) for s in (1.0, 3.0, 1.0, 0.2)])
    assert np.abs(pelt.pelt(wild) - [300, 600, 900]).max() <= 3
    moved = np.concatenate([draws.normal(m, 1.0, 200) for m in (0.0, 3.0, 0.0)])
    assert np.abs(pelt.pelt(moved) - [200, 400]).max() <= 3
    assert pelt.pelt(draws.normal(size=600)).tolist() == []


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), least=st.integers(2, 4), penalty=st.floats(0.0, 8.0))
def test_no_division_costs_less(seed: int, least: int, penalty: float) -> None:
    """Every division of a short series is tried."""
    draws = np.random.default_rng(seed)
    x = np.concatenate([draws.normal(0.0, s, 6) for s in draws.choice([0.2, 1.0, 4.0], 2)])
    x = (x - x.mean()) / x.std()
    every = (
        points
        for k in range(len(x))
        for points in itertools.combinations(range(1, len(x)), k)
        if all(b - a >= least for a, b in itertools.pairwise((0, *points, len(x))))
    )
    found = tuple(int(p) for p in pelt.pelt(x, least, penalty))
    assert cost(x, found, penalty) == pytest.approx(min(cost(x, p, penalty) for p in every), abs=1e-9)


def test_what_cannot_be_divided() -> None:
    assert pelt.pelt(np.ones(500)).tolist() == []
    assert pelt.pelt(np.arange(30.0)).tolist() == []
    for bad in ((np.array([1.0, np.nan] * 50), 20), (np.ones((2, 50)), 20), (np.ones(50), 1)):
        with pytest.raises(ValueError, match="finite series"):
            pelt.pelt(*bad)
