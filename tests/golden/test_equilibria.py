"""The solvers find the equilibria that Gambit found in 500 stored games, and its quantal responses in 100."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.golden import peer_quantal
from tests.golden.peer_equilibria import A_SHAPE, FILE, SHAPES, agree

from qts_agents.kernels import nash, qre

pytestmark = pytest.mark.timeout(1200)  # compiling with a cold cache on a busy machine takes a minute


def test_the_sets_of_500_games_are_the_peers() -> None:
    """None more, none less, each probability to 1e-9."""
    games = json.loads(FILE.read_text())["games"]
    assert len(games) == 500
    for i in range(0, len(games), A_SHAPE):
        batch = games[i : i + A_SHAPE]
        a, b = (np.array([game[side] for game in batch], float) for side in ("a", "b"))
        assert a.shape == (A_SHAPE, *SHAPES[i // A_SHAPE])
        solved = nash.nash_all(a, b)
        for g, game in enumerate(batch):
            ours = [np.concatenate((solved.x[g, e], solved.y[g, e])) for e in range(solved.count[g])]
            assert agree([np.array(pair) for pair in game["equilibria"]], ours), (i + g, game)


def test_the_quantal_responses_of_100_games_are_the_peers() -> None:
    """At five λ each, also behind the turns of a branch, where steps in λ lose it; each probability to 1e-12."""
    stored = json.loads(peer_quantal.FILE.read_text())
    assert stored["turned"] >= 10
    sizes = [len(game["payoff"][0]) for game in stored["games"]]
    assert sizes == [n for n in peer_quantal.SIZES for _ in range(peer_quantal.A_SIZE)]
    for g, game in enumerate(stored["games"]):
        payoff = np.array([game["payoff"]], float)
        assert len(game["answers"]) == len(peer_quantal.RATES)
        for rate, answer in zip(peer_quantal.RATES, game["answers"], strict=True):
            assert abs(answer["rate"] - rate) <= 1e-8, (g, rate)
            found = qre.qre(payoff, answer["rate"]).mix[0]
            np.testing.assert_allclose(found, answer["mix"], rtol=0, atol=1e-12, err_msg=f"game {g}, {rate}")
