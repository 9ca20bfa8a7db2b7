"""The solver finds exactly the equilibria that Gambit found in 500 stored games."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.golden.peer_equilibria import A_SHAPE, FILE, SHAPES, agree

from qts_agents.kernels import nash

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
