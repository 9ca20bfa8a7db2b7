"""Amplitude estimation in simulation: the iterate's closed form, the interval, tail risk beside the exact sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from qts_agents.kernels import philox
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


def test_a_probability_that_rounds_to_more_than_one_is_one() -> None:
    """A certain marker is drawn with probability 1, whatever the sums round to; 0.96 stays 0.96."""
    asked: list[float] = []
    for seed in range(40):
        p = np.random.default_rng(seed).dirichlet(np.ones(16))
        Oracle(p, np.ones(16), lambda p, n: asked.append(p) or n).sample(3, 10)
    assert max(asked) == 1.0
    assert min(asked) == pytest.approx(1.0)
    Oracle(np.array([0.04, 0.96]), np.array([0.0, 1.0]), lambda p, n: asked.append(p) or n).sample(0, 10)
    assert asked[-1] == pytest.approx(0.96)


def test_shots_are_the_uniform_draws_of_the_key_one_after_another() -> None:
    """Each is a draw of its own: 30 at once show the marker as often as 10, 5 and 15."""
    key = philox.key_of(9, "quasar", "tail_risk")
    drawn = np.array([philox.uniform(key, i, 7, 4) for i in range(30)])
    one, many = drawing(9, 4), drawing(9, 4)
    assert one(0.4, 30) == (drawn < 0.4).sum()
    assert [many(0.4, shots) for shots in (10, 5, 15)] == [
        (drawn[part] < 0.4).sum() for part in (slice(10), slice(10, 15), slice(15, 30))
    ]


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


def _fixed(truth: float, draw: Any) -> Oracle:
    return Oracle(np.array([1.0 - truth, truth]), np.array([0.0, 1.0]), draw)


def _noted(truth: float, draw: Any) -> tuple[Oracle, list[tuple[float, int]]]:
    """Return an oracle, and the list in which it notes the probability and the hits of each call."""
    seen: list[tuple[float, int]] = []
    return _fixed(truth, lambda p, shots: seen.append((p, hits := draw(p, shots))) or hits), seen


@pytest.mark.parametrize("truth", [0.03, 0.3, 0.77, 0.95])
def test_the_last_power_alone_bounds_the_interval(truth: float) -> None:
    """An end lies where sin²((2k+1)θ) is Hoeffding's spread from the share of that power's own shots."""
    rounds, held = math.log2(math.pi / 0.016) + 1.0, 0
    for n in range(40):
        oracle, seen = _noted(truth, drawing(5, n))
        found = tail_risk.estimate(oracle, 0.002)
        own = [hits for p, hits in seen if p == seen[-1][0]]
        share = sum(own) / (100 * len(own))
        spread = math.sqrt(math.log(2.0 * rounds / 0.05) / (200.0 * len(own)))
        power = next(k for k in range(10_000) if oracle.marked(k) == seen[-1][0])
        ends = [math.sin((2 * power + 1) * math.asin(math.sqrt(a))) ** 2 for a in (found.low, found.high)]
        bounds = [max(0.0, share - spread), min(1.0, share + spread)]
        held += bool(np.isclose(sorted(ends), bounds, rtol=0, atol=1e-6).any())
    assert held >= 36


def test_it_stops_as_soon_as_the_interval_is_narrow_enough() -> None:
    """Hoeffding's first interval is 2 · 0.1507 wide where ± 0.155 is asked, and 2 · 0.1514 where ± 0.149 is."""
    for error, rounds in ((0.155, 1), (0.149, 2)):
        oracle, seen = _noted(0.3, lambda p, n: 30)
        tail_risk.estimate(oracle, error)
        assert min(len(seen), 2) == rounds


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


@pytest.mark.parametrize("error", [0.3, 0.45])
@pytest.mark.parametrize(("hits", "low", "high"), [(30, 0.3, 0.3), (0, 0.0, 0.0), (100, 1.0, 1.0)])
def test_the_first_interval_is_that_of_hoeffding(hits: int, low: float, high: float, error: float) -> None:
    """100 shots at 5 % over the rounds that may follow, log2(π/8ε)+1 of them or one; cut off at 0 and 1."""
    found = tail_risk.estimate(_fixed(0.3, lambda p, n: hits), error)
    rounds = math.log2(math.pi / 2.4) + 1.0 if error == 0.3 else 1.0
    spread = math.sqrt(math.log(2.0 * rounds / 0.05) / 200.0)
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
    drawn = np.array([0.1, 0.6, 0.8, 1.0 - 1e-12])
    assert tail_risk.sampled(FEW, 0.5, drawn) == (2.0, 14.0 / 3.0)
    assert tail_risk.sampled(FEW, 0.6, drawn) == (4.0, 6.0)
    assert tail_risk.sampled(FEW, 0.2, drawn) == (1.0, 3.75)

    def sure(probability: float, shots: int) -> Any:
        return probability * shots

    below = [np.array([1.0] * (n + 1) + [0.0] * (3 - n)) for n in range(3)]
    cost = [tail_risk.estimate(Oracle(FEW.p, part, sure), 0.02).queries for part in below]
    for level, loss, halves in (
        (0.4, 1.0, (0, 1)),
        (0.6, 2.0, (0, 1)),
        (0.8, 4.0, (1, 2)),
        (0.9, 8.0, (1, 2)),
    ):
        found, queries = tail_risk.value_at_risk(FEW, level, 0.02, sure)
        assert (found, queries) == (loss, sum(cost[at] for at in halves))
    small = Losses(1e-3 * FEW.loss, FEW.p)
    assert tail_risk.expected_shortfall(small, 2e-3, 5e-4, sure)[0] == pytest.approx(4e-3, rel=0.01)
    for threshold, mean in ((2.0, 4.0), (4.0, 6.0), (8.0, 8.0)):
        found, queries = tail_risk.expected_shortfall(FEW, threshold, 5e-4, sure)
        assert found == pytest.approx(mean, abs=0.03)
        parts = (
            (FEW.loss >= threshold).astype(float),
            np.clip((FEW.loss - threshold) / (8.0 - threshold or 1.0), 0, 1),
        )
        asked = [tail_risk.estimate(Oracle(FEW.p, part, sure), 5e-4).queries for part in parts]
        assert queries == (sum(asked) if threshold < 8.0 else asked[0])


def test_a_draw_beyond_the_sum_of_the_probabilities_is_the_largest_loss() -> None:
    """Probabilities that sum to a little less than one leave the last draws of all without a step."""
    many = Losses(np.arange(7.0), np.full(7, 1.0 / 7.0))
    assert np.cumsum(many.p)[-1] < 1.0 - 2.0**-53
    assert tail_risk.sampled(many, 0.5, np.array([1.0 - 2.0**-53])) == (6.0, 6.0)
