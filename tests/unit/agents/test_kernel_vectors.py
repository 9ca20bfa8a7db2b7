"""The numbers of the specification: pool, prospect, hedge, Philox, rolling statistics, outcomes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from qts_agents.kernels import hedge, outcomes, philox, pool, prospect, rolling

PI = np.array([[[0.5, 0.3, 0.2], [0.4, 0.35, 0.25], [0.2, 0.5, 0.3]]])
OMEGA = np.array([[0.30, 0.25, 0.20]])
UNIFORM = np.full((1, 3), 1.0 / 3.0)
CLOSES = np.array([100, 101, 103, 102, 104, 107, 105, 108, 110, 109], dtype=float)


@pytest.mark.usefixtures("either")
def test_lmsr_pool_of_three_seats() -> None:
    """Quantities, prices, dissent and loss are those of agents.md §10."""
    result = pool.lmsr_pool(PI, OMEGA, UNIFORM, 50.0)
    assert_allclose(result.q[0], [-51.6778745895, -51.8464940351, -67.2426298521], rtol=0, atol=5e-11)
    assert_allclose(result.p[0], [0.3664170062, 0.3651833868, 0.2683996070], rtol=0, atol=5e-11)
    assert_allclose(result.dissent, [0.0126172285], rtol=0, atol=5e-11)
    assert_allclose(pool.entropy_confidence(result.p), [0.0089622440], rtol=0, atol=5e-11)
    assert_allclose(result.share, OMEGA, rtol=0, atol=0)
    loss = 50.0 * np.log(result.p[0] / UNIFORM[0])
    assert_allclose(loss, [4.7314527846, 4.5628333390, -10.8333024780], rtol=0, atol=5e-10)


@pytest.mark.usefixtures("either")
def test_leave_one_out_pays_what_a_seat_adds() -> None:
    """The pool without each seat, its score and its marginal value are those of agents.md §10."""
    result = pool.lmsr_pool(PI, OMEGA, UNIFORM, 50.0)
    expected = [
        [0.3199041537, 0.3716292544, 0.3084665919],
        [0.3503494875, 0.3610229939, 0.2886275187],
        [0.3991709779, 0.3312122160, 0.2696168061],
    ]
    assert_allclose(result.leave_one_out[0], expected, rtol=0, atol=5e-11)
    without = result.leave_one_out[0, :, 0]
    assert_allclose(
        np.log(PI[0, :, 0] / without), [0.4465866673, 0.1325333551, -0.6910724746], rtol=0, atol=5e-11
    )
    marginal = 50.0 * np.log(result.p[0, 0] / without)
    assert_allclose(marginal, [6.7875307422, 2.2420427023, -4.2808897573], rtol=0, atol=5e-10)


@pytest.mark.usefixtures("either")
def test_full_weight_pool_and_log_pool_agree() -> None:
    """With Ω = 1 the prior has no say, and LMSR is the logarithmic pool."""
    weights = OMEGA / OMEGA.sum()
    result = pool.lmsr_pool(PI, weights, UNIFORM, 50.0)
    assert_allclose(result.p[0], [0.3765323722, 0.3748430882, 0.2486245396], rtol=0, atol=5e-11)
    assert_allclose(pool.log_pool(PI, OMEGA), result.p, rtol=0, atol=1e-14)


@pytest.mark.usefixtures("either")
def test_an_absent_seat_leaves_its_share_to_the_prior() -> None:
    """NaN opinions and zero weights change nothing; with nobody the prior stands."""
    more = np.concatenate((PI, np.full((1, 1, 3), np.nan), PI[:, :1]), axis=1)
    result = pool.lmsr_pool(more, [[0.30, 0.25, 0.20, 0.15, 0.0]], UNIFORM, 50.0)
    assert_allclose(result.p, pool.lmsr_pool(PI, OMEGA, UNIFORM, 50.0).p, rtol=0, atol=1e-15)
    assert_allclose(result.leave_one_out[0, 3], result.p[0], rtol=0, atol=1e-15)
    alone = pool.lmsr_pool(np.full((1, 2, 3), np.nan), [[0.5, 0.5]], [[0.2, 0.5, 0.3]], 50.0)
    assert_allclose(alone.p, [[0.2, 0.5, 0.3]], rtol=0, atol=1e-15)
    assert_allclose(alone.dissent, [0.0], rtol=0, atol=0)
    assert np.isnan(pool.log_pool(np.full((1, 2, 3), np.nan), [0.5, 0.5])).all()


@pytest.mark.usefixtures("either")
def test_budget_bounds_a_trader_who_is_sure() -> None:
    """A certain opinion of weight 1 may lose at most factor·b when trading alone."""
    result = pool.lmsr_pool([[[0.999, 0.0005, 0.0005]]], [[1.0]], UNIFORM, 50.0)
    assert result.share[0, 0] < 1.0
    loss = -50.0 * np.log(result.p[0] / UNIFORM[0]).min()
    assert loss <= 100.0 + 1e-9


def test_belief_map_of_actions() -> None:
    """BUY and SELL stated with 0.6 become the distributions of agents.md §10."""
    expected = [[0.7333333333, 0.1333333333, 0.1333333333], [0.1333333333, 0.2833333333, 0.5833333333]]
    assert_allclose(pool.belief_map([1.0, -0.75], [0.6, 0.6]), expected, rtol=0, atol=5e-11)


def test_jensen_shannon_divergence_reaches_ln_2_for_strangers() -> None:
    """Equal distributions are 0 apart, disjoint ones ln 2."""
    assert_allclose(pool.js([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]], [[0.0, 1.0, 0.0], [0.2, 0.3, 0.5]]),
                    [np.log(2.0), 0.0], rtol=0, atol=1e-15)  # fmt: skip


def test_what_trades_cost_at_their_prices_telescopes() -> None:
    """Two trades, bought bit by bit at the price of the moment, cost C(q2) − C(q0), C(q) = b·ln Σ exp(q/b)."""
    path = np.array([[0.0, 0.0, 0.0], [10.0, -3.0, 0.0], [4.0, 2.0, -8.0]])
    middles = (np.arange(1000)[:, None] + 0.5) / 1000
    paid = [
        float(pool.lmsr_price(q0 + middles * (q1 - q0), 50.0).mean(axis=0) @ (q1 - q0))
        for q0, q1 in itertools.pairwise(path)
    ]
    cost = 50.0 * (np.log(np.exp(path[2] / 50.0).sum()) - np.log(3.0))
    assert sum(paid) == pytest.approx(cost, abs=1e-6)
    assert cost == pytest.approx(-0.3975490918, abs=1e-10)


def test_prices_sum_to_one_far_out() -> None:
    """|q|/b up to a million neither overflows nor loses mass."""
    price = pool.lmsr_price(np.array([[1e6, -1e6, 0.0]]) * 50.0, 50.0)
    assert_allclose(price.sum(axis=1), [1.0], rtol=0, atol=1e-12)


def test_prospect_values_weights_and_a_planned_long() -> None:
    """Value, decision weights, V and the expected value are those of agents.md §10."""
    v = prospect.value([0.01, 0.1, -0.01, -0.1])
    assert_allclose(v, [0.0173780083, 0.1318256739, -0.0391005186, -0.2966077662], rtol=0, atol=5e-11)
    p = [0.01, 0.1, 0.5, 0.9]
    gain = [0.0552661368, 0.1863025664, 0.4206393543, 0.7117160639]
    loss = [0.0396719397, 0.1701454281, 0.4539875495, 0.7749034872]
    assert_allclose(prospect.weight_gain(p), gain, rtol=0, atol=5e-11)
    assert_allclose(prospect.weight_loss(p), loss, rtol=0, atol=5e-11)
    planned = ([0.5, 0.3, 0.2], 0.03, 0.002, 0.02)
    assert float(prospect.prospect_value(*planned)) == pytest.approx(-0.0011428366, abs=5e-11)
    assert float(prospect.expected_value(*planned)) == pytest.approx(0.0104, abs=1e-15)


def test_prospect_term_is_odd_about_one_half() -> None:
    """The vector of agents.md §10, its mirror, and the ends."""
    term = prospect.prospect_term([0.6, 0.4, 0.5, 1.0, 0.0])
    assert_allclose(term, [0.1194807730, -0.1194807730, 0.0, 1.0, -1.0], rtol=0, atol=5e-11)


def test_hedge_and_fixed_share() -> None:
    """One step of each is that of agents.md §10."""
    loss = -np.log([0.5, 0.4, 0.2])
    assert_allclose(loss, [0.6931471806, 0.9162907319, 1.6094379124], rtol=0, atol=5e-11)
    after = hedge.hedge_update([0.4, 0.35, 0.25], loss, 0.1)
    assert_allclose(after, [0.4122065263, 0.3527214858, 0.2350719879], rtol=0, atol=5e-11)
    assert_allclose(
        hedge.fixed_share(after, 0.01), [0.4114177944, 0.3525276043, 0.2360546014], rtol=0, atol=5e-11
    )


def test_a_sleeping_expert_keeps_its_weight() -> None:
    """NaN losses leave a weight alone; the others share what they had."""
    after = hedge.hedge_update([0.4, 0.35, 0.25], [0.5, np.nan, 2.0], 0.1)
    assert after[1] == 0.35
    assert after.sum() == pytest.approx(1.0, abs=1e-15)
    assert after[0] > 0.4 > 0.25 > after[2]


def test_philox_vectors() -> None:
    """Two blocks of agents.md §10, in order of words."""
    assert philox.philox4x32((0, 0, 0, 0), (0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    assert philox.philox4x32((1, 0, 0, 0), (0, 0)) == (0xF8E4CCA4, 0x5CB200DB, 0xB1A574EB, 0x097EFF67)


@pytest.mark.usefixtures("either")
def test_a_run_of_draws_equals_single_draws() -> None:
    """Compiled runs give the same bits as integer arithmetic, also beyond 32 bits of decision index."""
    key = philox.key_of(7, "quasar", "EURUSD")
    single = [philox.uniform(key, 3 + i, 2, 2**40 + 5) for i in range(9)]
    assert philox.uniforms(key, 9, 2, 2**40 + 5, first=3).tolist() == single
    assert all(0.0 < u < 1.0 for u in single)
    assert philox.key_of(8, "quasar", "EURUSD") != key


def test_normal_draws_are_normal() -> None:
    """The quantile function inverts the distribution function, and 20 000 draws pass a moment check."""
    from statistics import NormalDist

    for p in (1e-9, 1e-4, 0.07, 0.3, 0.5, 0.7, 0.93, 0.9999):
        assert NormalDist().cdf(philox.inverse_normal(p)) == pytest.approx(p, rel=1e-9)
    draws = philox.normals((1, 2), 20_000, 0, 0)
    assert abs(draws.mean()) < 0.03
    assert abs(draws.std() - 1.0) < 0.02


@pytest.mark.usefixtures("either")
def test_autocorrelation_and_deviation_of_the_phase_vector() -> None:
    """ρ₁ and σ over five returns of ten closes are those of agents.md §10."""
    r = np.diff(np.log(CLOSES))[None, :]
    rho = [-0.4194871984, -0.5401072205, -0.5202949285, -0.5505572192]
    std = [0.0207350337, 0.0222552507, 0.0195691660, 0.0220081557]
    found = rolling.rolling_moments(r, 5)
    assert_allclose(found.rho[0, -4:], rho, rtol=0, atol=5e-11)
    assert_allclose(found.std[0, -4:], std, rtol=0, atol=5e-11)
    assert rolling.rolling_rank(rho, 4)[0, -1] == 0.125
    assert 1.0 - rolling.rolling_rank(std, 4)[0, -1] == 0.375


@pytest.mark.usefixtures("either")
def test_rolling_statistics_of_a_flat_series() -> None:
    """Zero variance: deviation and autocorrelation 0, ranks one half; NaN before a window is full."""
    flat = np.full((2, 8), 0.1)
    found = rolling.rolling_moments(flat, 4)
    assert np.isnan(found.std[:, :3]).all()
    assert found.std[:, 3:].tolist() == [[0.0] * 5] * 2
    assert found.rho[:, 3:].tolist() == [[0.0] * 5] * 2
    assert rolling.rolling_rank(flat, 4)[:, 3:].tolist() == [[0.5] * 5] * 2


def test_outcomes_and_their_band() -> None:
    """The band is the larger of costs and 0.43·σ·√h; NaN is unresolved."""
    kappa = outcomes.band([0.001, 0.1], [0.01, 0.01], 25)
    assert_allclose(kappa, [0.0215, 0.1], rtol=0, atol=1e-15)
    assert outcomes.classify([0.03, 0.0, -0.03, np.nan], 0.0215).tolist() == [0, 1, 2, 255]
