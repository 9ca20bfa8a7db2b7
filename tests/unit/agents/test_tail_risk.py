"""Amplitude estimation in simulation: the iterate's closed form, the interval, tail risk beside the exact sums."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qts_agents.quasar import tail_risk
from qts_agents.quasar.tail_risk import Losses, Oracle, drawing

NORMAL = tail_risk.discretised(np.random.default_rng(1).normal(size=20_000), 5)


def test_the_iterate_turns_by_twice_the_angle() -> None:
    """After k iterates the marker has probability sin²((2k+1)θ)."""
    rng = np.random.default_rng(2)
    p, f = rng.dirichlet(np.ones(8)), rng.random(8)
    oracle = Oracle(p, f, drawing(1, 0))
    theta = math.asin(math.sqrt(float(p @ f)))
    for k in (0, 1, 5, 40):
        assert oracle.marked(k) == pytest.approx(math.sin((2 * k + 1) * theta) ** 2, abs=1e-10)


@pytest.mark.parametrize("truth", [0.03, 0.3, 0.77, 0.95])
def test_the_interval_holds_the_truth(truth: float) -> None:
    """In at least 90 % of 40 runs, to the width that was asked for; finer costs less than its square."""
    queries = {}
    for error in (0.02, 0.002):
        runs = []
        for n in range(40):
            oracle = Oracle(np.array([1.0 - truth, truth]), np.array([0.0, 1.0]), drawing(3, n))
            runs.append(tail_risk.estimate(oracle, error))
        assert np.mean([r.low - 1e-12 <= truth <= r.high + 1e-12 for r in runs]) >= 0.9
        assert max(r.high - r.low for r in runs) <= 2 * error
        queries[error] = np.mean([r.queries for r in runs])
    assert queries[0.002] < 40 * queries[0.02]


def test_tail_risk_is_that_of_the_exact_sums() -> None:
    """Value at risk on the same step, shortfall within its error; a certain loss has no tail beyond itself."""
    threshold, shortfall = tail_risk.exact(NORMAL, 0.95)
    found, queries = tail_risk.value_at_risk(NORMAL, 0.95, 0.002, drawing(4, 0))
    assert found == threshold
    assert queries > 0
    mean, more = tail_risk.expected_shortfall(NORMAL, threshold, 0.001, drawing(4, 1))
    assert mean == pytest.approx(shortfall, abs=0.15)
    assert more > 0
    assert 1.4 < threshold < 1.9 < shortfall < 2.4
    sure = Losses(np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    assert tail_risk.exact(sure, 0.95) == (2.0, 2.0)
    assert tail_risk.expected_shortfall(sure, 2.0, 0.01, drawing(4, 2))[0] == 2.0


def test_monte_carlo_comes_to_the_same() -> None:
    uniforms = np.random.default_rng(5).random(200_000)
    got, truth = tail_risk.sampled(NORMAL, 0.95, uniforms), tail_risk.exact(NORMAL, 0.95)
    assert got[0] == truth[0]
    assert got[1] == pytest.approx(truth[1], abs=0.02)
