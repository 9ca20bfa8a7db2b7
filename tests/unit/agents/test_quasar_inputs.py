"""What QUASAR reads of a bar, and what regression and table make of it: worked by hand (agents.md §5)."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from tests.property import markets

from qts_agents.agent import GAP
from qts_agents.columns import array, column
from qts_agents.kernels.indicators import indicators
from qts_agents.opinions import Reliability
from qts_agents.quasar import bars
from qts_agents.quasar.agent import Quasar
from qts_agents.quasar.features import features
from qts_agents.quasar.model import Logistic
from qts_agents.quasar.monitoring import Sign
from qts_agents.quasar.qar import FactorPool
from qts_core.spec import SYSTEM
from qts_messaging.messages import PhaseTransition, RiskAlert, SystemCommand


def test_features_are_those_of_the_design():
    """§5 by hand: an ordinary row, one that never moves, one whose return is unknown."""
    cells = {
        "r": [0.002, 0.0, np.nan],
        "m5": [0.001, 0.0, 0.001],
        "m10": [-0.001, 0.0, 0.001],
        "sma_gap": [0.004, 0.0, 0.004],
        "sigma20": [0.004, 0.0, 0.004],
        "trend": [0.3, 0.0, 0.3],
        "momentum": [-0.2, 0.0, 0.2],
        "rsi": [60.0, 50.0, 60.0],
        "macd": [0.7, 0.0, 0.7],
        "volatility": [0.8, 0.5, 0.8],
        "adx": [25.0, 0.0, 25.0],
    }
    ind = indicators(markets.window(markets.synthetic(17), 600))
    found = features(msgspec.structs.replace(ind, **{name: np.array(x) for name, x in cells.items()}))
    odd = [0.5, 0.25 * 5**0.5, -0.25 * 10**0.5, 0.3, -0.2, 1.0, 0.2, 0.7]
    np.testing.assert_allclose(found[0], [*odd, 0.8, 0.25], rtol=1e-12)
    assert found[1].tolist() == [0.0] * 8 + [0.5, 0.0]
    assert np.isnan(found[2]).tolist() == [True] + [False] * 9


def test_closed_bars_are_those_with_320_behind_them():
    """Oldest first, each as the window was then; what belongs to the last bar is unknown of those before."""
    tape = markets.synthetic(18)
    view = markets.window(tape, 400, length=325)
    seen = list(bars.closed(view, 100))
    assert [w.close.shape[1] for w in seen] == [320, 321, 322, 323, 324, 325]
    assert seen[-1] is view
    assert [w.window_seq - view.window_seq for w in seen] == [-5, -4, -3, -2, -1, 0]
    first = seen[0]
    assert first.asof_ns == view.close_ns[319] == first.close_ns[-1]
    assert np.isnan([first.spread, first.imbalance, first.depth]).all()
    assert first.market_ret.shape == (320,)
    np.testing.assert_array_equal(first.volume, view.volume[:, :320])
    assert [w.close.shape[1] for w in bars.closed(view, 2)] == [324, 325]
    assert not list(bars.closed(markets.window(tape, 400, length=319), 100))


def test_what_is_recorded_of_a_bar():
    """No code where it is missing or σ is unknown, no return across a missing one; one side of a trade costs half."""
    view = markets.window(markets.synthetic(18, symbols=4), 400, length=330)
    valid = view.valid.copy()
    valid[1, -2] = valid[2, -1] = 0
    view = msgspec.structs.replace(
        view, valid=valid, fee=0.001, spread_assumed=0.0005, spread=np.array([2e-4, np.nan, 2e-4, np.nan])
    )
    ind = indicators(view)
    ind = msgspec.structs.replace(ind, sigma20=np.where(np.arange(4) == 3, np.nan, ind.sigma20))
    code, _, ret, sigma = bars.record(view, ind, np.arange(4))
    assert code.tolist() == [0, 1, -1, -1]
    change = np.log(view.close[:, -1] / view.close[:, -2])
    np.testing.assert_array_equal(ret, [change[0], np.nan, np.nan, change[3]])
    np.testing.assert_array_equal(sigma, [*ind.sigma20[:3], 0.0])
    assert bars.half_cost(view) == pytest.approx(0.001 + 0.25 * (2e-4 + 5e-4))


def test_the_side_of_a_bar_is_the_first_thing_that_leans():
    """The trend; without one RSI above or below 50; at 50 the last return; up where nothing moves."""
    view = markets.window(markets.synthetic(18, symbols=5), 400)
    cells = {
        "trend": [-0.1, 0.0, 0.0, 0.0, 0.0],
        "rsi": [60.0, 60.0, 40.0, 50.0, 50.0],
        "r": [1.0, -1.0, 1.0, -1.0, 0.0],
    }
    ind = msgspec.structs.replace(indicators(view), **{name: np.array(x) for name, x in cells.items()})
    assert bars.record(view, ind, np.arange(5))[1].tolist() == [-1, 1, -1, -1, 1]


def test_the_forecast_of_regression_by_hand():
    """softmax of (e+o, 0, e−o): o from eight odd features, e from two even ones and a constant, each within ±5."""
    model = Logistic(0.02)
    model.weights[[0, 7, 8, 9, 10]] = 0.2, -0.1, 0.4, 0.3, -0.5
    x = np.zeros((3, 10))
    x[0, [0, 7, 8, 9]] = 1.0, 2.0, 0.5, 1.0
    x[1, [0, 9]] = 9.0, -7.0
    x[2, 4] = np.nan
    found = model.predict(x)
    for row, (odd, even) in enumerate(((0.0, 0.0), (1.0, -2.0))):
        z = np.exp([even + odd, 0.0, even - odd])
        assert found[row] == pytest.approx(z / z.sum(), rel=1e-12)
    assert np.isnan(found[2]).all()
    model.weights[0] = 1e3
    assert model.predict(x[:2])[1].tolist() == [1.0, 0.0, 0.0]


def test_what_the_table_says_of_a_state():
    """softmax((Q_BUY, Q_HOLD, Q_SELL)/0.5) at the flat state, its action at the true one; nothing before convergence."""
    agent, asked = Quasar(SYSTEM()), []
    learner, values = agent._state.learner, np.arange(14.0).reshape(2, 7) / 10.0
    values[1, 4] = np.nan

    def serve(states):
        asked.append(states.tolist())
        return values, np.array([5, 6], np.int8)

    learner.serve = serve
    code, d = np.array([7, 9]), np.array([-1.0, 1.0])
    assert np.isnan(agent._table(code)).all()
    assert agent._greedy(code, d)[1].tolist() == [False, False]
    learner.converged = True
    said = np.exp(np.array([0.0, 0.2, 0.1]) / 0.5)
    np.testing.assert_allclose(agent._table(code)[0], said / said.sum(), rtol=1e-12)
    greedy, known = agent._greedy(code, d)
    assert (greedy.tolist(), known.tolist()) == ([5, 6], [True, False])
    agent._greedy(np.array([7, -1]), d)
    assert asked == [[21, 29], [22, 28], [21, 29], [21, -1]]


def test_no_return_leads_over_bars_that_were_missed():
    """The bar after a hole in the sequence is recorded without the return to it; the next ones, also at once, with it."""
    agent, tape = Quasar(SYSTEM()), markets.synthetic(18, symbols=1)
    for t in (400, 401, 404, 405):
        agent.on_bars(markets.update(tape, t), markets.window(tape, t), markets.now(t))
    history = agent._state.learner.history
    assert (history.count, agent._state.seq) == (4, markets.window(tape, 405).window_seq)
    assert np.isfinite(history.ret[0, -4:]).tolist() == [True, False, True, False]
    both = msgspec.structs.replace(markets.update(tape, 407), close_ns=column(np.zeros(2), "i8"))
    agent.on_bars(both, markets.window(tape, 407), markets.now(407))
    assert np.isfinite(history.ret[0, -6:]).tolist() == [True, False, True, True, True, False]


@pytest.mark.parametrize("told", [True, False])
def test_a_new_epoch_is_begun_once(told):
    """Whether PADS tells of it first or its bars come: they are then learned from one after the other."""
    agent, tape = Quasar(SYSTEM()), markets.synthetic(18, symbols=1)
    agent.on_bars(markets.update(tape, 500), markets.window(tape, 500), markets.now(500))
    if told:
        agent.on_message(SystemCommand("reset", {"epoch": "7"}), 0)
        assert (agent._state.epoch, agent._state.seq) == (7, -1)
    for t in (400, 401, 402):
        bar, window = markets.update(tape, t), markets.window(tape, t)
        agent.on_bars(*(msgspec.structs.replace(each, epoch=7) for each in (bar, window)), markets.now(t))
    assert agent._state.learner.history.count == 3


def test_a_drift_beside_an_anomaly_raises_the_learning_floor(monkeypatch):
    """Either order: of what the monitors find at a bar one drift is enough."""
    tape, signs = markets.synthetic(18, symbols=1), [Sign("anomaly", 0.9, "S0"), Sign("drift", 0.7, "S0")]
    for found in (signs, signs[::-1]):
        agent = Quasar(SYSTEM())
        monkeypatch.setattr(agent._state.monitors, "on_bar", lambda *_, found=found: found)
        agent.on_bars(markets.update(tape, 500), markets.window(tape, 500), markets.now(500))
        assert agent._state.learner._alert == 100


def test_what_is_no_reset_forgets_nothing():
    """A change of phase comes again with each request, as the factor of alerts does."""
    agent, tape = Quasar(SYSTEM()), markets.synthetic(18)
    agent.on_bars(markets.update(tape, 500), markets.window(tape, 500), markets.now(500))
    before = agent.save()
    for message in (
        SystemCommand("drain"),
        PhaseTransition("p", "announcement", "growth", "release", (), {}, 0, "pads"),
        RiskAlert("r", "anomaly", 0.9, (), 0, 1, sender="qbmia"),
    ):
        agent.on_message(message, markets.now(500))
    assert agent.save() == before


def test_a_row_that_abstained_teaches_nothing():
    """Its gap leaves features behind, but it said nothing: whatever came of it, the state is the same, circuit included."""
    tape, learned = markets.synthetic(18), []
    tape.valid[0, 491:495] = 0
    for outcome in (0, 2, 255):
        agent = Quasar(SYSTEM())
        answer = markets.ask(agent, tape, 500)
        assert array(answer.abstain).tolist() == [GAP, 0, 0]
        agent.on_feedback(markets.feedback(tape, 500, np.array([outcome, 0, 2])), 0)
        assert agent._state.circuit is not None
        assert agent._state.circuit.rows == 2
        learned.append(agent.save())
    assert learned[0] == learned[1] == learned[2]


def test_an_outcome_teaches_what_was_said_of_its_own_symbol():
    """Reliability, factors and regression learn as by hand, also where the feedback has another order."""
    tape, agent = markets.synthetic(18), Quasar(SYSTEM())
    markets.ask(agent, tape, 500)
    kept = agent._state.pending._held["round-500"]
    x, flat, y = array(kept.x), array(kept.flat), np.array([2, 0])
    reliability, qar, model = Reliability(), FactorPool(SYSTEM().quasar), Logistic(SYSTEM().quasar.model_rate)
    reliability.learn(x[[1, 0]], flat[[1, 0]], y)
    qar.learn(np.asarray(array(kept.factors)[[1, 0]], np.float64), y)
    model.learn(np.asarray(array(kept.features)[[1, 0]], np.float64), y)
    told = markets.feedback(tape.pick([1, 2, 0]), 500, np.array([2, 255, 0]))
    agent.on_feedback(told, 0)
    assert agent._state.reliability.k == reliability.k != Reliability().k
    np.testing.assert_array_equal(agent._state.qar.weights, qar.weights)
    np.testing.assert_array_equal(agent._state.model.weights, model.weights)


def test_each_part_stands_under_its_name():
    """Before the table has converged and the model has learned, the factors alone have spoken."""
    told = markets.ask(Quasar(SYSTEM()), markets.synthetic(18), 500, explain=True)
    parts = [told.contrib_names.index(name) for name in ("qstar", "qar", "model")]
    assert np.isfinite(array(told.contrib)[:, parts]).tolist() == [[False, True, False]] * 3
