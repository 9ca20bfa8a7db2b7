"""Quantum AMOS beyond the common properties: intention, readout backends, learning, desire, its alert."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.property import agent_properties as check
from tests.property import markets

from qts_agents.agent import TOO_FEW_COMPONENTS
from qts_agents.amos import beliefs, intention, learning, society
from qts_agents.amos.agent import Amos
from qts_agents.amos.beliefs import ODD
from qts_agents.columns import array, column
from qts_agents.kernels import online
from qts_agents.kernels.factors import factors
from qts_agents.kernels.indicators import indicators
from qts_core.sections import AmosSettings
from qts_core.spec import SYSTEM
from qts_messaging.messages import RiskAlert, SystemCommand

TAPE = markets.synthetic(11)
T = 600
HOLD = 2


def _taught():
    """Return an agent that has lived 60 bars, asked six times and learned from three outcomes."""
    agent = Amos(SYSTEM())
    markets.train(agent, TAPE, T - 60, T)
    return agent


@pytest.mark.parametrize("d", [-1.0, 0.0, 1.0])
def test_mirror_after_learning(d):
    """The inverted market, lived through, inverts belief weights' use, desire and habit alike."""
    check.check_mirror(lambda: Amos(SYSTEM()), TAPE, T, trained_from=T - 60, d=d)
    assert _taught()._state.desire
    assert _taught()._state.habit


def test_asking_twice_gives_the_same_answer():
    """Answering changes nothing that the next answer about the same bar depends on."""
    agent = _taught()
    first, second = (markets.ask(agent, TAPE, T, 1.0, round_id=r) for r in ("a", "b"))
    assert first.p == second.p
    assert first.action == second.action


def test_intention_becomes_habit_at_the_next_bar():
    """What was intended last enters the next bar's intention by 0.15, and not the same bar's."""
    agent = Amos(SYSTEM())
    names = agent.contrib_names
    before = array(markets.ask(agent, TAPE, T).contrib)
    agent.on_bars(markets.update(TAPE, T), markets.window(TAPE, T), markets.now(T))
    after = array(markets.ask(agent, TAPE, T).contrib)
    habit, intent = names.index("habit"), names.index("intention")
    assert before[:, habit].tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(after[:, habit], before[:, intent], rtol=1e-6)
    assert (np.sign(after[:, intent] - before[:, intent]) == np.sign(before[:, intent])).all()


def test_reset_forgets():
    """A reset leaves a fresh agent."""
    agent = _taught()
    agent.on_message(SystemCommand("reset"), 0)
    assert agent.save() == Amos(SYSTEM()).save()


@pytest.mark.parametrize("d", [-1.0, 0.0, 1.0])
def test_circuit_switch_changes_only_the_backend(d):
    """quantum_circuits false answers by the closed form, equal to 1e-12, and says classical."""
    on, off = (markets.ask(Amos(SYSTEM(quantum_circuits=q)), TAPE, T, d) for q in (True, False))
    np.testing.assert_allclose(array(on.p), array(off.p), rtol=0, atol=1e-12)
    assert on.action == off.action
    assert [(o.backend, o.qubits) for o in (on, off)] == [("simulated-quantum", 3), ("classical", 0)]


def test_shots_follow_the_seed():
    """Sampled readouts repeat with the seed, differ with another, mirror, and say how many shots."""
    sampled = AmosSettings(shots=1024)
    one, two, other = (Amos(SYSTEM(quantum_amos=sampled, system_seed=s)) for s in (1, 1, 2))
    opinion = markets.ask(one, TAPE, T)
    p = array(opinion.p)
    np.testing.assert_array_equal(p, array(markets.ask(two, TAPE, T).p))
    assert (p != array(markets.ask(other, TAPE, T).p)).any()
    np.testing.assert_allclose(
        p, array(markets.ask(two, markets.mirrored(TAPE), T).p)[:, ::-1], rtol=0, atol=1e-12
    )
    assert opinion.shots == 1024


def test_intention_vector():
    """The specification's intention: belief .3, win probability .6, desire .05, habit .2."""
    term = beliefs.prospect_term(np.array([0.6]))
    assert term[0] == pytest.approx(0.1194807730, abs=5e-11)
    one = (np.array([0.3]), term, np.array([0.05]), np.array([0.2]))
    got = intention.intention(one, AmosSettings(), "growth", np.array([0.8]), 1.0)
    assert got[0] == pytest.approx(0.3811871057, abs=5e-11)


def test_win_probability_is_odd_about_a_half():
    """Φ of the shrunk mean: ½ without mean or variance, mirrored means add to 1, a known value."""
    m, s = np.array([0.0, 1e-4, -1e-4, 1e-4]), np.array([0.001, 0.001, 0.001, 0.0])
    p = beliefs.win_probability(m, s, 30)
    z = 0.1 * 0.5 * math.sqrt(30)  # t = 1 halves the mean
    assert [p[0], p[3]] == [0.5, 0.5]
    assert p[1] == pytest.approx(0.5 * math.erfc(-z / math.sqrt(2)))
    assert p[1] + p[2] == pytest.approx(1.0)


def test_belief_shares_the_weight_of_the_absent():
    """Only present factors count, and their weights are renormalised."""
    b = np.array([[0.5, -0.2, 0.9, 0.0, 0.0]])
    present = np.array([[True, True, False, False, False]])
    w = np.array([0.3, 0.1, 0.2, 0.2, 0.2])
    assert beliefs.belief(b, present, w)[0] == pytest.approx((0.3 * 0.5 - 0.1 * 0.2) / 0.4)


def test_too_few_factors_abstain(monkeypatch):
    """A row with fewer than three odd factors abstains with its reason; three are enough."""

    def sparse(window, ind):
        found = factors(window, ind)
        present = found.present.copy()
        present[0, list(ODD[2:])] = False
        present[1, list(ODD[3:])] = False
        return msgspec.structs.replace(found, present=present)

    monkeypatch.setattr("qts_agents.amos.agent.factors", sparse)
    opinion = markets.ask(Amos(SYSTEM()), TAPE, T)
    assert array(opinion.abstain).tolist() == [TOO_FEW_COMPONENTS, 0, 0]
    assert np.isnan(array(opinion.p)).any(axis=1).tolist() == [True, False, False]


def test_belief_weights_begin_on_the_simplex():
    """§6: in the proportions of §5, and with the sum that each lesson projects them to."""
    base = np.array([0.60, 0.55, 0.45, 0.40, 0.50])
    np.testing.assert_allclose(beliefs.base_weights(), base / base.sum(), rtol=1e-15)


def test_a_market_without_variance_surprises_by_the_belief_alone():
    """§1.4: a ratio with zero variance is 0, so e = −B whatever the return was."""
    ret, sigma_h = np.array([0.5, 0.0, -0.5, 0.02]), np.array([0.0, 0.0, 0.0, 0.04])
    e = learning.surprise(ret, sigma_h, np.full(4, 0.3))
    np.testing.assert_allclose(e, [-0.3, -0.3, -0.3, math.tanh(0.5) - 0.3], rtol=1e-15)


def test_hazard_renormalises():
    """A missing illiquidity gives its weight to tail and volatility."""
    tail, volatility = np.array([0.4]), np.array([0.6])
    assert beliefs.hazard(tail, volatility, np.array([np.nan]))[0] == pytest.approx((0.2 + 0.18) / 0.8)
    assert beliefs.hazard(tail, volatility, np.array([1.0]))[0] == pytest.approx(0.2 + 0.18 + 0.2)


def test_costs_still_the_intention():
    """Situation is 1 − (spread/2 + fee)/(σ₁₀₀√h), at least 0."""
    view = markets.window(markets.synthetic(11, quotes=False), T)
    ind = indicators(view)
    for fee, spread in ((2e-5, 6e-5), (0.001, 0.0005), (0.05, 0.05)):
        dear = msgspec.structs.replace(view, fee=fee, spread_assumed=spread)
        held = beliefs.form(dear, ind, factors(dear, ind), beliefs.base_weights(), 30)
        expected = np.maximum(0.0, 1.0 - (spread / 2 + fee) / (ind.sigma100 * math.sqrt(30)))
        np.testing.assert_allclose(held.situation, expected, rtol=1e-12)
    assert held.situation.tolist() == [0.0, 0.0, 0.0]


@settings(max_examples=200, deadline=None)
@given(arrays(np.float64, 5, elements=st.floats(-3, 3)), arrays(np.float64, 5, elements=st.floats(0, 1)))
def test_simplex_projection_is_nearest(v, other):
    """The projection lies on the simplex, and no other point of it is nearer."""
    w = online.simplex(v)
    assert w.sum() == pytest.approx(1.0, abs=1e-12)
    assert (w >= 0.0).all()
    rival = other / other.sum() if other.sum() > 1e-9 else np.full(5, 0.2)
    assert np.linalg.norm(v - w) <= np.linalg.norm(v - rival) + 1e-12


def test_weights_find_the_factor_that_pays():
    """Normalised LMS moves the weight to the one factor that outcomes follow."""
    draws = np.random.default_rng(3)
    w = beliefs.base_weights()
    for _ in range(3000):
        b = draws.uniform(-1, 1, 5)
        w = online.nlms_rows(w, b, b[4] - float(w @ b), 0.02)
    assert w[4] > 0.9


def test_nlms_step_by_hand():
    """One step before projection: w + 0.02·e·b/(0.1 + ‖b‖²)."""
    b, w = np.array([0.4, -0.2, 0.0, 0.0, 0.2]), np.full(5, 0.2)
    step = 0.02 * 0.5 * b / (0.1 + 0.24)
    expected = w + step - step.sum() / 5  # inside the simplex the projection removes the mean excess
    np.testing.assert_allclose(online.nlms_rows(w, b, 0.5, 0.02), expected, rtol=0, atol=1e-15)


def test_desire_fades_by_half_in_fifty_bars():
    """Desire halves in 50 bars."""
    agent = Amos(SYSTEM())
    agent._state.desire = {"S0": 0.16}
    for t in range(T, T + 50):
        agent.on_bars(markets.update(TAPE, t), markets.window(TAPE, t), markets.now(t))
    assert agent._state.desire["S0"] == pytest.approx(0.08)


def test_desire_follows_surprise_within_its_limit():
    """Outcomes far better than believed raise desire by 0.01·e each, never above 0.2."""
    agent = Amos(SYSTEM())
    for n in range(60):
        markets.ask(agent, TAPE, T, round_id=f"round-{n}")
        told = markets.feedback(TAPE, T)
        agent.on_feedback(msgspec.structs.replace(told, round_id=f"round-{n}", ret=column([1.0] * 3)), 0)
        if n == 0:
            first = dict(agent._state.desire)
    belief = array(markets.ask(Amos(SYSTEM()), TAPE, T).contrib)[:, 0]
    np.testing.assert_allclose([first[s] for s in TAPE.symbols], 0.01 * (1.0 - belief), rtol=1e-5)
    assert all(0.1 < value <= 0.2 for value in agent._state.desire.values())


def test_drawdown_raises_the_norm_alert_once_a_level():
    """At 10, 16 and 20 % drawdown one alert each; severity is drawdown/0.20; at 20 % no side is taken."""
    agent, view = Amos(SYSTEM()), markets.window(TAPE, T)
    severities = []
    for equity in (0.95, 0.88, 0.87, 0.83, 0.79, 0.75, 0.99, 0.80):
        asked = markets.request(TAPE.symbols, T)
        position = msgspec.structs.replace(asked.position, equity=equity, peak_equity=1.0)
        opinion = agent.on_request(msgspec.structs.replace(asked, position=position), view, markets.now(T))
        for out in agent.on_bars(markets.update(TAPE, T), view, markets.now(T)):
            assert isinstance(out.message, RiskAlert)
            assert (out.message.alert_type, out.message.hop, out.to) == ("norm_breach", 0, "pads")
            severities.append(out.message.severity)
        if equity < 0.8:
            assert (array(opinion.action) == HOLD).all()
            np.testing.assert_allclose(array(opinion.p)[:, 0], array(opinion.p)[:, 2], rtol=0, atol=1e-12)
    assert severities == pytest.approx([0.6, 0.85, 1.0, 1.0])


TOGETHER = AmosSettings(society=4)


def test_one_variant_passes_unchanged():
    """A society of one is the readout itself, to the bit."""
    x = np.random.default_rng(1).dirichlet(np.ones(3), (5, 1))
    np.testing.assert_array_equal(society.co_operate(x, np.ones(1)), x[:, 0])
    held = np.random.default_rng(2).dirichlet(np.ones(7), (5, 1))
    np.testing.assert_array_equal(society.pooled_actions(held, np.ones(1)), held[:, 0])


def test_actions_are_pooled_of_those_who_are_awake():
    """Who sleeps takes no weight with it; what any of them holds for possible is, what none does is not."""
    asleep = [np.nan] * 3
    held = np.array([[[0.8, 0.2, 0.0], [0.2, 0.8, 0.0], asleep], [[0.5, 0.5, 0.0], asleep, asleep]])
    standing = np.array([0.5, 0.25, 0.25])
    mean = np.array([0.8 ** (2 / 3) * 0.2 ** (1 / 3), 0.2 ** (2 / 3) * 0.8 ** (1 / 3), 0.0])
    pooled = society.pooled_actions(held, standing)
    np.testing.assert_allclose(pooled, [mean / mean.sum(), [0.5, 0.5, 0.0]], rtol=1e-12)
    one_possible = np.array([[[0.9, 0.1, 0.0], [0.9, 0.0, 0.1]]])
    assert (society.pooled_actions(one_possible, np.array([0.5, 0.5])) > 0.0).all()


def test_a_society_pools_its_members_and_says_how_far_they_are_apart():
    """The pool is the geometric mean; equal members do not disagree; a sleeping one takes no part."""
    one, other = np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.3, 0.6])
    x = np.stack([[one, one, one, np.full(3, np.nan)], [one, other, one, other]])
    pooled = society.co_operate(x, np.full(4, 0.25))
    np.testing.assert_allclose(pooled[0], one, rtol=0, atol=1e-12)
    middle = np.sqrt(one * other)
    np.testing.assert_allclose(pooled[1], middle / middle.sum(), rtol=0, atol=1e-12)
    apart = society.disagreement(x, pooled)
    assert apart[0] == pytest.approx(0.0, abs=1e-12)
    assert apart[1] > 0.05


def test_competition_moves_weight_and_leaves_everyone_a_share():
    """Hedge, then 0.6·w + 0.1; the best variant leads, the worst keeps at least a tenth, sleepers keep theirs."""
    standing = np.full(4, 0.25)
    once = society.compete(standing, np.array([0.5, 0.25, 0.25, np.nan]), TOGETHER)
    raised = 0.25 * np.array([0.5**0.1, 0.25**0.1, 0.25**0.1])
    raised *= 0.75 / raised.sum()
    np.testing.assert_allclose(once, 0.6 * np.append(raised, 0.25) + 0.1, rtol=0, atol=1e-12)
    for _ in range(200):
        standing = society.compete(standing, np.array([0.9, 0.05, 0.05, 0.05]), TOGETHER)
    assert standing.argmax() == 0
    assert standing.sum() == pytest.approx(1.0)
    assert standing[1:].min() >= 0.1


def test_the_variants_are_what_their_names_say():
    """Mean reversion turns the trend around, risk aversion means less, the contrarian wakes at extremes."""
    agent, plain = Amos(SYSTEM(quantum_amos=TOGETHER)), Amos(SYSTEM())
    view, asked = markets.window(TAPE, T), markets.request(TAPE.symbols, T)
    for made in (agent, plain):
        made.on_request(asked, view, markets.now(T))
    said = array(next(iter(agent._state.pending._held.values())).variants)
    lean = said[:, :, 0] - said[:, :, 2]
    single = array(next(iter(plain._state.pending._held.values())).x)
    middle = single[:, 0] - single[:, 2]
    assert (np.sign(lean[:, 0]) == np.sign(middle)).all()
    assert (np.abs(lean[:, 2]) < np.abs(middle)).all()
    assert (lean[:, 1] != lean[:, 0]).all()
    rsi = indicators(view).rsi
    np.testing.assert_array_equal(np.isfinite(lean[:, 3]), (rsi < 30.0) | (rsi > 70.0))
    np.testing.assert_array_equal(
        society.awake(society.SOCIETY[3], np.array([29.0, 30.0, 50.0, 71.0])), [True, False, False, True]
    )


def test_outcomes_change_the_standing():
    """Feedback reaches the competition, and what is kept of it survives a restart."""
    agent = Amos(SYSTEM(quantum_amos=TOGETHER))
    markets.train(agent, TAPE, T - 60, T)
    standing = agent._state.standing
    assert standing.sum() == pytest.approx(1.0)
    assert len(set(standing.tolist())) > 1
    again = Amos(SYSTEM(quantum_amos=TOGETHER))
    again.load(agent.save())
    np.testing.assert_array_equal(again._state.standing, standing)
