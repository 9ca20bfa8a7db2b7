"""QBMIA: the market game of the design, monitors, memory, proposals, alerts, and what an answer says of itself."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from tests.property import agent_properties as properties
from tests.property import markets as market

from qts_agents.agent import TOO_FEW_COMPONENTS, MarketWindow
from qts_agents.columns import array, column
from qts_agents.kernels import backend, market_game, nash
from qts_agents.kernels.indicators import indicators
from qts_agents.qbmia import (
    antifragile,
    game,
    quotes,
    robin_hood,
    temporal_nash,
)
from qts_agents.qbmia.agent import Qbmia
from qts_agents.qbmia.game import Estimates
from qts_agents.qbmia.memory import Memory
from qts_agents.qbmia.memory import features as memory_features
from qts_core.spec import SYSTEM
from qts_messaging.messages import PhaseTransition, RiskAlert, SystemCommand


def vector_game(**more):
    values = {
        "drift": 6.0,
        "error": 0.0,
        "half_spread": 2.0,
        "impact": 1.0,
        "risk": 0.3,
        "fee": 0.0,
        "side": 0.0,
    }
    values |= {"retail": 0.0} | more
    return Estimates(**{name: np.array([value]) for name, value in values.items()})


def test_the_payoffs_of_the_design():
    """M = 6, ς = 2, Λ = 1, Γ = 0.3: u and w as listed."""
    u, w = (m[0, 0] for m in game.payoffs(vector_game(), np.array([[6.0]])))
    np.testing.assert_allclose(u[market_game.BUY], [3.7, 1.7, 1.7, 3.7], rtol=0, atol=1e-12)
    np.testing.assert_allclose(u[market_game.SELL], [-8.3, -10.3, -8.3, -10.3], rtol=0, atol=1e-12)
    np.testing.assert_allclose(u[market_game.KEEP], 0.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(u[market_game.WAIT], 3.515, rtol=0, atol=1e-12)
    np.testing.assert_allclose(w[market_game.BUY], [1.9182818285, 2.3036383235, 3.2, 1.2], rtol=0, atol=1e-10)


def test_the_equilibrium_of_the_design():
    """One equilibrium: buy (e−2)/2, else wait; tight 0.9075, skew_up 0.0925; values 3.515 and 2.4309690971."""
    u, w = (m[:, 0, [0, 1, 3]] for m in game.payoffs(vector_game(), np.array([[6.0]])))
    solved = nash.nash_all(u, w)
    assert solved.count.tolist() == [1]
    x, y = solved.x[0, 0], solved.y[0, 0]
    np.testing.assert_allclose(x, [0.3591409142, 0, 0.6408590858], rtol=0, atol=1e-10)
    np.testing.assert_allclose(y, [0.9075, 0, 0.0925, 0], rtol=0, atol=1e-10)
    assert x @ u[0] @ y == pytest.approx(3.515, abs=1e-10)
    assert x @ w[0] @ y == pytest.approx(2.4309690971, abs=1e-10)


@pytest.mark.parametrize("side", [-1.0, 0.0, 1.0])
def test_the_mirrored_game_swaps_buy_and_sell(side):
    """M, d and β̂ negated: rows buy ↔ sell and columns skew_up ↔ skew_down swap, to the bit."""
    u, w = game.payoffs(vector_game(side=side, retail=0.4), np.array([[6.0]]))
    v, z = game.payoffs(vector_game(side=-side, retail=-0.4), np.array([[-6.0]]))
    rows, columns = [1, 0, 2, 3], [0, 1, 3, 2]
    assert v[0, 0][rows][:, columns].tolist() == u[0, 0].tolist()
    assert z[0, 0][rows][:, columns].tolist() == w[0, 0].tolist()


def test_holding_pays_the_drift_less_risk():
    """With a short position hold earns −M − Γ."""
    u, _ = game.payoffs(vector_game(side=-1.0), np.array([[6.0]]))
    np.testing.assert_allclose(u[0, 0, market_game.KEEP], -6.3, rtol=0, atol=1e-12)


def test_impact_is_the_slope_on_signed_root_volume():
    """r = 1e-6·sign·√V exactly: an order of 1 % of the mean volume costs 1e-6·√(1 % V̄) ·1e4 bp; no volume: ς/2."""
    tape = market.synthetic(3, symbols=2, quotes=False)
    side = np.where(np.random.default_rng(0).random((2, 700)) < 0.5, -1.0, 1.0)
    close = np.exp(np.cumsum(1e-6 * side * np.sqrt(tape.volume), axis=1))
    view = market.window(tape._replace(open=close * np.exp(-side * 1e-9), close=close), 699)
    found = game.impact(view, game.returns(view, 100), np.array([3.0, 3.0]))
    expected = 1e4 * 1e-6 * np.sqrt(0.01 * tape.volume[:, -100:].mean(axis=1))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    blind = msgspec.structs.replace(view, volume=np.full_like(view.volume, np.nan))
    assert game.impact(blind, game.returns(blind, 100), np.array([3.0, 4.0])).tolist() == [1.5, 2.0]


def test_the_drift_shrinks_with_its_t():
    """t = 1 halves the mean; no variance gives no drift."""
    drift = game.shrunk_drift(np.array([1e-4, 1e-4]), np.array([1e-3, 0.0]), 30)
    np.testing.assert_allclose(drift, [1e-4 * 30 / 2, 0.0], rtol=0, atol=1e-15)


def test_observed_actions_follow_bars_and_quotes():
    """Returns beyond ½σ are trades; spreads, then imbalance, tell what the maker did."""
    spread = np.full((1, 5), 1.0)
    spread[0, 2:] = 1.2
    spread[0, 3:] = 1.0
    imbalance = np.array([[0.3, 0.0, 0.5, -0.5]])
    seen = temporal_nash.maker_actions(spread, imbalance)
    assert seen.tolist() == [
        [market_game.SKEW_UP, market_game.WIDE, market_game.TIGHT, market_game.SKEW_DOWN]
    ]
    unknown = temporal_nash.maker_actions(np.full((1, 3), np.nan), np.full((1, 2), np.nan))
    assert unknown.tolist() == [[market_game.TIGHT, market_game.TIGHT]]
    view = market.window(market.synthetic(1, symbols=1), 600)
    r = np.diff(np.log(view.close[0, -151:]))
    own = temporal_nash.trader_actions(r[None], np.array([2.0 * abs(r[-1]) - 1e-12]))
    assert own.shape == (1, 150)
    assert own[0, -1] == (market_game.BUY if r[-1] > 0 else market_game.SELL)


def test_gini_and_herfindahl_know_even_and_single():
    """Equal volumes: 0 and 1/T; all in one bar: near 1 and 1; none at all is even; unknown stays unknown."""
    even, single = np.full((1, 50), 3.0), np.zeros((1, 50))
    single[0, 7] = 9.0
    assert robin_hood.gini(even)[0] == pytest.approx(0.0)
    assert robin_hood.herfindahl(even)[0] == pytest.approx(0.02)
    assert robin_hood.gini(single)[0] == pytest.approx(0.98)
    assert robin_hood.herfindahl(single)[0] == pytest.approx(1.0)
    assert robin_hood.gini(np.zeros((1, 50))).tolist() == [0.0]
    assert np.isnan(robin_hood.gini(np.full((1, 50), np.nan))[0])


def test_convexity_sees_whether_jumps_go_with_the_trend():
    """Jumps along a steady trend raise its profit with the volatility, jumps against it lower it; none is 0."""
    steady = 1e-3 * (0.5 + 0.1 * np.random.default_rng(2).standard_normal((1, 270)))
    jump = np.where(np.arange(270) % 45 == 7, 5e-3, 0.0)
    assert antifragile.convexity(steady + jump)[0] > 3.0
    assert antifragile.convexity(steady - jump)[0] < -3.0
    assert antifragile.convexity(np.zeros((1, 270))).tolist() == [0.0]
    assert np.isnan(antifragile.convexity(steady[:, -100:])[0])  # too few


def test_flow_is_the_mean_sign_of_known_imbalances():
    """Of the last ten; nothing known is 0."""
    known = np.array([[np.nan] * 6 + [0.3, 0.1, -0.2, 0.9], [np.nan] * 10])
    assert quotes.flow(known).tolist() == [0.5, 0.0]


def test_quotes_are_found_by_bar_not_by_place():
    """A bar that was missed is unknown; other symbols start anew."""
    tape = quotes.Quotes()
    for bar in (10, 11, 13):
        tape.push(("A", "B"), bar, np.array([bar, 2.0 * bar]), np.array([0.1, -0.1]))
    spread, imbalance = tape.last(("B", "C", "A"), 13, 4)
    np.testing.assert_array_equal(spread, [[20, 22, np.nan, 26], [np.nan] * 4, [10, 11, np.nan, 13]])
    assert imbalance[0, 0] == -0.1
    tape.push(("A",), 14, np.array([1.0]), np.array([0.0]))
    assert np.isnan(tape.last(("A",), 13, 4)[0]).all()


def live(agent, tape, bars, **more):
    out = []
    for t in bars:
        sent = agent.on_bars(market.update(tape, t), market.window(tape, t), market.now(t))
        out += [(o.to, o.message) for o in sent]
        if t % 10 == 0:
            market.ask(agent, tape, t, round_id=f"r{t}", **more)
    return out


def test_a_lasting_crisis_is_proposed_once_until_answered():
    """Three requests in crisis → one proposal to PADS with its evidence; a rejection and the rest allow another."""
    tape, agent = market.synthetic(1), Qbmia(SYSTEM())
    crisis = {"meso": (0.5, 0.5, 0.5, 0.9), "phase": "conservation"}
    sent = [m for to, m in live(agent, tape, range(400, 470), **crisis) if isinstance(m, PhaseTransition)]
    assert [(m.kind, m.old_phase, m.new_phase) for m in sent] == [("proposal", "conservation", "release")]
    assert sent[0].transition_time_ns == 421 * market.MINUTE_NS
    assert sent[0].indicators["crisis"] == pytest.approx(0.9)
    agent.on_message(msgspec.structs.replace(sent[0], kind="rejection", reason="4"), 0)
    again = [m for to, m in live(agent, tape, range(470, 510), **crisis) if isinstance(m, PhaseTransition)]
    assert len(again) == 1
    assert again[0].transition_id != sent[0].transition_id
    agent.on_message(SystemCommand("reset"), 0)
    assert live(agent, tape, range(510, 512), **crisis) == []


def test_a_thin_market_is_reported_with_its_symbols():
    """Volume that dries up in one symbol raises illiquidity, at most once in five bars, to PADS."""
    tape = market.synthetic(1, quotes=False)
    tape.volume[1, 480:] *= 1e-3
    agent = Qbmia(SYSTEM())
    sent = live(agent, tape, range(440, 500))
    alerts = [m for to, m in sent if isinstance(m, RiskAlert) and to == "pads"]
    assert {(m.alert_type, m.scope) for m in alerts} == {("illiquidity", ("S1",))}
    assert all(m.severity > 0.8 and m.expires_ns > m.raised_ns for m in alerts)
    assert len({m.alert_id for m in alerts}) == len(alerts)


def test_the_answer_says_what_computed_it():
    """quantum_circuits: EWL beside and 4 qubits; without: classical, no EWL in the report, the same p."""
    tape = market.synthetic(4)
    beside, without = Qbmia(SYSTEM()), Qbmia(SYSTEM(quantum_circuits=False))
    one, two = market.ask(beside, tape, 600), market.ask(without, tape, 600)
    assert (one.backend, one.qubits, two.backend, two.qubits) == ("simulated-quantum", 4, "classical", 0)
    place = one.contrib_names.index("ewl_signal")
    assert np.isfinite(array(one.contrib)[:, place]).all()
    assert np.isnan(array(two.contrib)[:, place]).all()
    assert array(one.p).tobytes() == array(two.p).tobytes()
    plain = market.ask(beside, tape, 600, explain=False)
    assert (plain.contrib, plain.backend, plain.qubits) == (
        None,
        "classical",
        0,
    )  # a game nobody would hear of
    assert array(plain.p).tobytes() == array(one.p).tobytes()


def test_many_symbols_are_not_entangled_unless_asked():
    """40 symbols: classical; voting by EWL, simulated; with explain, 16 of them, others at the next bar."""
    tape = market.synthetic(4, symbols=40)
    by_default = Qbmia(SYSTEM())
    voting = Qbmia(msgspec.convert({"qbmia": {"nash_mode": "ewl"}}, SYSTEM))
    plain = market.ask(by_default, tape, 600, explain=False)
    assert (plain.backend, plain.qubits) == ("classical", 0)
    told = [market.ask(by_default, tape, bar) for bar in (600, 601)]
    assert {(one.backend, one.qubits) for one in told} == {("simulated-quantum", 4)}
    place = told[0].contrib_names.index("ewl_regret")
    first, second = (np.flatnonzero(np.isfinite(array(one.contrib)[:, place])) for one in told)
    assert (len(first), len(second)) == (16, 16)
    assert not np.array_equal(first, second)
    assert market.ask(voting, tape, 600, explain=False).backend == "simulated-quantum"


def test_the_ewl_vote_differs_and_still_mirrors():
    """nash_mode ewl changes p; the inverted market still gives the inverted answer."""

    def make(**more):
        return Qbmia(msgspec.convert({"qbmia": {"nash_mode": "ewl"}} | more, SYSTEM))

    tape = market.synthetic(6)
    assert (
        array(market.ask(make(), tape, 600).p).tobytes()
        != array(market.ask(Qbmia(SYSTEM()), tape, 600).p).tobytes()
    )
    properties.check_mirror(make, tape, 600)


def test_settings_of_the_game_change_the_answer():
    """Risk aversion and the number of draws are used."""
    tape = market.eurusd(300)
    answers = {
        array(market.ask(Qbmia(msgspec.convert({"qbmia": q}, SYSTEM)), tape, 600).p).tobytes()
        for q in ({}, {"risk_aversion": 500.0}, {"payoff_draws": 16})
    }
    assert len(answers) == 3


def test_two_components_are_too_few():
    """Without volume robin_hood is masked; if the trend's convexity is unknown too, only two remain."""
    tape = market.synthetic(2, symbols=1, quotes=False)
    tape.volume[:] = np.nan
    answer = market.ask(Qbmia(SYSTEM()), tape, 600)
    assert array(answer.abstain).tolist() == [0]
    holes = tape._replace(valid=tape.valid.copy())
    for t in range(600 - 300, 600, 21):
        holes.valid[0, t] = 0
    assert array(market.ask(Qbmia(SYSTEM()), holes, 600).abstain).tolist() == [TOO_FEW_COMPONENTS]


def test_both_implementations_give_the_same_answer():
    """numba_jit false computes the same opinion by the plain forms."""
    tape = market.synthetic(5, symbols=1)
    compiled = market.ask(Qbmia(SYSTEM(quantum_circuits=False)), tape, 600)
    backend.set_jit(False)
    try:
        plain = market.ask(Qbmia(SYSTEM(quantum_circuits=False, numba_jit=False)), tape, 600)
    finally:
        backend.set_jit(True)
    np.testing.assert_allclose(array(plain.p), array(compiled.p), rtol=0, atol=1e-9)


def test_nothing_compiles_after_the_warm_up():
    """Bars, requests of any size and feedback find their kernels compiled, read-only windows included."""
    agent = Qbmia(SYSTEM())
    agent.warm_up()
    before = backend.compiles()
    market.train(agent, market.synthetic(8), 400, 460)
    market.ask(agent, market.synthetic(9, symbols=20), 600, np.tile([0.0, -1.0], 10))
    assert backend.compiles() == before


def test_outcomes_are_remembered_and_recalled():
    """Five similar situations that went up pull the answer up."""
    tape, agent = market.eurusd(0), Qbmia(SYSTEM())
    before = array(market.ask(agent, tape, 600, round_id="first").p)
    for i in range(5):
        market.ask(agent, tape, 600, round_id=f"again-{i}")
        told = msgspec.structs.replace(
            market.feedback(tape, 600), round_id=f"again-{i}", outcome=column(np.array([0]), "u1")
        )
        agent.on_feedback(told, 0)
    answer = market.ask(agent, tape, 600, round_id="last")
    names = answer.contrib_names
    assert array(answer.contrib)[0, names.index("recalled")] == 5
    assert array(answer.contrib)[0, names.index("novelty")] == pytest.approx(0.0, abs=1e-6)
    assert array(answer.p)[0, 0] > before[0, 0]


def test_the_vector_of_a_situation_by_hand():
    """§4: ten features within ±3, four phase flags, two hazards, of length 1; unknown hazards count as none.

    A symbol with one unknown number of the market has no situation at all, so nothing is like it.
    """
    ind = indicators(market.window(market.synthetic(17), 600))
    cells = {
        "r": [0.002, 0.0, np.nan],
        "m5": [0.001, 0.0, 0.0],
        "m10": [-0.001, 0.0, 0.0],
        "sma_gap": [0.1, 0.0, 0.0],
        "sigma20": [0.004, 0.0, 0.004],
        "trend": [0.3, 0.0, 0.0],
        "momentum": [-0.2, 0.0, 0.0],
        "rsi": [60.0, 50.0, 50.0],
        "macd": [-7.0, 0.0, 0.0],
        "volatility": [0.8, 0.5, 0.5],
        "adx": [25.0, 50.0, 50.0],
    }
    ind = msgspec.structs.replace(ind, **{name: np.array(x) for name, x in cells.items()})
    unknown = np.full(3, np.nan)
    found = memory_features(ind, "release", np.array([0.5, np.nan, 0.0]), np.array([0.25, np.nan, 0.0]))
    features = [0.5, 0.25 * 5**0.5, -0.25 * 10**0.5, 3.0, 0.3, -0.2, 0.2, -3.0, 0.6, -0.5]
    whole = np.array([*features, 0.0, 0.0, 1.0, 0.0, 0.5, 0.25])
    np.testing.assert_allclose(found[0], whole / np.sqrt((whole * whole).sum()), rtol=1e-6)
    assert found[1].tolist() == [0.0] * 12 + [1.0] + [0.0] * 3
    assert np.isnan(found[2]).all()
    assert memory_features(ind, "unknown", unknown, unknown)[1].tolist() == [0.0] * 16


def test_prototypes_follow_by_a_tenth_and_are_64_at_most():
    """The nearest moves towards what is like it; novelty is 1 − the cosine to the nearest."""
    memory, axes = Memory(), np.eye(16, dtype=np.float32)
    assert memory.novelty(axes[:2]).tolist() == [1.0, 1.0]
    memory.store(axes[:2], 0, np.zeros(2, np.int64))
    assert memory.novelty(axes[:3]).tolist() == [0.0, 0.0, 1.0]
    like = (0.8 * axes[0] + 0.6 * axes[2])[None]
    memory.store(like, 1, np.zeros(1, np.int64))
    moved = 0.9 * axes[0] + 0.1 * like[0]
    np.testing.assert_allclose(memory.prototypes, [moved / np.linalg.norm(moved), axes[1]], rtol=0, atol=1e-6)
    draws = np.random.default_rng(1).standard_normal((400, 16)).astype(np.float32)
    memory.store(draws / np.linalg.norm(draws, axis=1, keepdims=True), 2, np.zeros(400, np.int64))
    assert memory.prototypes.shape == (64, 16)


def test_ten_clusters_stay_ten():
    """1e5 stores around ten separate situations leave ten prototypes and 10,000 episodes."""
    rng = np.random.default_rng(0)
    centres = np.eye(16, dtype=np.float32)[:10]
    memory = Memory()
    which = rng.integers(0, 10, 100_000)
    noise = 0.03 * rng.standard_normal((100_000, 16)).astype(np.float32)
    vectors = centres[which] + noise
    vectors /= np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    for i in range(0, 100_000, 500):
        memory.store(vectors[i : i + 500], i, np.zeros(500, np.int64))
    assert len(memory) == 10_000
    assert memory.prototypes.shape == (10, 16)
    assert sorted(np.argmax(memory.prototypes, axis=1).tolist()) == list(range(10))


def test_a_window_is_never_written():
    """Every array of the window may be read-only."""
    view = market.window(market.synthetic(3), 600)
    frozen = {name: getattr(view, name).copy() for name in ("open", "close", "volume", "spread", "imbalance")}
    for values in frozen.values():
        values.setflags(write=False)
    locked: MarketWindow = msgspec.structs.replace(view, **frozen)
    answer = Qbmia(SYSTEM()).on_request(market.request(view.symbols, 600), locked, market.now(600))
    assert array(answer.abstain).tolist() == [0, 0, 0]
