"""The figures that compare phases with their baselines are those of the textbooks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qts_agents.pads import comparison


def test_the_adjusted_rand_index_of_known_labellings() -> None:
    """Equal up to names is 1, the example of Hubert & Arabie's formula by hand, chance is near 0."""
    assert comparison.adjusted_rand(np.array([0, 0, 1, 2]), np.array([5, 5, 3, 9])) == 1.0
    a, b = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    # pairs together: both 1, in a 2, in b 3, of 6: (1 − 1) / (2.5 − 1) = 0
    assert comparison.adjusted_rand(a, b) == pytest.approx(0.0)
    rng = np.random.default_rng(1)
    assert abs(comparison.adjusted_rand(rng.integers(0, 4, 4000), rng.integers(0, 4, 4000))) < 0.01


def test_the_volatility_that_follows() -> None:
    r = np.array([9.0, 1.0, -1.0, 2.0, 0.0])
    got = comparison.next_volatility(r, 2)
    np.testing.assert_allclose(got[:3], [0.0, 0.5 * math.log(2.5), 0.5 * math.log(2.0)])
    assert np.isnan(got[3:]).all()


def test_states_that_know_volatility_score_higher_than_none() -> None:
    rng = np.random.default_rng(2)
    wild = np.repeat(rng.integers(0, 2, 40), 100)
    target = np.where(wild == 1, -3.0, -6.0) + 0.3 * rng.standard_normal(4000)
    none = comparison.log_likelihood(np.zeros(4000, np.int64), target, 30)
    told = comparison.log_likelihood(wild, target, 30)
    shuffled = comparison.log_likelihood(rng.permutation(wild), target, 30)
    assert told > none + 0.5
    assert abs(shuffled - none) < 0.05
    later = target.copy()
    later[3000:] = 0.0
    early = comparison.log_likelihood(wild[:2000], target[:2000], 30)
    assert comparison.log_likelihood(wild[:2000], later[:2000], 30) == early
    assert math.isnan(comparison.log_likelihood(wild[:20], target[:20], 30))


def test_classes_of_wildness_are_of_equal_size_and_follow_the_segments() -> None:
    r = np.concatenate([s * np.tile((1.0, -1.0), 50) for s in (3.0, 1.0, 4.0, 2.0)])
    got = comparison.volatility_classes(r, np.array([100, 200, 300]))
    assert got[::100].tolist() == [2, 0, 3, 1]
    assert np.bincount(got).tolist() == [100, 100, 100, 100]
    assert comparison.volatility_classes(r, np.empty(0, np.int64)).tolist() == [2] * 400


def test_switches_count_by_the_day() -> None:
    assert comparison.switches_per_day(np.array([0, 0, 1, 1, 0, 0, 0, 0]), 3600.0) == pytest.approx(6.0)


def test_alarms_are_hits_when_an_event_follows() -> None:
    alarms, events = np.zeros(1030, bool), np.zeros(1030, bool)
    alarms[[10, 500]] = True
    events[[15, 41]] = True
    got = comparison.judge(alarms, events, 30)
    assert (got.alarms, got.hit_rate, got.false_per_1000) == (2, 0.5, 1.0)
    assert got.base_rate == pytest.approx(41 / 1000)
    events[:] = False
    assert comparison.judge(alarms, events, 30).hit_rate == 0.0
