"""The mirror-tied double table: vectors, parity with plain Python, value iteration, masks and ties."""

from __future__ import annotations

import itertools

import numba
import numpy as np
import pytest
from tests.property import cases_learning

from qts_agents.kernels import qtable
from qts_agents.kernels.qtable import Rule, Tape
from qts_agents.quasar import states
from qts_agents.quasar.represent import FRAME
from qts_agents.quasar.states import CODES, KIND, ROW, STATES

BUY, SELL, HOLD = 0, 1, 2
RULE = Rule(gamma=0.97, floor=0.05, gain=1.0, sarsa=False, fee=0.0, penalty=0.0)
A_NEXT = np.array([0.2, 0.5, 0.15, 0, 0, 0, 0])
B_NEXT = np.array([0.3, 0.1, 0.4, 0, 0, 0, 0])


def _moved(start, value):
    Q, N = np.zeros((2, 1, 7)), np.full((2, 1, 7), 1000.0)
    Q[0, 0, 0] = start
    qtable.learn(Q, N, (0, 0, 0), value, RULE)
    return Q[0, 0, 0]


def test_double_q_vectors():
    """Either coin: one table chooses, the other values, as in the specification."""
    coin_a = 1.0 + RULE.gamma * qtable.target(A_NEXT, B_NEXT, True, False, RULE, 0.0)
    coin_b = 1.0 + RULE.gamma * qtable.target(B_NEXT, A_NEXT, True, False, RULE, 0.0)
    assert pytest.approx(coin_a, abs=1e-12) == 1.097
    assert pytest.approx(coin_b, abs=1e-12) == 1.1455
    assert pytest.approx(_moved(0.25, coin_a), abs=1e-12) == 0.29235
    assert pytest.approx(_moved(0.35, coin_b), abs=1e-12) == 0.389775


def test_expected_sarsa_vector():
    """The expectation of (A+B)/2 under a policy, as in the specification."""
    policy = np.array([0.7, 0.2, 0.1, 0, 0, 0, 0])
    got = 1.0 + RULE.gamma * qtable.expectation(0.5 * (A_NEXT + B_NEXT), policy)
    assert pytest.approx(got, abs=1e-12) == 1.254625


def test_expected_sarsa_follows_the_exploring_policy():
    """With ε = 0.3 of 3 actions, the policy (.1,.8,.1) weighs (A+B)/2 = (.25,.3,.275), best SELL."""
    rule = RULE._replace(sarsa=True)
    got = qtable.target(A_NEXT, B_NEXT, True, False, rule, 0.3)
    assert pytest.approx(got, abs=1e-12) == 0.1 * 0.25 + 0.8 * 0.3 + 0.1 * 0.275


def _problem(seed):
    tape, plan = cases_learning.tape(np.random.default_rng(seed), episodes=30)
    return tape, plan._replace(weight=np.ones(30))


def test_mirrored_tape_gives_the_same_table():
    """The mirrored market teaches the same cells the same values; BUY and SELL change places when served."""
    tape, plan = _problem(4)
    image = Tape(
        np.array([[states.mirror_code(c) if c >= 0 else -1 for c in row] for row in tape.code.tolist()]),
        -tape.orient,
        -tape.ret,
        tape.sigma,
    )
    tables = []
    for seen, side in ((tape, 1), (image, -1)):
        Q, N = np.zeros((2, STATES, 7)), np.zeros((2, STATES, 7))
        qtable.train(Q, N, FRAME, seen, plan._replace(side=side * plan.side), RULE._replace(fee=1e-5))
        tables.append((Q, N))
    np.testing.assert_array_equal(tables[0][0], tables[1][0])
    codes = np.arange(CODES)
    mirrored = np.array([states.mirror_code(c) for c in codes])
    there, act = qtable.serve(*tables[0], FRAME, codes * 3 + 1)
    back, tca = qtable.serve(*tables[1], FRAME, mirrored * 3 + 1)
    np.testing.assert_array_equal(there[:, [BUY, SELL, HOLD]], back[:, [SELL, BUY, HOLD]])
    np.testing.assert_array_equal(np.array([SELL, BUY, HOLD])[act], tca)
    assert {BUY, SELL, HOLD} == set(act.tolist())


@numba.njit  # 400,000 steps in plain Python take ten seconds
def _live(Q, N, process, choices, rule, epsilon):
    """Let the table learn along one path through a process (cumulated odds, rewards)."""
    odds, reward = process
    coins, actions, jumps = choices
    s = 0
    for t in range(len(coins)):
        a, table = actions[t], int(coins[t])
        then = min(np.searchsorted(odds[s, a], jumps[t]), len(odds) - 1)
        ahead = qtable.target(Q[table, then], Q[1 - table, then], True, False, rule, epsilon)
        qtable.learn(Q, N, (table, s, a), reward[s, a] + rule.gamma * ahead, rule)
        s = then


@pytest.mark.parametrize(("sarsa", "epsilon"), [(False, 0.0), (True, 0.0), (True, 0.3)])
def test_value_iteration_on_twelve_states(sarsa, epsilon):
    """With α ∝ 1/visits both updates find a random 12-state process' values to 0.02.

    Double Q-learning and Expected SARSA of the greedy policy find the best policy's, Expected SARSA of an
    exploring one those of the best policy that explores as much.
    """
    draws = np.random.default_rng(5)
    gamma, count = 0.8, 12
    follow = draws.dirichlet(np.full(count, 0.3), (count, 3))
    reward = draws.uniform(-1, 1, (count, 3))
    exact = np.zeros((count, 3))
    for _ in range(400):
        ahead = epsilon * exact.mean(axis=1) + (1.0 - epsilon) * exact.max(axis=1)
        exact = reward + gamma * follow @ ahead
    Q, N = np.zeros((2, count, 7)), np.zeros((2, count, 7))
    rule = RULE._replace(gamma=gamma, floor=0.0, gain=1.0 / (1.0 - gamma), sarsa=sarsa)
    steps = 400_000
    choices = draws.random(steps) < 0.5, draws.integers(0, 3, steps), draws.random(steps)
    _live(Q, N, (follow.cumsum(axis=2), reward), choices, rule, epsilon)
    assert abs(Q.mean(axis=0)[:, :3] - exact).max() <= 0.02


def test_states_tie_in_mirror_pairs():
    """1,875 states use 940 rows; a pair shares one, and only flat centre states mirror themselves."""
    assert (STATES, states.ROWS_USED) == (1875, 940)
    own = np.flatnonzero(KIND == states.OWN_MIRROR)
    assert [((2 * 5 + 2) * 5 + 2) * 5 + v for v in range(5)] == (own // 3).tolist()
    assert {1} == set((own % 3).tolist())


def test_the_code_of_a_bar_is_its_bins_as_digits():
    """Trend, momentum, RSI with edges at ±0.25 and ±0.65, volatility in fifths (agents.md §5); no code without all."""
    odd = {-1.0: 0, -0.66: 0, -0.64: 1, -0.26: 1, -0.24: 2, 0.24: 2, 0.26: 3, 0.64: 3, 0.66: 4, 1.0: 4}
    even = {0.01: 0, 0.19: 0, 0.21: 1, 0.39: 1, 0.41: 2, 0.59: 2, 0.61: 3, 0.79: 3, 0.81: 4, 1.0: 4}
    for place, bins in enumerate((odd, odd, odd, even)):
        inputs = [np.full(len(bins), value) for value in (0.0, -0.3, 0.7, 0.5)]  # 2 1 4 2
        inputs[place] = np.array(list(bins))
        digits = [[2, 1, 4, 2] for _ in bins]
        for row, found in zip(digits, bins.values(), strict=True):
            row[place] = found
        assert states.codes(*inputs).tolist() == [int("".join(map(str, row)), 5) for row in digits]
        inputs[place][0] = np.nan
        assert states.codes(*inputs)[0] == states.NONE


def test_a_state_uses_the_row_of_the_smaller_of_itself_and_its_mirror():
    """Every state, by its digits: three bins and the position turned round, volatility kept."""
    digits = list(itertools.product(range(5), range(5), range(5), range(5), range(3)))
    number = {each: place for place, each in enumerate(digits)}
    for (trend, momentum, strength, volatility, side), s in number.items():
        image = number[4 - trend, 4 - momentum, 4 - strength, volatility, 2 - side]
        kind = states.OWN_MIRROR if image == s else states.SAME if s < image else states.MIRRORED
        assert (ROW[s], KIND[s]) == (min(s, image), kind)


def test_bins_are_odd_and_even():
    """Reversing trend, momentum and RSI gives the mirror code; volatility stays; NaN has no code."""
    draws = np.random.default_rng(6)
    odd = draws.uniform(-1, 1, (3, 500))
    level = draws.uniform(0, 1, 500)
    there = states.codes(*odd, level)
    back = states.codes(*-odd, level)
    assert [states.mirror_code(c) for c in there.tolist()] == back.tolist()
    assert states.codes(np.array([np.nan]), *odd[1:, :1], level[:1])[0] == states.NONE


def test_unvisited_states_say_nothing():
    """A state never visited is NaN and holds."""
    values, action = qtable.serve(
        np.zeros((2, STATES, 7)), np.zeros((2, STATES, 7)), FRAME, np.array([5, -1])
    )
    assert np.isnan(values).all()
    assert action.tolist() == [HOLD, HOLD]


@pytest.mark.parametrize("d", [-1, 0, 1])
def test_masks_allow_only_actions_of_the_position(d):
    """Training never touches a cell that the position does not allow."""
    tape, plan = _problem(8)
    Q, N = np.zeros((2, STATES, 7)), np.zeros((2, STATES, 7))
    qtable.train(Q, N, FRAME, tape, plan, RULE)
    rows = ROW[np.arange(CODES) * 3 + d + 1]
    visits = N[:, rows].sum(axis=(0, 1))
    forbidden = [3, 4, 5, 6] if d == 0 else [0, 1]
    assert visits[forbidden].sum() == 0.0
    assert visits.sum() > 0.0
