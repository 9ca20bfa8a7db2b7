"""The AMOS readout: vectors, closed form against circuit, and its four properties."""

from __future__ import annotations

import numpy as np
import pytest

from qts_agents.amos.agent import likeliest
from qts_agents.kernels import philox, readout

NU = 0.25
BUY, SELL, HOLD, INCREASE, DECREASE, HEDGE, EXIT = range(7)


def _rows(intent, risk, d):
    values = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (intent, risk, d)))
    return [np.ascontiguousarray(v) for v in values]


FLAT = [
    (-1.0, 0.0, (0.0, 1.0, 0.0)),
    (-0.3, 0.0, (0.0562682921, 0.1498390818, 0.7938926261)),
    (0.0, 0.0, (0.0, 0.0, 1.0)),
    (0.3, 0.0, (0.1498390818, 0.0562682921, 0.7938926261)),
    (1.0, 0.0, (1.0, 0.0, 0.0)),
    (-1.0, 0.5, (0.0, 0.9267766953, 0.0732233047)),
    (-0.3, 0.5, (0.0444867234, 0.1184654721, 0.8370478045)),
    (0.0, 0.5, (0.0, 0.0, 1.0)),
    (0.3, 0.5, (0.1184654721, 0.0444867234, 0.8370478045)),
    (1.0, 0.5, (0.9267766953, 0.0, 0.0732233047)),
]


@pytest.mark.parametrize(("intent", "risk", "expected"), FLAT)
def test_flat_vectors(intent, risk, expected):
    """A flat position reads BUY, SELL, HOLD as in the specification's table."""
    got = readout.readout(*_rows(intent, risk, 0.0), NU)[0]
    np.testing.assert_allclose(got[:3], expected, rtol=0, atol=5e-11)
    assert abs(got[3:]).max() == 0.0


@pytest.mark.parametrize(
    ("intent", "risk", "expected"),
    [
        (
            -0.3,
            0.5,
            {
                INCREASE: 0.0444867234,
                DECREASE: 0.0749195409,
                EXIT: 0.0435459312,
                HOLD: 0.3969463131,
                HEDGE: 0.4401014914,
            },
        ),
        (-1.0, 1.0, {EXIT: 0.8535533906, HEDGE: 0.1464466094}),
    ],
)
def test_long_vectors(intent, risk, expected):
    """A long position reads the five relative actions as in the specification."""
    got = readout.readout(*_rows(intent, risk, 1.0), NU)[0]
    full = np.array([expected.get(a, 0.0) for a in range(7)])
    np.testing.assert_allclose(got, full, rtol=0, atol=5e-11)


def _random(seed, n=2000):
    draws = np.random.default_rng(seed)
    return draws.uniform(-1, 1, n), draws.uniform(0, 1, n), draws.integers(-1, 2, n).astype(np.float64)


def test_circuit_equals_closed_form():
    """The 3-qubit statevector and the closed form agree, and each row sums to 1."""
    intent, risk, d = _random(1)
    closed = readout.readout(intent, risk, d, NU)
    np.testing.assert_allclose(readout.circuit(intent, risk, d, NU), closed, rtol=0, atol=1e-12)
    np.testing.assert_allclose(closed.sum(axis=1), 1.0, rtol=0, atol=1e-12)


def test_circuit_equals_independent_kronecker_product():
    """The gates written as dense 8×8 matrices give the same outcome probabilities."""

    def ry(t):
        return np.array([[np.cos(t / 2), -np.sin(t / 2)], [np.sin(t / 2), np.cos(t / 2)]])

    for intent, risk in ((0.4, 0.3), (-0.7, 0.9), (1.0, 1.0)):
        first = np.kron(np.kron(ry(np.pi / 2 * (1 + intent)), ry(np.pi * risk)), ry(np.pi * abs(intent)))
        back = np.kron(np.diag([1.0, 0.0]), np.eye(2)) + np.kron(
            np.diag([0.0, 1.0]), ry(-NU * np.pi * abs(intent))
        )
        prob = (np.kron(np.eye(2), back) @ first @ np.eye(8)[0]) ** 2
        got = readout.circuit(*_rows(intent, risk, 0.0), NU)[0]
        expected = [prob[5] + prob[7], prob[1] + prob[3], prob[[0, 2, 4, 6]].sum()]
        np.testing.assert_allclose(got[:3], expected, rtol=0, atol=1e-12)


def test_mirror_antisymmetry():
    """Reversing intention and position exchanges BUY and SELL and leaves the relative actions alone."""
    intent, risk, d = _random(2)
    there = readout.readout(intent, risk, d, NU)
    back = readout.readout(-intent, risk, -d, NU)
    np.testing.assert_allclose(back[:, [SELL, BUY, *range(2, 7)]], there, rtol=0, atol=1e-12)


def test_direction_grows_with_intention():
    """P(BUY) − P(SELL) = z·sin(½πI), and it rises with intent at every risk."""
    for risk in (0.0, 0.3, 0.7, 1.0):
        intent = np.linspace(-1, 1, 401)
        p = readout.readout(*_rows(intent, risk, 0.0), NU)
        difference = p[:, BUY] - p[:, SELL]
        np.testing.assert_allclose(
            difference, (1 - p[:, HOLD]) * np.sin(np.pi / 2 * intent), rtol=0, atol=1e-12
        )
        assert (np.diff(difference) > 0).all()


def test_no_intention_holds():
    """P(HOLD) is 1 when flat without intention, whatever the risk."""
    p = readout.readout(*_rows(0.0, np.linspace(0, 1, 11), 0.0), NU)
    np.testing.assert_allclose(p[:, HOLD], 1.0, rtol=0, atol=1e-15)


def test_every_action_can_win():
    """Each of the seven actions is the most likely one for some input."""
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 41), np.linspace(0, 1, 21), [-1.0, 0.0, 1.0]), -1)
    intent, risk, d = (np.ascontiguousarray(v) for v in grid.reshape(-1, 3).T)
    assert set(range(7)) == set(likeliest(readout.readout(intent, risk, d, NU)).tolist())


def test_ties_hold():
    """Equal best actions mean HOLD."""
    p = np.array([[0.4, 0.4, 0.2, 0, 0, 0, 0], [0.5, 0.1, 0.4, 0, 0, 0, 0]])
    assert likeliest(p).tolist() == [HOLD, BUY]


def test_sampling_converges_to_the_exact_probabilities():
    """Shots draw each action as often as its probability says, within five standard errors."""
    p = readout.readout(*_rows(-0.4, 0.6, 1.0), NU)
    shots = 20_000
    draws = philox.uniforms(philox.key_of(0, "amos", "X"), shots, 1, 5)
    got = readout.sample(p, draws[None, :])
    error = np.sqrt(p * (1 - p) / shots)
    assert (abs(got - p) <= 5 * error + 1e-12).all()
    assert pytest.approx(got.sum()) == 1.0
    assert not np.array_equal(got, p)
