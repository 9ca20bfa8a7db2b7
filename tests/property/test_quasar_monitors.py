"""QUASAR watches what it learns from: windows and trees as River has them, anomalies, alerts, drift."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from river import anomaly
from river.drift import ADWIN
from tests.property import markets
from tests.property.test_quasar_agent import learnt, live

from qts_agents.columns import array
from qts_agents.kernels import adwin
from qts_agents.kernels.indicators import indicators
from qts_agents.quasar.agent import Quasar
from qts_agents.quasar.monitoring import ALL, Monitors
from qts_agents.quasar.monitors import MAX_STREAMS, Drift, Stream
from qts_core.sections import QuasarSettings
from qts_core.spec import SYSTEM
from qts_messaging.messages import RiskAlert


def test_adwin_finds_a_change_of_variance():
    """A quiet stream raises no alarm in 500 bars; a tripled standard deviation does within 200."""
    draws = np.random.default_rng(4)
    drift = Drift(0.002)
    assert not any(drift.update(float(v))[0] for v in draws.normal(size=500) ** 2)
    found = [drift.update(float(v)) for v in (3.0 * draws.normal(size=200)) ** 2]
    alarms = [shift for alarm, soft, shift in found if alarm and soft]
    assert alarms
    assert alarms[0] > 1.0


@pytest.mark.parametrize("delta", [0.002, 0.05, 0.5])
def test_windows_are_those_of_river(delta: float):
    """Flags, length, sum and squared deviations equal River's own object over changes of mean and variance."""
    ours, river, draws = adwin.windows(np.array([delta])), ADWIN(delta=delta), np.random.default_rng(6)
    x, cuts = draws.normal(size=3000), 0
    x[800:1500] *= 3.0
    x[2000:] += 1.0
    for value in x.tolist():
        river.update(value)
        flag = bool(adwin.adwin(ours, np.array([value]))[0])
        assert flag == river.drift_detected
        assert ours.whole[0, :3].tolist() == [river.width, river.total, river.variance]
        cuts += flag
    assert cuts >= 2


def test_trees_are_those_of_river():
    """Scores equal River's own object given the same inputs, and strength flags a break of pattern."""
    stream, river = Stream(7, 0.002), anomaly.HalfSpaceTrees(n_trees=50, height=8, window_size=50, seed=7)
    draws = np.random.default_rng(5)
    for _ in range(220):
        scaled = np.clip(0.5 + 0.02 * draws.normal(size=5), 0, 1)
        x = dict(enumerate(scaled.tolist()))
        expected = river.score_one(x)
        river.learn_one(x)
        assert stream._score(scaled) == expected
    assert expected > 0.0


def test_anomaly_reaches_pads_once_and_calms_the_forecast():
    """A crash after quiet bars sends one RISK_ALERT of its severity; p is flattened while it lasts."""
    tape = markets.synthetic(19, symbols=1, quotes=False)
    agent = Quasar(SYSTEM())
    live(agent, tape, 400, 640)
    agent._state.monitors.streams["S0"]._scores = np.full(250, 0.5)
    sent = live(agent, tape, 640, 641)
    alerts = [out.message for out in sent if out.message.alert_type == "anomaly"]
    assert len(alerts) == 1
    assert isinstance(alerts[0], RiskAlert)
    assert (alerts[0].scope, alerts[0].hop, sent[0].to) == (("S0",), 0, "pads")
    assert 0.75 < alerts[0].severity <= 1.0
    assert alerts[0].expires_ns - alerts[0].raised_ns == 30 * 10**9
    loud = array(markets.ask(agent, tape, 640).p)[0]
    agent._state.monitors.streams["S0"].strength = 0.0
    calm = array(markets.ask(agent, tape, 640).p)[0]
    assert loud.max() - loud.min() < calm.max() - calm.min()


def test_backfill_raises_no_alerts():
    """What lies in the past is learned from, not reported."""
    tape = markets.synthetic(19, symbols=1, quotes=False)
    agent = Quasar(SYSTEM())
    live(agent, tape, 400, 640)
    agent._state.monitors.streams["S0"]._scores = np.full(250, 0.5)
    past = msgspec.structs.replace(markets.update(tape, 640), kind="snapshot")
    assert list(agent.on_bars(past, markets.window(tape, 640), markets.now(640))) == []
    assert agent._state.monitors.streams["S0"].strength > 0.75


def test_drift_raises_the_learning_floor():
    """An alarm of ADWIN lets the table forget faster for 100 updates."""
    learner = learnt(False, QuasarSettings(convergence=10.0), count=1600)
    learner.on_drift()
    for _ in range(3):
        learner.on_bar(
            ("X",), (np.array([312]), np.ones(1, np.int8), np.array([0.0]), np.array([0.001])), 5e-5
        )
    assert learner._alert == 97


def test_many_symbols_share_one_stream():
    """Above 16 symbols the monitors run on the equal-weight aggregate, and flag everybody."""
    tape = markets.synthetic(20, symbols=MAX_STREAMS + 1, bars=340, quotes=False)
    monitors = Monitors(0, 0.75, 0.002)
    view = markets.window(tape, 330)
    monitors.on_bar(view, indicators(view), np.ones(MAX_STREAMS + 1, dtype=bool))
    assert list(monitors.streams) == [ALL]
    monitors.streams[ALL].strength = 1.0
    assert monitors.flags(tape.symbols)[0].all()
