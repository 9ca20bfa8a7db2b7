"""Shapley values, the sum tree and quantal responses against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from qts_agents.kernels import qre, shapley, sumtree

pytestmark = pytest.mark.timeout(300)  # compiling with a cold cache on a busy machine takes a minute
GLOVES = np.array([[0.0, 0, 0, 0, 0, 1, 1, 1]])  # players 0 and 1 hold left gloves, 2 the only right one


@pytest.mark.usefixtures("either")
def test_the_holder_of_the_only_right_glove_is_worth_two_thirds() -> None:
    """Shapley's glove game: 1/6, 1/6, 2/3."""
    np.testing.assert_allclose(shapley.shapley(GLOVES), [[1 / 6, 1 / 6, 2 / 3]], atol=1e-15)


def test_shapley_values_share_out_everything() -> None:
    """Efficiency and the dummy player on random games of five players."""
    worth = np.random.default_rng(1).normal(size=(20, 32))
    worth[:, 16:] = worth[:, :16] + 0.25  # player 4 adds the same to everybody
    values = shapley.shapley(worth)
    np.testing.assert_allclose(values.sum(axis=1), worth[:, -1] - worth[:, 0], atol=1e-12)
    np.testing.assert_allclose(values[:, 4], 0.25, atol=1e-12)


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


@pytest.mark.usefixtures("either")
def test_quantal_responses_answer_each_other() -> None:
    """Each side is the softmax of what it earns, to 1e-10; λ = 0 is uniform."""
    rng = np.random.default_rng(3)
    a, b = rng.random((4, 3, 4)), rng.random((4, 3, 4))
    found = qre.qre(a, b, 3.0)
    assert found.residual.max() <= 1e-10
    pull = 3.0 * np.einsum("gij,gj->gi", a, found.y)
    np.testing.assert_allclose(found.x, np.exp(pull) / np.exp(pull).sum(axis=1, keepdims=True), atol=1e-10)
    path = qre.qre_path(a[0], b[0], np.array([0.0, 1.0, 3.0]))
    np.testing.assert_allclose(path[0], [1 / 3] * 3 + [1 / 4] * 4, atol=1e-15)
    np.testing.assert_allclose(path[2, :3], found.x[0], atol=1e-10)


def test_the_path_ends_at_nash() -> None:
    """At a large λ a dominant strategy is all that is left."""
    dilemma = np.array([[[3.0, 0.0], [5.0, 1.0]]])
    ended = qre.qre(dilemma, dilemma.transpose(0, 2, 1), 30.0)
    np.testing.assert_allclose(ended.x, [[0.0, 1.0]], atol=1e-9)
