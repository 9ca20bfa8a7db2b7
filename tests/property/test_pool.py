"""The pool: order invariance, bounded loss, external Bayes, mirror, batch, and compiled = reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qts_agents.kernels import backend, pool

F8 = NDArray[np.float64]
some = settings(max_examples=60, deadline=None)


def board(seed: int, rows: int, seats: int) -> tuple[F8, F8, F8]:
    """Return opinions, some missing or extreme, weights that sum to at most 1, and a prior."""
    draws = np.random.default_rng(seed)
    pi = draws.dirichlet([0.3, 0.3, 0.3], (rows, seats))
    pi[draws.random((rows, seats)) < 0.15] = np.nan
    omega = draws.dirichlet(np.ones(seats + 1), rows)[:, :seats]
    omega[draws.random((rows, seats)) < 0.1] = 0.0
    return pi, omega, draws.dirichlet([5.0, 5.0, 5.0], rows)


@some
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.randoms(use_true_random=False))
def test_order_of_trades_does_not_matter(seed: int, seats: int, rng: object) -> None:
    """Permuting seats changes prices by rounding only, and shares move with their seats."""
    pi, omega, prior = board(seed, 20, seats)
    order = np.random.default_rng(seed + 1).permutation(seats)
    one, two = (
        pool.lmsr_pool(pi, omega, prior, 50.0),
        pool.lmsr_pool(pi[:, order], omega[:, order], prior, 50.0),
    )
    np.testing.assert_allclose(one.p, two.p, rtol=0, atol=1e-12)
    np.testing.assert_allclose(one.share[:, order], two.share, rtol=0, atol=0)
    np.testing.assert_allclose(one.leave_one_out[:, order], two.leave_one_out, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_the_market_maker_loses_at_most_the_bound(seed: int) -> None:
    """b·ln(p/p⁰) is at most b·ln(1/min p⁰), in a million batches in all; prices sum to 1; dissent is a share."""
    pi, omega, prior = board(seed, 100_000, 6)
    if seed == 0:
        prior[:] = 1.0 / 3.0
    result = pool.lmsr_pool(pi, omega, prior, 50.0)
    loss, bound = 50.0 * np.log(result.p / prior), 50.0 * np.log(1.0 / prior.min(axis=1, keepdims=True))
    assert (loss <= bound + 1e-9).all()
    assert loss.max() > 20.0  # some come near: a bound that nothing approaches would say little
    assert seed > 0 or abs(bound.max() - 54.9306144334) < 1e-10
    np.testing.assert_allclose(result.p.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    assert ((result.dissent >= 0.0) & (result.dissent <= 1.0)).all()
    assert (result.share <= omega).all()


@some
@given(st.integers(0, 2**32 - 1))
def test_each_traders_loss_alone_is_within_its_budget(seed: int) -> None:
    """At any outcome a trader alone at the prior loses at most 2·b·ω."""
    pi, omega, prior = board(seed, 200, 1)
    result = pool.lmsr_pool(pi, omega, prior, 50.0)
    worst = (50.0 * np.log(prior / result.p)).max(axis=1)
    # the trader's weighted trade before the normalising constant is what the budget limits
    ratio = 50.0 * np.log(prior) - result.q
    assert (ratio.max(axis=1) <= 100.0 * omega[:, 0] + 1e-9).all()
    assert (worst <= 100.0 * np.maximum(omega[:, 0], 0.0) + 1e-9).all()


@some
@given(st.integers(0, 2**32 - 1))
def test_mirror(seed: int) -> None:
    """Exchanging up and down everywhere exchanges them in the pool."""
    pi, omega, prior = board(seed, 50, 5)
    one = pool.lmsr_pool(pi, omega, prior, 50.0)
    two = pool.lmsr_pool(pi[:, :, ::-1], omega, prior[:, ::-1], 50.0)
    np.testing.assert_allclose(one.p[:, ::-1], two.p, rtol=0, atol=1e-14)
    np.testing.assert_allclose(
        pool.log_pool(pi, omega)[:, ::-1], pool.log_pool(pi[:, :, ::-1], omega), rtol=0, atol=1e-14
    )


@some
@given(st.integers(0, 2**32 - 1))
def test_batch_equals_loop(seed: int) -> None:
    """Rows do not know each other, compiled or not."""
    pi, omega, prior = board(seed, 5, 6)
    for jit in (True, False):
        backend.set_jit(jit)
        all_rows, pooled = pool.lmsr_pool(pi, omega, prior, 50.0), pool.log_pool(pi, omega)
        for i in range(5):
            row = pool.lmsr_pool(pi[i : i + 1], omega[i : i + 1], prior[i : i + 1], 50.0)
            for name in row.__struct_fields__:
                assert getattr(row, name)[0].tobytes() == getattr(all_rows, name)[i].tobytes(), name
            assert pool.log_pool(pi[i : i + 1], omega[i : i + 1])[0].tobytes() == pooled[i].tobytes()
    backend.set_jit(True)


@some
@given(st.integers(0, 2**32 - 1))
def test_belief_map_is_a_distribution(seed: int) -> None:
    """Rows sum to 1, the side shows, and turning the side exchanges up and down."""
    draws = np.random.default_rng(seed)
    s, c = draws.uniform(-1.0, 1.0, 30), draws.random(30)
    p = pool.belief_map(s, c)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=0, atol=1e-15)
    np.testing.assert_allclose(p[:, 0] - p[:, 2], s * c, rtol=0, atol=1e-15)
    np.testing.assert_allclose(pool.belief_map(-s, c), p[:, ::-1], rtol=0, atol=0)
