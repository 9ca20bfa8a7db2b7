"""Scores against hand-made cases, independent formulas and the papers' own examples."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qts_agents import calibration
from qts_agents.evaluation import scores, sharpe, trials
from qts_agents.overlap import long_run_variance, mean_of, overlap_factor, student_above

U = np.full(3, 1.0 / 3.0)


def test_brier_and_log_score_by_hand() -> None:
    """Two rows whose scores one can do in the head."""
    p = np.array([[0.7, 0.2, 0.1], [0.2, 0.3, 0.5]])
    y = np.array([0, 2])
    assert calibration.brier(p, y) == pytest.approx((0.09 + 0.04 + 0.01 + 0.04 + 0.09 + 0.25) / 2)
    gain = scores.log_gain(p[:, None], np.tile(U, (2, 1, 1)), y[:, None].astype(np.uint8), 1.0)
    assert gain.value == pytest.approx((math.log(2.1) + math.log(1.5)) / 2)


def test_perfect_useless_and_contrary() -> None:
    """A forecaster that knows scores 0 with full resolution; the base rate resolves nothing."""
    y = np.array([0, 1, 2] * 40)
    sure = calibration.quality(np.eye(3)[y], y).brier
    assert (sure.brier, sure.reliability, sure.within) == pytest.approx((0.0, 0.0, 0.0))
    assert sure.resolution == pytest.approx(sure.uncertainty) == pytest.approx(2.0 / 3.0)
    dull = calibration.quality(np.tile(U, (120, 1)), y).brier
    assert (dull.reliability, dull.resolution) == pytest.approx((0.0, 0.0))
    assert dull.brier == pytest.approx(2.0 / 3.0)
    wrong = calibration.quality(np.eye(3)[(y + 1) % 3], y).brier
    assert wrong.brier == pytest.approx(2.0)
    assert wrong.reliability > 1.0


def test_murphy_of_two_bins_by_hand() -> None:
    """A binary case of Murphy (1973): said 0.8 and saw 0.6, said 0.2 and saw 0.4; 5 rows each."""
    up = np.array([0.8] * 5 + [0.2] * 5)
    p = np.stack([up, np.zeros(10), 1.0 - up], axis=1)
    y = np.array([0, 0, 0, 2, 2, 0, 0, 2, 2, 2])
    found = calibration.quality(p, y, bins=2).brier
    assert found.reliability == pytest.approx(2 * 0.2**2)
    assert found.resolution == pytest.approx(2 * 0.1**2)
    assert found.uncertainty == pytest.approx(2 * 0.25)
    assert found.within == pytest.approx(0.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(1, 12))
def test_the_parts_sum_to_the_score(seed: int, n: int, bins: int) -> None:
    """Brier = reliability − resolution + uncertainty + within, whatever was said and seen."""
    draw = np.random.default_rng(seed)
    p = draw.dirichlet((1.0, 2.0, 1.0), n).round(int(draw.integers(1, 6)))
    y = draw.integers(0, 3, n)
    m = calibration.quality(p, y, bins).brier
    assert m.reliability - m.resolution + m.uncertainty + m.within == pytest.approx(m.brier, abs=1e-12)
    assert sum(rows.size for rows in calibration.bins_of(p[:, 0], bins)) == n


def test_equal_forecasts_share_a_bin() -> None:
    """Ties never part, so a constant forecast has one point in its diagram."""
    p = np.tile([0.5, 0.3, 0.2], (50, 1))
    assert [b.n for b in calibration.diagram(p, np.zeros(50, dtype=int), 0)] == [50]
    assert len(calibration.bins_of(np.arange(100.0), 10)) == 10


def test_wilson_against_published_values() -> None:
    """Newcombe (1998), table I, method 3 without continuity correction: 81 of 263, 15 of 148, 0 of 20."""
    for hits, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert scores.wilson(hits / n, n) == pytest.approx((low, high), abs=5e-5)


def test_overlap_costs_rows() -> None:
    """Outcomes over 30 bars asked every 10 are worth a third of their number; disjoint ones all of it."""
    assert overlap_factor(1.0) == 1.0
    assert overlap_factor(3.0) == pytest.approx(3.0)
    draw = np.random.default_rng(3)
    sums = np.convolve(draw.normal(size=120_002), np.ones(3), "valid")
    naive = sums.var() / sums.size
    assert np.var(sums.reshape(40, -1).mean(axis=1)) / 40 / naive == pytest.approx(3.0, rel=0.5)
    assert long_run_variance(sums, 60) / sums.var() == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize(("n", "overlap"), [(2, 1), (5, 1), (17, 3), (33, 3), (33, 10), (333, 3), (333, 10)])
def test_luck_is_significant_as_often_as_it_says(n: int, overlap: int) -> None:
    """Of sums over `overlap` drawn returns, which know nothing, about 5 % are above 0 at the 5 % level."""
    noise = np.random.default_rng(9).normal(size=(2000, n + overlap - 1))
    sums = np.lib.stride_tricks.sliding_window_view(noise, overlap, axis=1).sum(axis=2)
    share = np.mean([mean_of(row, overlap).p_value < 0.05 for row in sums])
    assert 0.035 <= share <= 0.068
    assert math.isnan(mean_of(sums[0, : overlap - 1] if overlap > 1 else sums[0, :1], overlap).p_value)


def test_the_error_of_a_mean_is_that_of_simulated_means() -> None:
    """Over 4,000 lives of 60 rounds the mean squared error is the variance of the means."""
    noise = np.random.default_rng(10).normal(size=(4000, 62))
    sums = noise[:, :-2] + noise[:, 1:-1] + noise[:, 2:]
    told = np.mean([mean_of(row, 3.0).error ** 2 for row in sums])
    assert told == pytest.approx(sums.mean(axis=1).var(), rel=0.1)


@pytest.mark.parametrize(("freedom", "off"), [(1, 8e-3), (2, 2e-3), (4, 5e-4), (32, 2e-5), (500, 1e-6)])
def test_students_t_is_near_scipys(freedom: int, off: float) -> None:
    at = np.linspace(-8.0, 8.0, 65)
    found = [student_above(float(t), freedom) for t in at]
    np.testing.assert_allclose(found, stats.t.sf(at, freedom), rtol=0, atol=off)


def test_a_gain_is_the_difference_of_the_scores_over_cells() -> None:
    """Also where not all symbols resolve each time, and a round without any counts for nothing."""
    draw = np.random.default_rng(15)
    p, u = draw.dirichlet((4.0, 4.0, 4.0), (40, 6)), np.tile(U, (40, 6, 1))
    y = draw.integers(0, 3, (40, 6)).astype(np.uint8)
    y[draw.random((40, 6)) < np.linspace(0.0, 0.9, 40)[:, None]] = 255
    y[7] = 255
    used = y != 255
    gain = scores.log_gain(p, u, y, 1.0)
    own, base = (calibration.log_score(x[used], y[used].astype(int)) for x in (p, u))
    assert gain.value == pytest.approx(own - base, abs=1e-12)
    assert scores.by_round(np.ones((40, 6)), used).size == used.any(axis=1).sum()


def test_rounds_with_few_symbols_weigh_little_in_a_hit_rate() -> None:
    """By the hand-written variance of a ratio: squares of a round's hits less the rate times its rows."""
    draw = np.random.default_rng(16)
    ret, p = draw.normal(size=(60, 8)), draw.dirichlet((5.0, 5.0, 5.0), (60, 8))
    y = np.where(ret > 0, 0, 2).astype(np.uint8)
    y[30:, 1:] = 255
    found = scores.hit_rate(p, ret, y, 1.0)
    right = np.where(y == 255, np.nan, (p[..., 0] > p[..., 2]) == (ret > 0))
    apart = [np.nansum(row - found.rate) for row in right]
    lags = max(sum(a * a for a in apart) + sum(a * b for a, b in pairwise(apart)), sum(a * a for a in apart))
    variance = lags / found.n**2 * 60 / 59
    assert found.effective == pytest.approx(min(found.n, found.rate * (1 - found.rate) / variance))


def test_rounds_that_do_not_differ_count_once_each() -> None:
    """Seventeen of twenty symbols right in one round, or in each of two, is no proof: they may be copies."""
    ret = np.where(np.arange(20) < 17, 0.1, -0.1)[None]
    p, y = np.tile([0.5, 0.3, 0.2], (1, 20, 1)), np.where(ret > 0, 0, 2).astype(np.uint8)
    for rounds in (1, 2):
        found = scores.hit_rate(*(np.repeat(x, rounds, axis=0) for x in (p, ret, y)), 1.0)
        assert (found.n, found.rate, found.effective) == (20 * rounds, 0.85, rounds)
        assert found.low < 0.5
    sure = scores.hit_rate(p[:, :17], ret[:, :17], y[:, :17], 1.0)
    assert (sure.rate, sure.effective) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("rounds", "overlap", "most"), [(17, 3, 0.04), (17, 10, 0.04), (33, 10, 0.04), (333, 3, 0.03)]
)
def test_a_lucky_hit_rate_is_above_one_half_as_rarely_as_it_says(
    rounds: int, overlap: int, most: float
) -> None:
    """Twenty symbols that move together by half: not more than about 2.5 % of lives without knowledge."""
    draw, above = np.random.default_rng(12), 0
    for _ in range(500):
        noise = draw.normal(size=(rounds + overlap - 1, 1)) + draw.normal(size=(rounds + overlap - 1, 20))
        ret = np.lib.stride_tricks.sliding_window_view(noise, overlap, axis=0).sum(axis=2)
        p = np.tile([0.5, 0.3, 0.2], (rounds, 20, 1))
        above += scores.hit_rate(p, ret, np.where(ret > 0, 0, 2).astype(np.uint8), overlap).low > 0.5
    assert above / 500 <= most


def test_symbols_that_move_together_are_not_more_evidence() -> None:
    """Twenty copies of one symbol leave the effective number of rows where one leaves it."""
    draw = np.random.default_rng(5)
    ret = draw.normal(size=(300, 1))
    p = draw.dirichlet((5.0, 5.0, 5.0), (300, 1))
    y = np.where(ret > 0, 0, 2).astype(np.uint8)
    one = scores.hit_rate(p, ret, y, 1.0)
    many = scores.hit_rate(*(np.repeat(x, 20, axis=1) for x in (p, ret, y)), 1.0)
    assert many.n == 20 * one.n
    assert many.effective <= one.effective * 1.05


def test_rows_without_side_or_outcome_do_not_count() -> None:
    """A forecast without a lean, a silent row and an open outcome are no hits and no misses."""
    p = np.array([[[0.4, 0.3, 0.3]], [[0.3, 0.4, 0.3]], [[np.nan] * 3], [[0.4, 0.3, 0.3]]])
    ret = np.array([[0.1], [0.1], [0.1], [np.nan]])
    outcome = np.array([[0], [0], [0], [255]], dtype=np.uint8)
    found = scores.hit_rate(p, ret, outcome, 1.0)
    assert (found.n, found.rate) == (1, 1.0)


def test_deflated_sharpe_of_the_paper() -> None:
    """Bailey and López de Prado (2014), the numerical example: 0.1132 and 0.9004; N = 46 gives 0.9505."""
    found = sharpe.Moments(2.5 / math.sqrt(250.0), -3.0, 10.0, 1250)
    variance = 0.5 / 250.0
    best = sharpe.expected_maximum(100, variance)
    assert best == pytest.approx(0.1132, abs=5e-5)
    assert sharpe.probabilistic(found, best) == pytest.approx(0.9004, abs=5e-5)
    fewer = sharpe.expected_maximum(46, variance)
    assert sharpe.probabilistic(found, fewer) == pytest.approx(0.9505, abs=5e-5)
    normal = sharpe.Moments(found.sharpe, 0.0, 3.0, 1250)
    assert sharpe.probabilistic(normal, sharpe.expected_maximum(88, variance)) == pytest.approx(
        0.9505, abs=5e-5
    )


def test_moments_by_hand() -> None:
    """Of 0, 0, 0, 4: mean 1, deviation 2 of a sample and √3 of all; what never moved or is too short has none."""
    found = sharpe.moments([0.0, 0.0, 0.0, 4.0])
    assert (found.sharpe, found.n) == (0.5, 4)
    assert found.skewness == pytest.approx(2.0 / math.sqrt(3.0))
    assert found.kurtosis == pytest.approx(7.0 / 3.0)
    assert sharpe.moments([0.1, 0.3]).sharpe == pytest.approx(math.sqrt(2.0))
    for short in ([], [0.1], [0.1] * 5):
        assert sharpe.moments(short) == sharpe.Moments(0.0, 0.0, 3.0, len(short))
    assert math.isnan(sharpe.probabilistic(sharpe.moments([0.1])))
    assert sharpe.probabilistic(sharpe.moments([0.1] * 5)) == 0.5


def test_every_trial_lowers_the_deflated_ratio() -> None:
    """The same returns are worth less the more was tried, and a single trial deflates nothing."""
    returns = 0.001 + 0.01 * np.random.default_rng(1).normal(size=1000)
    found = sharpe.moments(returns)
    spread = [found.sharpe, -0.05, 0.05, 0.0]
    values = [
        sharpe.deflated(found, trials) for trials in ([found.sharpe], spread, spread * 10, spread * 100)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] == sharpe.probabilistic(found)
    assert len(set(values)) == 4


def test_a_short_look_is_as_lucky_as_a_long_one() -> None:
    """Of worthless trials on 60 and on 4,000 bars, the ratios brought to 1,000 bars all spread by 1/√1,000."""
    draw = np.random.default_rng(14)
    short, long = ([sharpe.moments(draw.normal(size=bars)).sharpe for _ in range(400)] for bars in (60, 4000))
    tried = [trials.Trial("m", 60, "c", "s", f"{k}", ratio) for k, ratio in enumerate(short)]
    tried += [trials.Trial("m", 4000, "c", "s", f"{k}", ratio) for k, ratio in enumerate(long)]
    other = trials.Trial("another market", 4000, "c", "s", "0", 9.0)
    found = trials.ratios([*tried, other], "m", 1000)
    assert len(found) == 800
    assert np.std(found[:400]) == pytest.approx(1000**-0.5, rel=0.1)
    assert np.std(found[400:]) == pytest.approx(1000**-0.5, rel=0.1)
    assert trials.ratios([other], "another market", 4000) == [9.0]


def test_the_best_of_worthless_trials_is_as_lucky_as_expected() -> None:
    """The expected maximum agrees with a simulation of 50 trials without any worth."""
    draws = np.random.default_rng(2).normal(scale=0.1, size=(20_000, 50)).max(axis=1)
    assert sharpe.expected_maximum(50, 0.01) == pytest.approx(float(draws.mean()), rel=0.02)
    assert sharpe.moments(np.zeros(10)).sharpe == 0.0
