"""Replicator dynamics and quantal responses of three players against what is known."""

from __future__ import annotations

import numpy as np
import pytest

from qts_agents.kernels import nash, qre, replicator

pytestmark = pytest.mark.timeout(1200)  # compiling with a cold cache on a busy machine takes a minute
PENNIES = np.array([[[1.0, -1.0], [-1.0, 1.0]]])
DILEMMA = np.array([[[3.0, 0.0], [5.0, 1.0]]])


def test_matching_pennies_go_round() -> None:
    """Σ ln x + Σ ln y is kept along every orbit of a zero-sum game; the shares come back after a while."""
    x, y = np.array([[0.8, 0.2]]), np.array([[0.5, 0.5]])
    kept = np.log(x).sum() + np.log(y).sum()
    lowest = 1.0
    for _ in range(40):
        x, y = replicator.replicate(PENNIES, -PENNIES, x, y, 0.5, 50)
        assert np.log(x).sum() + np.log(y).sum() == pytest.approx(kept, abs=1e-6)
        lowest = min(lowest, x[0, 0])
    assert lowest < 0.25


def test_a_dominated_action_dies_out() -> None:
    """In the dilemma both populations defect."""
    start = np.array([[0.99, 0.01]])
    x, y = replicator.replicate(DILEMMA, DILEMMA.transpose(0, 2, 1), start, start, 30.0, 600)
    assert min(x[0, 1], y[0, 1]) > 0.999999


def test_equilibria_are_at_rest_and_shares_stay_shares() -> None:
    """From a Nash equilibrium nothing moves; from anywhere the shares stay positive and sum to 1."""
    draws = np.random.default_rng(4)
    a, b = draws.random((2, 20, 3, 4))
    found = nash.nash_choice(a, b)
    single = found.count == 1
    x, y = replicator.replicate(a[single], b[single], found.x[single], found.y[single], 1.0, 20)
    np.testing.assert_allclose(x, found.x[single], rtol=0, atol=1e-9)
    np.testing.assert_allclose(y, found.y[single], rtol=0, atol=1e-9)
    x, y = replicator.replicate(
        a, b, draws.dirichlet(np.ones(3), 20), draws.dirichlet(np.ones(4), 20), 50.0, 500
    )
    for share in (x, y):
        assert share.min() >= 0.0
        np.testing.assert_allclose(share.sum(axis=1), 1.0, rtol=0, atol=1e-12)


def test_steps_too_long_are_refused() -> None:
    """A step beyond half a unit of payoff is an error, not a wrong answer."""
    with pytest.raises(ValueError, match="too few"):
        replicator.replicate(DILEMMA, DILEMMA, np.full((1, 2), 0.5), np.full((1, 2), 0.5), 10.0, 10)


@pytest.mark.usefixtures("either")
def test_three_players_answer_each_other() -> None:
    """Each mixture is the softmax of what its actions earn against both others, to 1e-10."""
    payoff = np.random.default_rng(6).random((3, 3, 3, 3, 3))
    found = qre.qre(payoff, 2.0)
    assert found.residual.max() <= 1e-10
    x, y, z = found.mix.transpose(1, 0, 2)
    earned = (
        np.einsum("gijk,gj,gk->gi", payoff[:, 0], y, z),
        np.einsum("gijk,gi,gk->gj", payoff[:, 1], x, z),
        np.einsum("gijk,gi,gj->gk", payoff[:, 2], x, y),
    )
    for mix, pull in zip((x, y, z), earned, strict=True):
        raised = np.exp(2.0 * pull)
        np.testing.assert_allclose(mix, raised / raised.sum(axis=1, keepdims=True), rtol=0, atol=1e-10)


def test_an_idle_third_player_leaves_the_game_of_two() -> None:
    """When the third changes nothing, the others answer each other alone; it stays uniform."""
    a, b = np.random.default_rng(7).random((2, 4, 4, 4))
    three = np.zeros((4, 3, 4, 4, 4))
    three[:, 0], three[:, 1] = a[:, :, :, None], b[:, :, :, None]
    x, y, idle = qre.qre(three, 3.0).mix.transpose(1, 0, 2)
    for mix, pull in ((x, np.einsum("gij,gj->gi", a, y)), (y, np.einsum("gij,gi->gj", b, x))):
        raised = np.exp(3.0 * pull)
        np.testing.assert_allclose(mix, raised / raised.sum(axis=1, keepdims=True), rtol=0, atol=1e-10)
    np.testing.assert_allclose(idle, 0.25, rtol=0, atol=1e-15)


def test_the_path_of_three_ends_at_nash() -> None:
    """Up to λ = 50 on payoffs of range 1: where every player has a dominant action it is played."""
    payoff = 0.01 * np.random.default_rng(8).random((2, 3, 4, 4, 4))
    payoff[:, 0, 2] += 1.0
    payoff[:, 1, :, 1] += 1.0
    payoff[:, 2, :, :, 3] += 1.0
    ended = qre.qre(payoff, 50.0)
    np.testing.assert_allclose(ended.mix[:, [0, 1, 2], [2, 1, 3]], 1.0, rtol=0, atol=1e-9)
