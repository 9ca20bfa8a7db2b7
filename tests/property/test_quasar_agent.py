"""QUASAR beyond the common properties: it learns what is there, converges, replays, blends."""

from __future__ import annotations

import functools
import math

import msgspec
import numpy as np
import pytest
from tests.property import agent_properties as check
from tests.property import markets

from qts_agents.agent import UNTRAINED
from qts_agents.columns import array, column
from qts_agents.kernels.indicators import indicators
from qts_agents.quasar import bars, blend
from qts_agents.quasar.agent import Quasar
from qts_agents.quasar.features import NAMES, ODD, features
from qts_agents.quasar.learner import HOLD_OUT, Learner
from qts_agents.quasar.model import Logistic
from qts_agents.quasar.qar import FactorPool, prior_weights
from qts_agents.quasar.states import STATES, codes, orientation
from qts_agents.quasar.tape import BARS
from qts_core.sections import QuasarSettings
from qts_core.spec import SYSTEM
from qts_messaging.messages import SystemCommand

BUY, SELL, HOLD, INCREASE, DECREASE, HEDGE, EXIT = range(7)
EAGER = QuasarSettings(convergence=10.0)  # converged as soon as the policy stands still


def live(agent, tape, first, last):
    """Give the agent the bars first … last−1; return what it sent."""
    sent = []
    for t in range(first, last):
        sent += agent.on_bars(markets.update(tape, t), markets.window(tape, t), markets.now(t))
    return sent


@functools.cache
def _converged():
    """Return the saved state of an agent whose table votes, and its market, at bar 1,100."""
    tape = markets.eurusd(800, 1300)
    agent = Quasar(SYSTEM(quasar=EAGER))
    live(agent, tape, 320, 1101)
    assert agent.converged
    return agent.save(), tape


def _restored():
    state, tape = _converged()
    agent = Quasar(SYSTEM(quasar=EAGER))
    agent.load(state)
    return agent, tape


def _walk(seed, count):
    """Return a market without memory: odd and even state inputs, and the return that follows each."""
    draws = np.random.default_rng(seed)
    sigma = 0.001
    return (
        draws.uniform(-1, 1, (3, count)),
        draws.uniform(0, 1, count),
        sigma * draws.normal(size=count),
        sigma,
    )


def learnt(oracle, settings, seed=5, count=1600):
    """Let a learner see `count` bars; with `oracle` the third state input is the next return."""
    odd, even, ret, sigma = _walk(seed, count + 1)
    if oracle:
        odd[2, :-1] = np.tanh(ret[1:] / sigma)
    learner = Learner(settings, (seed, 0))
    for t in range(count):
        code = codes(*odd[:, t : t + 1], even[t : t + 1])
        side = orientation(odd[0, t : t + 1], odd[2, t : t + 1], ret[t : t + 1])
        learner.on_bar(("X",), (code, side, ret[t : t + 1], np.array([sigma])), 5e-5)
    return learner


def _earned(learner, fee=5e-5):
    """Return the mean profit a bar, after costs, of the greedy policy on the held-out bars."""
    x, total, count = 0.0, 0.0, 0
    for t in range(BARS - HOLD_OUT, BARS - 1):
        _, action = learner.serve(learner.history.code[:, t] * 3 + int(np.sign(x)) + 1)
        a = int(action[0])
        after = {BUY: 1.0, SELL: -1.0, INCREASE: max(-2.0, min(2.0, 1.5 * x)), EXIT: 0.0}.get(a, x)
        after = 0.5 * x if a in (DECREASE, HEDGE) else after
        total += after * learner.history.ret[0, t] - fee * abs(after - x)
        x, count = after, count + 1
    return total / count


def test_oracle_earns():
    """With the next return in the state the policy earns after costs on bars it was not trained on."""
    learner = learnt(True, QuasarSettings(convergence=1e-12))
    assert learner.episodes > 1000
    assert _earned(learner) > 0.3 * 0.001


@functools.cache
def _euro_bars():
    """Return what the learner reads of 700 hours of EUR/USD, and the return that follows each in σ₂₀."""
    tape = markets.eurusd(0, 1020)
    seen = [(view := markets.window(tape, t, length=321), indicators(view)) for t in range(319, 1019)]
    ahead = np.diff(np.log(tape.close[0]))[319:1019] / np.array([ind.sigma20[0] for _, ind in seen])
    return tape.symbols, seen, ahead


def _lived(order, train=True):
    """Let a table live EUR/USD with the returns to come in place of RSI, in the `order` [700] of their bars."""
    symbols, seen, ahead = _euro_bars()
    learner = Learner(QuasarSettings(convergence=1e-12), (7, 0))  # never replays the held-out bars
    if not train:
        learner._train = lambda tape, plan, rule: (0.0, 0, np.zeros(len(plan.start)))
    for (view, ind), shown in zip(seen, ahead[order], strict=True):
        told = msgspec.structs.replace(ind, rsi=50.0 + 50.0 * np.tanh(np.array([shown])))
        learner.on_bar(symbols, bars.record(view, told, learner.form.code(told)), 5e-5)
    return learner


def test_the_table_alone_finds_an_oracle_in_a_real_market():
    """No model, no factors: what stands in the state in place of RSI is found, and pays fee and half the spread.

    The same numbers in another order pay nothing, and neither does a table that is not trained.
    """
    whole = np.arange(700)
    found = _earned(_lived(whole))
    assert found > 1e-4, "an hour moves by some 7e-4"
    draws = np.random.default_rng(8)
    shuffled = np.array([_earned(_lived(draws.permutation(whole))) for _ in range(8)])
    assert shuffled.std(ddof=1) > 0.0
    assert shuffled.mean() / (shuffled.std(ddof=1) / math.sqrt(len(shuffled))) < 1.895
    assert shuffled.max() < found
    assert _earned(_lived(whole, train=False)) == 0.0


def test_without_information_the_held_out_bars_pay_nothing():
    """On a walk without memory the held-out profit of several runs is not above zero at the 5 % level."""
    gains = np.array([_earned(learnt(False, QuasarSettings(), seed, 700)) for seed in range(8)])
    assert gains.std(ddof=1) > 0.0
    assert gains.mean() / (gains.std(ddof=1) / math.sqrt(len(gains))) < 1.895


def test_convergence_is_measured_not_assumed():
    """Before the criteria hold qstar is masked; where they cannot hold it stays so; episodes stop after."""
    never = learnt(False, QuasarSettings(convergence=1e-12), count=700)
    assert not never.converged
    eager = learnt(False, QuasarSettings(convergence=10.0), count=1600)
    assert eager.converged
    assert eager.change < 10.0
    assert eager.agreement >= 0.99
    assert eager.episodes < never._settings.episodes_per_bar * (1600 - 256)


def test_real_backfill_converges():
    """On the 2,075 bars that EUR/USD backfills, the default criteria are met before the first decision."""
    tape = markets.eurusd(0, 2075)
    learner = Learner(QuasarSettings(), (0, 0))
    for t in range(319, 2075):
        view = markets.window(tape, t, length=321)
        learner.on_bar(
            tape.symbols, bars.record(view, indicators(view), learner.form.code(indicators(view))), 5e-5
        )
    assert learner.converged
    assert learner.change < 0.01
    assert 0.1 < learner.visited() < 0.5


def test_held_out_bars_are_not_trained_on():
    """A return that only the last 64 transitions hold changes no value while the table is trained."""
    odd, even, ret, sigma = _walk(4, 256)
    tables = []
    for scale in (1.0, 50.0):
        seen = ret.copy()
        seen[-HOLD_OUT + 2 :] *= scale
        learner = Learner(QuasarSettings(), (4, 0))
        for t in range(256):
            code = codes(*odd[:, t : t + 1], even[t : t + 1])
            learner.on_bar(("X",), (code, np.ones(1, np.int8), seen[t : t + 1], np.array([sigma])), 5e-5)
        tables.append(learner.Q)
    assert abs(tables[0]).max() > 0.0
    np.testing.assert_array_equal(tables[0], tables[1])


def test_no_exploration_when_serving():
    """A table that would explore at every step of training serves what one that never does serves."""
    state, tape = _converged()
    said = []
    for explore in (0.0, 1.0):
        settings = msgspec.structs.replace(EAGER, exploration_floor=explore, exploration_decay=1.0)
        agent = Quasar(SYSTEM(quasar=settings))
        agent.load(state)
        before = agent._state.learner.Q.copy()
        asked = [markets.ask(agent, tape, t, d) for t in range(1060, 1100) for d in (-1.0, 0.0, 1.0)]
        said.append([(opinion.p, opinion.action) for opinion in asked])
        np.testing.assert_array_equal(before, agent._state.learner.Q)
    assert said[0] == said[1]
    assert len({action.data for _, action in said[0]}) > 1


def test_serving_is_greedy_on_the_mean_of_both_tables():
    """In every visited state the action served has the largest (A+B)/2 of those allowed, or ties with HOLD."""
    learner = _restored()[0]._state.learner
    values, action = learner.serve(np.arange(STATES))
    position = np.arange(STATES) % 3 - 1
    allowed = np.zeros((STATES, 7), dtype=bool)
    allowed[position == 0, :3] = allowed[position != 0, 2:] = True
    best = np.where(allowed, values, -np.inf).max(axis=1)
    known = np.isfinite(values).all(axis=1)
    taken = values[np.arange(STATES), action]
    ties = (np.where(allowed, values, -np.inf) == best[:, None]).sum(axis=1) > 1
    assert known.sum() > 100
    assert ((taken == best) | (ties & (action == HOLD)))[known].all()


@pytest.mark.parametrize("d", [-1.0, 0.0, 1.0])
def test_mirror_with_a_table_that_votes(d):
    """After 780 bars on the inverted market, qstar included, the answer is the inverted one."""
    _, tape = _converged()
    agent, image = _restored()[0], Quasar(SYSTEM(quasar=EAGER))
    flipped = markets.mirrored(tape)
    live(image, flipped, 320, 1101)
    assert image.converged
    for t in (1098, 1099, 1100):
        a, b = markets.ask(agent, tape, t, d), markets.ask(image, flipped, t, -d)
        np.testing.assert_allclose(array(a.p), array(b.p)[:, ::-1], rtol=0, atol=1e-9)
        swap = {BUY: SELL, SELL: BUY}
        assert array(a.action).tolist() == [swap.get(x, x) for x in array(b.action).tolist()]
    signals = array(a.contrib)[0, :2], array(b.contrib)[0, :2]
    assert np.isfinite(signals[0]).all()
    np.testing.assert_allclose(signals[0], -signals[1], rtol=0, atol=1e-6)


def test_batch_is_loop_with_a_table_that_votes():
    """Rows served in one call equal rows served alone, to the bit, with the table voting."""
    agent, _ = _restored()
    tape = markets.synthetic(9, symbols=5)
    known, d = markets.whole_market(tape), np.array([1.0, 0.0, -1.0, 0.0, 1.0])
    moment = {"market_ret": known}
    batch = markets.ask(agent, tape, 600, d, **moment)
    for row in range(5):
        single = markets.ask(agent, tape.pick([row]), 600, d[[row]], **moment)
        assert array(single.p)[0].tobytes() == array(batch.p)[row].tobytes()
        assert array(single.action)[0] == array(batch.action)[row]


def test_state_survives_with_monitors_and_replay():
    """A restored agent goes on exactly like the saved one: table, trees, detectors, draws."""
    one, tape = _restored()
    two = Quasar(SYSTEM(quasar=EAGER))
    two.load(one.save())
    for agent in (one, two):
        live(agent, tape, 1101, 1180)
    assert one.save() == two.save()
    assert check.same(markets.ask(one, tape, 1180), markets.ask(two, tape, 1180))


def test_a_snapshot_of_many_bars_equals_bars_one_by_one():
    """Joining late with K bars at once teaches what the bars themselves would have taught."""
    tape = markets.synthetic(14, symbols=2, quotes=False)
    slow, fast = Quasar(SYSTEM()), Quasar(SYSTEM())
    for t in range(420, 510):
        slow.on_bars(markets.update(tape, t), markets.window(tape, t), markets.now(509))
    whole = msgspec.structs.replace(
        markets.update(tape, 509), kind="snapshot", close_ns=column(np.zeros(90), "i8")
    )
    fast.on_bars(whole, markets.window(tape, 509), markets.now(509))
    assert slow.save() == fast.save()


def test_bars_seen_before_teach_nothing():
    """The same update again, or an older one, changes nothing but the time of the last bar."""
    tape, agent = markets.synthetic(15), Quasar(SYSTEM())
    live(agent, tape, 400, 420)
    before = agent.save()
    for t in (419, 410):
        agent.on_bars(markets.update(tape, t), markets.window(tape, t), markets.now(419))
    assert before == agent.save()


def test_reset_and_a_new_epoch_forget():
    """A reset, or bars of a new epoch, start from nothing; nothing learned from the future is used."""
    tape = markets.synthetic(16)
    agent = Quasar(SYSTEM())
    live(agent, tape, 400, 440)
    kept = agent.save()
    agent.on_message(SystemCommand("drain"), 0)
    assert agent.save() == kept
    agent.on_message(SystemCommand("reset", {"epoch": "0"}), 0)
    assert agent.save() == Quasar(SYSTEM()).save()
    live(agent, tape, 400, 440)
    view = msgspec.structs.replace(markets.window(tape, 340), epoch=1)
    agent.on_bars(msgspec.structs.replace(markets.update(tape, 340), epoch=1), view, 0)
    assert agent._state.learner.history.count == 1


def test_features_are_odd_even_and_causal():
    """Eight features change sign in the inverted market, two stay; later bars change none."""
    tape = markets.synthetic(17)
    there = features(indicators(markets.window(tape, 600)))
    back = features(indicators(markets.window(markets.mirrored(tape), 600)))
    sign = np.where(np.arange(len(NAMES)) < len(ODD), -1.0, 1.0)
    np.testing.assert_allclose(there, back * sign, rtol=0, atol=1e-9)
    changed = tape._replace(close=np.where(np.arange(700) > 600, 9.0, tape.close))
    np.testing.assert_array_equal(there, features(indicators(markets.window(changed, 600))))


def test_model_learns_and_mirrors():
    """Logistic regression finds an odd rule, stays mirror-symmetric, and speaks only after 50 rows."""
    draws = np.random.default_rng(2)
    model = Logistic(0.02)
    for n in range(3000):
        x = draws.normal(size=10)
        model.learn(x[None], np.array([0 if x[3] > 0.4 else 2 if x[3] < -0.4 else 1]))
        assert model.ready == (n + 1 >= 50)
    x = draws.normal(size=(200, 10))
    p = model.predict(x)
    image = model.predict(x * np.where(np.arange(10) < 8, -1.0, 1.0))
    np.testing.assert_allclose(p, image[:, ::-1], rtol=0, atol=1e-15)
    strong = abs(x[:, 3]) > 1.0
    assert (np.argmax(p[strong], axis=1) == np.where(x[strong, 3] > 0, 0, 2)).mean() > 0.95


def test_factor_pool_learns_the_expert_that_is_right():
    """Hedge moves weight to the odd expert that names the outcome; absent experts keep theirs."""
    pool = FactorPool(QuasarSettings())
    draws = np.random.default_rng(3)
    for _ in range(300):
        b = np.concatenate((draws.uniform(-1, 1, 7), [np.nan]))
        b[[1, 4]] = abs(b[[1, 4]])
        pool.learn(b[None], np.array([0 if b[0] > 0.3 else 2 if b[0] < -0.3 else 1]))
    assert int(np.argmax(pool.weights)) == 0
    assert pool.weights[0] > 0.5
    assert pool.weights.sum() == pytest.approx(1.0)
    assert pool.weights[7] > 0.5 * prior_weights()[7]


def test_phase_shifts_the_pool_and_leaves_the_weights():
    """A phase multiplies the experts' weights while it lasts."""
    pool = FactorPool(QuasarSettings())
    b = np.array([[0.9, 0.1, 0.2, -0.1, 0.1, -0.1, -0.8, 0.0]])
    growth, release = pool.pool(b, "growth")[0], pool.pool(b, "release")[0]
    assert growth[0] - growth[2] > release[0] - release[2]
    np.testing.assert_array_equal(pool.weights, prior_weights())
    assert np.isnan(pool.pool(np.full((1, 8), np.nan), "growth")).all()


def test_blend_weights():
    """Base 0.4, 0.4, 0.2; anomaly, drift and phases shift them; none falls under 0.05 before scaling."""
    off, on = np.array([False]), np.array([True])
    np.testing.assert_allclose(blend.weights("unknown", off, off), [[0.4, 0.4, 0.2]])
    np.testing.assert_allclose(blend.weights("growth", off, off), [[0.35, 0.35, 0.3]])
    np.testing.assert_allclose(blend.weights("reorganization", off, off), [[1 / 3] * 3])
    np.testing.assert_allclose(blend.weights("unknown", on, off), [[0.3, 0.6, 0.1]])
    np.testing.assert_allclose(blend.weights("unknown", off, on), [[0.6, 0.3, 0.1]])
    both = np.array([0.5, 0.5, 0.05])
    np.testing.assert_allclose(blend.weights("unknown", on, on), [both / both.sum()])


def test_entries_need_the_direction_of_the_blend():
    """BUY, SELL and INCREASE under the threshold, or against the blend, hold; reducing is free."""
    x = np.array([[0.42, 0.3, 0.28], [0.38, 0.34, 0.28], [0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.2, 0.3, 0.5]])
    greedy = np.array([BUY, BUY, BUY, EXIT, INCREASE], dtype=np.int8)
    d = np.array([0.0, 0.0, 0.0, 1.0, -1.0])
    known = np.ones(5, dtype=bool)
    assert blend.propose(x, greedy, known, d, 0.6).tolist() == [BUY, HOLD, HOLD, EXIT, INCREASE]
    assert blend.propose(x, greedy, ~known, d, 0.6).tolist() == [BUY, HOLD, SELL, EXIT, INCREASE]
    assert blend.threshold_of(0.6, 1.0) == 0.6
    assert blend.threshold_of(0.6, 0.25) == 0.9


def test_nothing_to_say_is_untrained(monkeypatch):
    """With table, factors and model masked the row abstains as UNTRAINED."""
    monkeypatch.setattr(
        "qts_agents.quasar.qar.FactorPool.pool", lambda self, b, phase: np.full((len(b), 3), np.nan)
    )
    opinion = markets.ask(Quasar(SYSTEM()), markets.synthetic(18), 600)
    assert array(opinion.abstain).tolist() == [UNTRAINED] * 3


def test_backend_is_classical_whatever_the_switch():
    """No circuit speaks that has won nothing yet, and none is claimed."""
    for switch in (True, False):
        opinion = markets.ask(Quasar(SYSTEM(quantum_circuits=switch)), markets.synthetic(18), 600)
        assert (opinion.backend, opinion.qubits) == ("classical", 0)


def test_one_table_for_all_symbols():
    """Two symbols fill one table; a gap in one leaves the other's transitions alone."""
    tape = markets.synthetic(21, symbols=2, bars=900)
    agent = Quasar(SYSTEM())
    live(agent, tape, 330, 700)
    learner = agent._state.learner
    assert learner.history.symbols == tape.symbols
    assert learner.episodes > 0
    assert np.isfinite(learner.Q).all()
