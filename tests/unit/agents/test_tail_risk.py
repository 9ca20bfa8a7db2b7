"""Amplitude estimation in simulation: the iterate's closed form, the interval, tail risk beside the exact sums."""

from __future__ import annotations

import math
from typing import Any

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


def test_every_iterate_asks_the_oracle_twice_more() -> None:
    """A shot of power k costs 2k+1 queries; the draws see the marker's probability."""
    asked: list[tuple[float, int]] = []
    oracle = Oracle(np.array([0.75, 0.25]), np.array([0.0, 1.0]), lambda p, n: asked.append((p, n)) or 7)
    assert (oracle.queries, oracle.sample(0, 10), oracle.queries) == (0, 7, 10)
    assert (oracle.sample(3, 100), oracle.queries) == (7, 10 + 700)
    assert [p for p, _ in asked] == pytest.approx([0.25, math.sin(7 * math.pi / 6) ** 2])
    assert [n for _, n in asked] == [10, 100]


def test_the_next_power_is_the_largest_that_stays_in_one_half_plane() -> None:
    """By trying all: 4k+2 times the angles lie between the same multiples of π, and at least twice the old one."""
    rng = np.random.default_rng(6)
    kept = 0
    for _ in range(300):
        width, power, was = 10 ** rng.uniform(-3.0, 0.0), int(rng.integers(0, 12)), bool(rng.integers(2))
        low = rng.uniform(0.0, math.pi / 2)
        fits = [
            k
            for k in range(800)
            if 4 * k + 2 >= 2 * (4 * power + 2)
            and int((4 * k + 2) * low / math.pi) == int((4 * k + 2) * (low + width) / math.pi)
        ]
        wanted = (power, was) if not fits else (fits[-1], int((4 * fits[-1] + 2) * low / math.pi) % 2 == 0)
        assert tail_risk.next_power(power, was, low, low + width) == wanted
        kept += not fits
    assert 30 < kept < 270


def test_losses_lie_on_the_middles_of_equal_steps() -> None:
    """2ⁿ of them between the extremes, by how often each came."""
    found = tail_risk.discretised(np.array([0.0, 1.0, 1.5, 4.0]), 2)
    assert (found.loss.tolist(), found.p.tolist()) == ([0.5, 1.5, 2.5, 3.5], [0.25, 0.5, 0.0, 0.25])


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


@pytest.mark.parametrize(("hits", "low", "high"), [(30, 0.3, 0.3), (0, 0.0, 0.0), (100, 1.0, 1.0)])
def test_the_first_interval_is_that_of_hoeffding(hits: int, low: float, high: float) -> None:
    """100 shots at 5 % over the rounds that may follow, log2(π/8ε)+1 of them; cut off at 0 and 1."""
    found = tail_risk.estimate(Oracle(np.array([0.7, 0.3]), np.array([0.0, 1.0]), lambda p, n: hits), 0.3)
    spread = math.sqrt(math.log(2.0 * (math.log2(math.pi / 2.4) + 1.0) / 0.05) / 200.0)
    assert found.low == pytest.approx(max(0.0, low - spread), abs=1e-12)
    assert found.high == pytest.approx(min(1.0, high + spread), abs=1e-12)
    assert found.value == pytest.approx(0.5 * (found.low + found.high))
    assert found.queries == 100


FEW = Losses(np.array([1.0, 2.0, 4.0, 8.0]), np.array([0.5, 0.25, 0.125, 0.125]))


def test_a_few_losses_by_hand() -> None:
    """By sums, by draws, and by shots that show exactly their probability."""
    assert tail_risk.exact(FEW, 0.6) == (2.0, 4.0)
    assert tail_risk.exact(FEW, 0.75) == (2.0, 4.0)
    assert tail_risk.exact(FEW, 0.8) == (4.0, 6.0)
    assert tail_risk.sampled(FEW, 0.5, np.array([0.1, 0.6, 0.8, 1.0 - 1e-12])) == (2.0, 14.0 / 3.0)

    def sure(probability: float, shots: int) -> Any:
        return probability * shots

    for level, loss in ((0.4, 1.0), (0.6, 2.0), (0.8, 4.0), (0.9, 8.0)):
        assert tail_risk.value_at_risk(FEW, level, 0.02, sure)[0] == loss
    for threshold, mean in ((2.0, 4.0), (4.0, 6.0), (8.0, 8.0)):
        found, queries = tail_risk.expected_shortfall(FEW, threshold, 5e-4, sure)
        assert found == pytest.approx(mean, abs=0.03)
        parts = (
            (FEW.loss >= threshold).astype(float),
            np.clip((FEW.loss - threshold) / (8.0 - threshold or 1.0), 0, 1),
        )
        asked = [tail_risk.estimate(Oracle(FEW.p, part, sure), 5e-4).queries for part in parts]
        assert queries == (sum(asked) if threshold < 8.0 else asked[0])
