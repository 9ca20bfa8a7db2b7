"""Tile coding: grids that mirror each other, what neighbours share, value iteration, the mirrored market."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property import agent_properties as check
from tests.property import cases_learning, markets

from qts_agents.kernels import tiles
from qts_agents.kernels.indicators import indicators
from qts_agents.kernels.qtable import Rule
from qts_agents.quasar.represent import BY_NAME
from qts_core.errors import ConfigError

RULE = Rule(gamma=0.97, floor=0.05, gain=1.0, sarsa=False, fee=0.0, penalty=0.0)
LAST = tiles.LEVELS - 1
level = st.integers(0, LAST)


def code_of(*levels: int) -> int:
    return int(np.ravel_multi_index(levels, (tiles.LEVELS,) * 4))


def places(code: int, d: int) -> tuple[list[int], list[int]]:
    rows, images = np.empty((2, tiles.PAIRS), np.int64)
    tiles.tiles(code, d, rows, images)
    return rows.tolist(), images.tolist()


@given(odd=st.tuples(level, level, level), even=level, d=st.integers(-1, 1))
@settings(max_examples=300, deadline=None)
def test_the_mirror_of_a_state_has_its_tiles_exchanged(odd, even, d):
    """Prices inverted and position reversed: the grid and its twin change places, to the row."""
    rows, images = places(code_of(*odd, even), d)
    assert places(code_of(*(LAST - x for x in odd), even), -d) == (images, rows)
    assert all(0 <= row < tiles.ROWS for row in (*rows, *images))
    assert {row // tiles.GRID for row in rows} == set(range(tiles.PAIRS))


@given(odd=st.tuples(level, level, level), even=level, which=st.integers(0, 3), by=st.integers(1, LAST))
@settings(max_examples=300, deadline=None)
def test_neighbours_share_tiles_by_how_near_they_are(odd, even, which, by):
    """One level further in one odd feature leaves exactly one grid in eight, eight levels all of them."""
    levels = [*odd, even]
    levels[which] = min(levels[which] + by, LAST)
    by = levels[which] - [*odd, even][which]
    here, there = (np.array(places(code_of(*at), 0)) for at in ([*odd, even], levels))
    shared = int((here == there).sum())
    if which < 3:
        assert shared == max(0, tiles.TILINGS - by)
    else:
        assert (shared == 0) is (by >= tiles.TILINGS) or by >= tiles.TILINGS - 2


def test_the_lattice_covers_the_range_and_mirrors_it():
    """Ends and what lies beyond are in the outer levels; the middle is its own mirror; NaN has no code."""
    value = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    there = tiles.lattice((value, value, value), np.array([0.0, 0.0, 0.5, 1.0, 1.0]))
    middle = LAST // 2
    assert there.tolist() == [code_of(n, n, n, n) for n in (0, 0, middle, LAST, LAST)]
    odd = np.random.default_rng(6).uniform(-1, 1, (3, 500))
    level = np.random.default_rng(7).uniform(0, 1, 500)
    one, other = (
        np.array(np.unravel_index(tiles.lattice(tuple(s * odd), level), (tiles.LEVELS,) * 4)) for s in (1, -1)
    )
    np.testing.assert_array_equal(one[:3], LAST - other[:3])
    np.testing.assert_array_equal(one[3], other[3])
    assert tiles.lattice((odd[0, :1], odd[1, :1], np.array([np.nan])), level[:1]).tolist() == [-1]


def test_the_mirrored_tape_teaches_the_mirrored_values():
    """After the same episodes on inverted prices BUY and SELL are exchanged, to the last bit."""
    seen, plan = cases_learning.tiled(np.random.default_rng(4))
    plan = plan._replace(weight=np.ones(len(plan.start)))
    levels = np.array(np.unravel_index(np.maximum(seen.code, 0), (tiles.LEVELS,) * 4))
    levels[:3] = LAST - levels[:3]
    image = seen._replace(
        code=np.where(seen.code < 0, -1, np.ravel_multi_index(tuple(levels), (tiles.LEVELS,) * 4)),
        orient=-seen.orient,
        ret=-seen.ret,
    )
    learned = []
    for tape, side in ((seen, 1), (image, -1)):
        W, N = np.zeros((2, 2, tiles.ROWS, 7))
        tiles.train(W, N, tape, plan._replace(side=side * plan.side), RULE._replace(fee=1e-5))
        learned.append((W, N))
    np.testing.assert_array_equal(learned[0][0], learned[1][0])
    states = seen.code[seen.code >= 0] * 3 + 1
    mirrored = image.code[image.code >= 0] * 3 + 1
    values, action = tiles.serve(*learned[0], states)
    seulav, noitca = tiles.serve(*learned[1], mirrored)
    np.testing.assert_array_equal(values[:, [0, 1, 2]], seulav[:, [1, 0, 2]])
    np.testing.assert_array_equal(np.array([1, 0, 2])[action], noitca)
    assert {0, 1, 2} == set(action.tolist())


def test_a_smooth_value_is_learned_from_a_tenth_of_the_states():
    """What tiles are for: f(trend) = trend from 3 levels in 33 is known in between; a table of cells is not."""
    W, N = np.zeros((2, 2, tiles.ROWS, 7))
    rows, images = np.empty((2, tiles.PAIRS), np.int64)
    taught = range(0, tiles.LEVELS, 4)
    for _ in range(200):
        for at in taught:
            tiles.tiles(code_of(at, 16, 16, 16), 0, rows, images)
            q = np.empty(7)
            tiles.add_up(W[0], rows, images, 1, q)
            tiles.credit(W, N, (0, 0, 1), (rows, images), at / LAST * 2 - 1 - q[0], RULE, 1.0)
    error = []
    for at in range(2, tiles.LEVELS - 2):
        tiles.tiles(code_of(at, 16, 16, 16), 0, rows, images)
        tiles.add_up(W[0], rows, images, 1, q)
        error.append(abs(q[0] - (at / LAST * 2 - 1)))
    assert max(error) < 0.1


def test_a_state_with_one_unknown_tile_is_unknown():
    """Partly known would mean partly zero."""
    W, N = np.ones((2, tiles.ROWS, 7)), np.ones((2, tiles.ROWS, 7))
    state = code_of(3, 20, 9, 30) * 3 + 2
    assert np.isfinite(tiles.serve(W, N, np.array([state, -1]))[0]).all(axis=1).tolist() == [True, False]
    N[:, places(state // 3, 1)[1][2]] = 0.0
    values, action = tiles.serve(W, N, np.array([state]))
    assert np.isnan(values).all()
    assert action.tolist() == [2]


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_representation_fits_its_own_codes(name):
    """Its arrays hold every state that its codes can name."""
    form = BY_NAME[name]
    Q, N = np.zeros((2, 2, form.rows, 7))
    values, _ = form.serve(Q, N, np.array([0, 1, 2, -1]))
    assert np.isnan(values).all()
    assert form.used.max() < form.rows


def test_both_representations_read_trend_momentum_rsi_and_volatility():
    """Fallen, undecided, an RSI of 70, ordinary volatility; a row without RSI has no code."""
    ind = indicators(markets.window(markets.synthetic(17, symbols=2), 600))
    cells = {"trend": [-1.0] * 2, "momentum": [0.0] * 2, "rsi": [70.0, np.nan], "volatility": [0.5] * 2}
    ind = msgspec.structs.replace(ind, **{name: np.array(x) for name, x in cells.items()})
    assert BY_NAME["table"].code(ind).tolist() == [int("0232", 5), -1]
    assert BY_NAME["tiles"].code(ind).tolist() == [code_of(0, 16, 23, 16), -1]


BY_TILES = {"quasar": {"representation": "tiles", "convergence": 10.0}}
MADE_BY_TILES = check.maker("qts_agents.quasar.agent:Quasar", BY_TILES)


@pytest.mark.timeout(1200)
def test_quasar_by_tiles_votes_and_keeps_the_common_properties():
    """Once its values hold still it votes by them; the mirrored market is learned alike; its state comes back."""
    agent = MADE_BY_TILES()
    markets.train(agent, markets.eurusd(1000, 1600), 400, 1400)
    assert agent.converged
    assert 0.0 < agent._state.learner.visited() < 1.0
    check.check_mirror(MADE_BY_TILES, markets.eurusd(1000, 1600), 1400, trained_from=400)
    check.check_state(MADE_BY_TILES, markets.synthetic(3))


def test_a_state_of_the_other_representation_is_refused():
    """Its numbers would mean something else."""
    table = check.maker("qts_agents.quasar.agent:Quasar", {})
    with pytest.raises(ConfigError, match="quasar-6"):
        MADE_BY_TILES().load(table().save())
