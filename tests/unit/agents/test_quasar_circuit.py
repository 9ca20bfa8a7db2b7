"""The circuit in QUASAR's model slot: against dense matrices and finite differences; and who may speak."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.property import markets

from qts_agents.columns import array
from qts_agents.kernels import philox
from qts_agents.kernels.reupload_reference import LIMIT, SCALE, ring, signs
from qts_agents.quasar.agent import Quasar
from qts_agents.quasar.circuit import LAYERS, MIRROR, Reuploading
from qts_agents.quasar.gate import Gate, diebold_mariano
from qts_core.sections import QuasarSettings
from qts_core.spec import SYSTEM

KEY = (1, 2)

#: an agent whose table, model and circuit all speak and learn after its warm-up; prints what was compiled
LIFE = """
from tests.property import markets
from qts_agents.kernels import backend
from qts_agents.quasar.agent import Quasar
from qts_core.sections import QuasarSettings
from qts_core.spec import SYSTEM
Quasar(SYSTEM()).warm_up()  # its table does not converge
before, tape = backend.compiles(), markets.eurusd(800, 1300)
agent = Quasar(SYSTEM(quasar=QuasarSettings(convergence=10.0, circuit_outcomes=20)))
for t in range(320, 1101):
    agent.on_bars(markets.update(tape, t), markets.window(tape, t), markets.now(t))
state = agent._state
state.model.rows = state.circuit.rows = 100
state.gate.gains.extend(0.1 + 0.001 * k for k in range(20))
told = markets.ask(agent, tape, 1100, 1.0)
markets.train(agent, tape, 1101, 1180)
print(told.backend, agent.converged, state.circuit.rows > 100, backend.compiles() - before)
"""


def dense(model: Reuploading, x: np.ndarray) -> np.ndarray:
    """Return f(x) [3] by Kronecker products."""
    n, state, slot = model.qubits, np.zeros(2**model.qubits, complex), 0
    state[0] = 1.0
    for layer in range(LAYERS):
        for q in range(n):
            for axis in (0, 1):
                slope, constant = model.weights[layer, q, axis]
                half = 0.5 * (slope * np.clip(x[slot % 10], -LIMIT, LIMIT) + constant)
                c, s = math.cos(half), math.sin(half)
                gate = np.array([[c, -s], [s, c]]) if axis == 0 else np.diag(np.exp([-1j * half, 1j * half]))
                state = np.kron(np.kron(np.eye(2**q), gate), np.eye(2 ** (n - q - 1))) @ state
                slot += 1
        for q in range(n):
            for basis in range(2**n):
                bits = [(basis >> (n - 1 - k)) & 1 for k in (q, (q + 1) % n)]
                state[basis] *= -1.0 if all(bits) else 1.0
    z = [sum(abs(a) ** 2 * (1 - 2 * ((b >> (n - 1 - k)) & 1)) for b, a in enumerate(state)) for k in range(3)]
    raised = np.exp(SCALE * np.array(z))
    return raised / raised.sum()


@pytest.mark.parametrize("qubits", [3, 4, 5])
def test_the_circuit_equals_dense_matrices(qubits: int) -> None:
    """Forecasts within 1e-12, averaged with their mirror image; a NaN row stays NaN."""
    model, x = Reuploading(qubits, 0.1, KEY), np.random.default_rng(qubits).normal(0, 2, (4, 10))
    got = model.predict(x)
    for row, found in zip(x, got, strict=True):
        both = 0.5 * (dense(model, row) + dense(model, row * MIRROR)[::-1])
        np.testing.assert_allclose(found, both, rtol=0, atol=1e-12)
    np.testing.assert_allclose(model.predict(x * MIRROR), got[:, ::-1], rtol=0, atol=1e-15)
    x[1, 3] = np.nan
    holed = model.predict(x)
    assert np.isnan(holed[1]).all()
    np.testing.assert_allclose(np.delete(holed, 1, axis=0), np.delete(got, 1, axis=0), rtol=0, atol=1e-15)


def test_the_circuit_starts_from_the_draws_of_its_key() -> None:
    """Three layers of slope and constant for two gates a qubit, normal with deviation ½; odd features mirror."""
    expected = [0.5 * philox.normal(KEY, i, 2, 0) for i in range(3 * 4 * 2 * 2)]
    np.testing.assert_array_equal(Reuploading(4, 0.1, KEY).weights, np.reshape(expected, (3, 4, 2, 2)))
    assert MIRROR.tolist() == [-1.0] * 8 + [1.0] * 2


def test_adjoint_gradients_equal_differences() -> None:
    model, rng = Reuploading(4, 0.1, KEY), np.random.default_rng(2)
    x, y = rng.normal(size=(5, 10)), rng.integers(0, 3, 5)

    def loss() -> float:
        return float(-np.log(model.predict(x)[np.arange(5), y]).mean())

    found = model.gradient(x, y)
    for index in [(0, 0, 0, 0), (1, 2, 1, 0), (2, 3, 0, 1), (0, 1, 1, 1), (2, 0, 1, 0)]:
        model.weights[index] += 1e-5
        above = loss()
        model.weights[index] -= 2e-5
        slope = (above - loss()) / 2e-5
        model.weights[index] += 1e-5
        assert found[index] == pytest.approx(slope, abs=1e-9)


def test_a_step_goes_down_the_gradient_of_the_known_rows() -> None:
    """By the rate; a row with an unknown feature counts for nothing, and alone moves nothing."""
    model, rng = Reuploading(3, 0.1, KEY), np.random.default_rng(7)
    x, y = rng.normal(size=(4, 10)), np.array([0, 1, 2, 2])
    x[2, 3] = np.nan
    known = [0, 1, 3]
    expected = model.weights - 0.1 * model.gradient(x[known], y[known])
    for rows in (slice(None), slice(2, 3), slice(0, 0)):
        model.learn(x[rows], y[rows])
        np.testing.assert_array_equal(model.weights, expected)
        assert model.rows == 3


def test_it_learns_what_regression_cannot() -> None:
    """Outcomes that follow the sign of a product of two features: even in each, so no weight of one tells."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2000, 10))
    y = np.where(x[:, 8] * x[:, 9] > 0.0, 1, np.where(rng.random(2000) < 0.5, 0, 2))
    model = Reuploading(4, 0.3, KEY)
    before = -np.log(model.predict(x)[np.arange(2000), y]).mean()
    for start in range(0, 1600, 8):
        model.learn(x[start : start + 8], y[start : start + 8])
    after = -np.log(model.predict(x[1600:])[np.arange(400), y[1600:]]).mean()
    assert model.rows == 1600
    assert after < before
    assert after < math.log(3.0)


def test_the_ring_flips_neighbours() -> None:
    assert ring(3).tolist() == [1, 1, 1, -1, 1, -1, -1, -1]
    assert signs(2).tolist() == [[1, 1, -1, -1], [1, -1, 1, -1]]


@pytest.mark.parametrize("overlap", [1, 3, 10, 30])
def test_the_test_rejects_no_difference_as_often_as_promised(overlap: int) -> None:
    """Equal models open the gate in about 5 % of cases, however far horizons overlap; a better one does."""
    noise = np.random.default_rng(4).normal(size=(600, 500 + overlap - 1))
    rows = np.lib.stride_tricks.sliding_window_view(noise, overlap, axis=1).mean(axis=2) * math.sqrt(overlap)
    share = np.mean([diebold_mariano(row, float(overlap)) > 1.645 for row in rows])
    assert 0.02 <= share <= 0.08
    assert diebold_mariano(rows[0] + 2.0, float(overlap)) > 3.0
    assert diebold_mariano(np.zeros(50), float(overlap)) == 0.0


def test_a_gate_knows_how_far_horizons_overlap() -> None:
    """30 bars of horizon and a decision each 10 by default; the settings say so, not what was kept."""
    assert Quasar(SYSTEM())._state.gate.overlap == 3.0
    every_bar = SYSTEM(decision_interval=1.0)
    kept = Quasar(every_bar)
    assert kept._state.gate.overlap == 30.0
    again = Quasar(SYSTEM())
    again.load(kept.save())
    assert again._state.gate.overlap == 3.0


@pytest.mark.parametrize(("t", "opens"), [(1.6448, False), (1.6449, True), (-9.0, False)])
def test_the_gate_opens_beyond_the_95_percent_quantile(t: float, opens: bool) -> None:
    """One-sided at 5 %: the quantile of the normal distribution is 1.64485."""
    noise = np.random.default_rng(6).normal(size=40)
    noise -= noise.mean()
    gate = Gate(40, 1.0)
    gate.gains.extend(noise + t / diebold_mariano(noise + 1.0, 1.0))
    assert gate.statistic == pytest.approx(t)
    assert gate.open is opens


def test_the_gate_opens_for_a_winner_and_only_when_full() -> None:
    gate, rng = Gate(40, 1.0), np.random.default_rng(5)
    for n in range(40):
        assert not gate.open
        assert math.isnan(gate.statistic)
        gate.learn(np.array([0.3, np.nan]), np.array([0.4 + 0.05 * rng.random(), 0.1]))
        assert len(gate.gains) == n + 1
    assert gate.open
    gate.learn(np.full(2, np.nan), np.ones(2))
    assert len(gate.gains) == 40
    for _ in range(40):
        gate.learn(np.array([0.4]), np.array([0.3 + 0.05 * rng.random()]))
    assert not gate.open


def test_the_answer_says_which_model_spoke() -> None:
    """With an open gate the circuit's forecast is the model's part and the backend is simulated-quantum."""
    tape = markets.synthetic(21)
    agent = Quasar(SYSTEM(quasar=QuasarSettings(circuit_outcomes=20)))
    state = agent._state
    assert state.circuit is not None
    state.model.rows = state.circuit.rows = 100
    plain = markets.ask(agent, tape, 600)
    assert (plain.backend, plain.qubits) == ("classical", 0)
    state.gate.gains.extend(0.1 + 0.001 * k for k in range(20))
    told = markets.ask(agent, tape, 600)
    assert (told.backend, told.qubits) == ("simulated-quantum", 4)
    assert not np.array_equal(array(told.p), array(plain.p))
    off = Quasar(SYSTEM(quantum_circuits=False))
    assert off._state.circuit is None
    assert markets.ask(off, tape, 600).backend == "classical"


@pytest.mark.parametrize("first", [True, False])
def test_a_switch_of_circuits_holds_for_a_state_that_is_kept(first: bool) -> None:
    """What was learned besides stays; a circuit begins anew behind a shut gate, and there is none without."""
    tape, settings = markets.synthetic(22), QuasarSettings(circuit_outcomes=20)
    agent = Quasar(SYSTEM(quasar=settings, quantum_circuits=first))
    markets.train(agent, tape, 340, 420)
    if agent._state.circuit is not None:
        agent._state.circuit.rows = 100
        agent._state.gate.gains.extend(0.1 + 0.001 * k for k in range(20))
    assert agent._state.gate.open is first
    other = Quasar(SYSTEM(quasar=settings, quantum_circuits=not first))
    fresh = other._state
    other.load(agent.save())
    kept, known = other._state, fresh.circuit
    assert (kept.circuit is None) is first
    if kept.circuit is not None and known is not None:
        np.testing.assert_array_equal(kept.circuit.weights, known.weights)
        assert kept.circuit.rows == 0
    assert len(kept.gate.gains) == 0
    assert kept.seq == agent._state.seq > 0
    np.testing.assert_array_equal(kept.model.weights, agent._state.model.weights)
    assert markets.ask(other, tape, 600).backend == "classical"
    back = Quasar(SYSTEM(quasar=settings, quantum_circuits=first))
    back.load(other.save())
    assert not back._state.gate.open


@pytest.mark.parametrize("rows", [49, 50])
def test_neither_model_is_heard_before_it_has_learned_from_50_rows(rows: int) -> None:
    """What was not heard is not compared either."""
    tape, agent = markets.synthetic(21), Quasar(SYSTEM())
    circuit, regression = agent._state.circuit, agent._state.model
    assert circuit is not None
    for held in (circuit, regression):
        circuit.rows = regression.rows = 50
        held.rows = rows
        markets.ask(agent, tape, 600)
        said = array(agent._state.pending._held["round-600"].models)
        at = int(held is circuit)
        assert np.isfinite(said[:, 1 - at]).all()
        assert np.isfinite(said[:, at]).all() == (rows == 50)
        before = len(agent._state.gate.gains)
        agent.on_feedback(markets.feedback(tape, 600), 0)
        assert len(agent._state.gate.gains) - before == (rows == 50)


def test_the_circuit_learns_from_16_symbols_of_a_decision() -> None:
    """Its gradient costs more than all else; regression learns from every one."""
    tape, agent = markets.synthetic(22, symbols=18), Quasar(SYSTEM())
    markets.ask(agent, tape, 600)
    agent.on_feedback(markets.feedback(tape, 600), 0)
    assert agent._state.circuit is not None
    assert (agent._state.circuit.rows, agent._state.model.rows) == (16, 18)


def test_outcomes_teach_the_circuit_and_fill_the_gate() -> None:
    agent = Quasar(SYSTEM())
    markets.train(agent, markets.synthetic(22), 340, 700)
    state = agent._state
    assert state.circuit is not None
    assert state.circuit.rows > 50
    assert len(state.gate.gains) > 5
    fresh = Quasar(SYSTEM())
    fresh.load(agent.save())
    again = fresh._state
    assert again.circuit is not None
    np.testing.assert_array_equal(again.circuit.weights, state.circuit.weights)
    assert again.gate.gains == state.gate.gains


def test_nothing_compiles_after_the_warm_up() -> None:
    """In a process of its own, as others here have compiled what a warm-up may forget."""
    root = Path(__file__).parents[3]
    ended = subprocess.run(
        [sys.executable, "-c", LIFE], cwd=root, capture_output=True, text=True, check=False
    )
    assert ended.stdout.split() == ["simulated-quantum", "True", "True", "0"], ended.stderr
