"""QUASAR watches what it learns from: windows and trees as River has them, anomalies, alerts, drift."""

from __future__ import annotations

import hashlib

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
from qts_agents.quasar.monitoring import ALL, Monitors, Sign
from qts_agents.quasar.monitors import MAX_STREAMS, Drift, Signs, Stream, aggregate, even_features, rank
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


@pytest.mark.parametrize(("kind", "left"), [("anomaly", 0), ("drift", 100)])
def test_each_sign_is_told_and_a_drift_alone_raises_the_learning_floor(monkeypatch, kind, left):
    """To PADS for 30 bars of the present pace, about its symbol or about all."""
    tape, agent = markets.synthetic(19, symbols=1), Quasar(SYSTEM())
    signs = [Sign(kind, 0.9, "S0"), Sign(kind, 0.7, "")]
    monkeypatch.setattr(agent._state.monitors, "on_bar", lambda *_: signs)
    sent = live(agent, tape, 640, 641)
    told = [(out.to, out.message.alert_type, out.message.severity, out.message.scope) for out in sent]
    assert told == [("pads", kind, 0.9, ("S0",)), ("pads", kind, 0.7, ())]
    assert {out.message.raised_ns for out in sent} == {markets.now(640)}
    assert {out.message.expires_ns - out.message.raised_ns for out in sent} == {30 * 10**9}
    assert len({out.message.alert_id for out in sent}) == 2
    assert agent._state.learner._alert == left


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


def test_ranks_are_causal_mid_ranks():
    """(#{x<xₜ} + ½#{x=xₜ})/n over values that end with xₜ."""
    assert [rank(np.array(x)) for x in ([3.0], [1.0, 2.0, 2.0], [2.0, 1.0])] == [0.5, 2.0 / 3.0, 0.25]


def test_trees_see_ranks_among_the_last_250_bars():
    """All even features but the first, which is a rank already, ties included; the statistics are bounded."""
    stream, draws = Stream(7, 0.002), np.random.default_rng(8)
    bars = draws.integers(0, 6, (300, 5)).astype(float)
    bars[:, 0] = draws.random(300)
    for t, now in enumerate(bars):
        stream.update(now, 0.1)
        past = bars[max(0, t - 249) : t + 1]
        wanted = [rank(column) for column in past.T]
        np.testing.assert_allclose(stream._tree_inputs[-1], [now[0], *wanted[1:]], rtol=0, atol=1e-15)
    assert [len(drift.recent) for drift in stream._drifts] == [250, 250]


def test_strength_is_how_far_a_score_lies_in_the_last_2_percent(monkeypatch):
    """From the hundredth score on, among 250; of 250 only the highest passes 0.75 (0003)."""
    stream, told = Stream(7, 0.002), iter([*np.arange(300.0), 298.5, -1.0])
    monkeypatch.setattr(stream, "_score", lambda _: next(told))
    assert stream.strength == 0.0
    found = [stream.update(np.full(5, 0.5), 0.1).strength for _ in range(302)]
    assert found[:99] == [0.0] * 99
    assert [found[n] for n in (99, 199, 249, 299)] == pytest.approx([0.75, 0.875, 0.9, 0.9])
    assert found[300:] == pytest.approx([0.7, 0.0])


class Flags:
    """In place of a drift detector: says what it is told and keeps what it was given."""

    def __init__(self, *said: tuple[bool, bool, float]) -> None:
        self.said, self.given = iter(said), []

    def update(self, value: float) -> tuple[bool, bool, float]:
        self.given.append(value)
        return next(self.said, (False, False, 0.0))


def test_either_statistic_may_drift_and_a_soft_flag_stands_for_30_bars():
    """r/σ and its square, which one crash does not move beyond 25; the larger shift is told."""
    stream = Stream(7, 0.002)
    ours = Flags((False, True, 0.0), (True, True, 0.3)), Flags((False, False, 0.0), (True, True, 0.5))
    stream._drifts = ours
    even, left = np.full(5, 0.5), []
    first, second = stream.update(even, -3.0), stream.update(even, 8.0)
    assert (first.alarm, first.shift, second.alarm, second.shift) == (False, 0.0, True, 0.5)
    assert [drift.given for drift in ours] == [[-3.0, 8.0], [9.0, 25.0]]
    for _ in range(32):
        left.append(stream.soft_left)
        stream.update(even, 0.0)
    assert left == [*range(30, -1, -1), 0]
    stream._drifts = Flags(), Flags((False, True, 0.0))
    stream.update(even, 0.0)
    assert stream.soft_left == 30


def test_a_drift_tells_alarm_and_soft_flag_as_river_does_at_their_confidence():
    """δ = 0.002 for alarms and 0.05 for the soft flag; the shift is that of the newest 32 inputs at an alarm."""
    ours, alarm, soft = Drift(0.002), ADWIN(delta=0.002), ADWIN(delta=0.05)
    assert ours.windows.delta.tolist() == [0.002, 0.05]
    draws, found = np.random.default_rng(6), []
    x = draws.normal(size=1500)
    x[500:] += 0.6
    x[1000:] -= 0.4
    for t, value in enumerate(x.tolist()):
        for river in (alarm, soft):
            river.update(value)
        flags = alarm.drift_detected, alarm.drift_detected or soft.drift_detected
        past, fresh = x[max(0, t - 249) : max(0, t - 31)], x[max(0, t - 31) : t + 1]
        shift = abs(fresh.mean() - past.mean()) if flags[0] else 0.0
        assert ours.update(value) == (*flags, pytest.approx(shift))
        found.append(flags)
    assert {(True, True), (False, True), (False, False)} == set(found)


class Told:
    """In place of a stream: as strong as it is told, with a drift where there is a shift."""

    def __init__(self, *bars: tuple[float, float]) -> None:
        self.bars, self.strength, self.soft_left = iter(bars), 0.0, 0

    def update(self, even: np.ndarray, ratio: float) -> Signs:
        self.strength, shift = next(self.bars)
        return Signs(self.strength, shift > 0.0, shift)


def test_an_anomaly_is_told_where_it_begins_and_each_drift():
    """Above 0.75 after a bar that was not; a drift's severity is tanh of its shift; unusable rows wait."""
    monitors, tape = Monitors(0, 0.75, 0.002), markets.synthetic(20, symbols=2, bars=340, quotes=False)
    view = markets.window(tape, 330)
    ind, rows = indicators(view), np.array([True, False])
    strengths = [(0.75, 0.0), (0.8, 0.0), (0.9, 0.5), (0.75, 0.0), (0.76, 0.0)]
    monitors.streams = {"S0": Told(*strengths), "S1": Told(), "gone": Told()}
    found = [monitors.on_bar(view, ind, rows) for _ in strengths]
    assert list(monitors.streams) == ["S0", "S1"]
    begins = [[Sign("anomaly", 0.8, "S0")], [Sign("drift", pytest.approx(np.tanh(0.5)), "S0")]]
    assert found == [[], *begins, [], [Sign("anomaly", 0.76, "S0")]]


def test_flags_are_those_of_the_own_stream_or_of_all():
    """Beyond the threshold, and as long as a soft flag is left; without a stream neither."""
    monitors = Monitors(0, 0.75, 0.002)
    for name, strength, left in (("at", 0.75, 0), ("over", 0.751, 0), ("soft", 0.0, 1)):
        monitors.streams[name] = monitors.fresh(name)
        monitors.streams[name].strength, monitors.streams[name].soft_left = strength, left
    anomaly, drift = monitors.flags(("at", "over", "soft", "none"))
    assert anomaly.tolist() == [False, True, False, False]
    assert drift.tolist() == [False, False, True, False]


def test_the_aggregate_is_of_the_symbols_that_are_known():
    """Their mean, and the market's return in its own σ of 20 bars; a bar that all lack is not learned from."""
    tape = markets.synthetic(20, symbols=MAX_STREAMS + 1, bars=340, quotes=False)
    view = markets.window(tape, 330)
    ind = indicators(view)
    ind.anomaly[3] = np.nan
    even, ratio = aggregate(ind, view.market_ret)
    known = np.delete(even_features(ind), 3, axis=0)
    np.testing.assert_allclose(even, known.mean(axis=0)[None], rtol=1e-12)
    recent = view.market_ret[-20:]
    assert ratio.tolist() == [pytest.approx(recent[-1] / recent.std(ddof=1))]
    assert aggregate(ind, np.zeros(30))[1].tolist() == [0.0]
    monitors, every = Monitors(0, 0.75, 0.002), np.ones(MAX_STREAMS + 1, dtype=bool)
    close = view.close.copy()
    close[:, 325] = np.nan
    holed = msgspec.structs.replace(view, close=close)
    monitors.on_bar(holed, indicators(holed), every)
    assert not monitors.streams
    monitors.on_bar(view, ind, every)
    assert len(monitors.streams[ALL]._scores) == 1


def test_trees_are_drawn_from_the_key_of_seed_and_symbol():
    """§1.6: the first eight bytes of BLAKE2b-64 of "seed/process/symbol", little-endian."""
    stream = Monitors(5, 0.75, 0.002).fresh("EURUSD")
    text = hashlib.blake2b(b"5/quasar/EURUSD", digest_size=8).digest()
    assert stream._seed == int.from_bytes(text, "little")


def test_a_restored_stream_goes_on_to_the_bit_at_any_bar():
    """Its trees are made again from at most their last two windows."""
    draws = np.random.default_rng(9).random((260, 5))
    for kept_at in (30, 99, 100, 149, 160):
        one = Stream(7, 0.002)
        for even in draws[:kept_at]:
            one.update(even, 0.1)
        assert len(one._tree_inputs) < 100
        two = Stream.unpack(one.pack())
        assert [one.update(x, 0.1) for x in draws[kept_at:]] == [two.update(x, 0.1) for x in draws[kept_at:]]
        assert one._scores.tobytes() == two._scores.tobytes()
