"""Shapley values, the sum tree, correlation and rank of the newest values against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from qts_agents.kernels import phase, shapley, sumtree

pytestmark = pytest.mark.timeout(1200)  # compiling with a cold cache on a busy machine takes a minute
GLOVES = np.array([[0.0, 0, 0, 0, 0, 1, 1, 1]])  # players 0 and 1 hold left gloves, 2 the only right one


@pytest.mark.usefixtures("either")
def test_the_holder_of_the_only_right_glove_is_worth_two_thirds() -> None:
    """Shapley's glove game: 1/6, 1/6, 2/3."""
    np.testing.assert_allclose(shapley.shapley(GLOVES), [[1 / 6, 1 / 6, 2 / 3]], rtol=0, atol=1e-15)


def test_shapley_values_share_out_everything() -> None:
    """Efficiency and the dummy player on random games of five players."""
    worth = np.random.default_rng(1).normal(size=(20, 32))
    worth[:, 16:] = worth[:, :16] + 0.25  # player 4 adds the same to everybody
    values = shapley.shapley(worth)
    np.testing.assert_allclose(values.sum(axis=1), worth[:, -1] - worth[:, 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(values[:, 4], 0.25, rtol=0, atol=1e-12)


def test_a_game_without_all_coalitions_is_refused() -> None:
    """Six worths are no game."""
    with pytest.raises(ValueError, match="2\\^N coalitions"):
        shapley.shapley(np.zeros((1, 6)))


def test_draws_follow_the_priorities() -> None:
    """A leaf set twice keeps the last, one of priority 0 is never drawn, weights undo the bias."""
    rng = np.random.default_rng(2)
    priority = rng.random(100) * (rng.random(100) < 0.7)
    tree = sumtree.new_tree(100)
    sumtree.update(tree, np.arange(100), priority)
    sumtree.update(tree, np.array([5, 5]), np.array([9.0, priority[5]]))
    assert tree[1] == pytest.approx(priority.sum(), rel=1e-14)
    draws = rng.random(64)
    leaves, weights = sumtree.sample(tree, draws, 1.0, 100)
    assert (priority[leaves] > 0.0).all()
    np.testing.assert_allclose(weights * priority[leaves], (weights * priority[leaves])[0], rtol=1e-12)


def test_an_empty_tree_is_refused() -> None:
    """Without a priority there is nothing to draw."""
    with pytest.raises(ValueError, match="nothing to draw"):
        sumtree.sample(sumtree.new_tree(3), np.full(1, 0.5), 1.0, 0)


def test_correlation_and_deviation_in_one_pass_have_the_bits_of_their_definitions() -> None:
    """Rows with gaps, without movement and of any length up to a hundred: as PADS computed them before."""
    draws = np.random.default_rng(8)
    for n in (20, 50, 53, 100):
        returns = np.full((60, 2 * n), np.nan)[:, :n]  # a view of a ring: rows are not side by side
        returns[:] = 1e-3 * draws.normal(size=returns.shape)
        returns[0], returns[1, :2], returns[2, ::2], returns[3, -1] = 0.0, np.nan, np.nan, np.inf
        wanted = np.empty((3, 60))
        with np.errstate(invalid="ignore"):
            phase.recent_reference(returns, 20, wanted)
        assert np.stack(phase.recent(returns, 20)).tobytes() == wanted.tobytes()
    assert np.isnan(wanted[:2, 2]).all()
    assert np.isfinite(wanted[:2, 3]).all()


def test_the_newest_rank_looks_at_what_is_known() -> None:
    """Gaps are left out up to a tenth; a row whose newest value is unknown has no rank."""
    history = np.tile(np.arange(20.0), (4, 1))
    history[1, :2], history[2, :3], history[3, -1] = np.nan, np.nan, np.nan
    assert np.allclose(phase.newest_rank(history), [19.5 / 20, 17.5 / 18, np.nan, np.nan], equal_nan=True)
