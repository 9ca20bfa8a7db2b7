"""The best correlated equilibrium against scipy's linear programmes and the textbook game of chicken."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from scipy.optimize import linprog
from tests.property import markets as market

from qts_agents.columns import array
from qts_agents.kernels.nash import nash_choice
from qts_agents.qbmia import correlated
from qts_agents.qbmia.agent import Qbmia
from qts_core.spec import SYSTEM


def games(kind: str, count: int = 60) -> list[tuple[np.ndarray, np.ndarray]]:
    draws = np.random.default_rng(4)
    shape = (count, 2, 4, 4)
    made = draws.normal(size=shape)
    return [(a, b) for a, b in (made if kind == "random" else np.floor(1.5 * made))]


@pytest.mark.parametrize("kind", ["random", "tied payoffs"])
def test_the_value_is_that_of_another_solver(kind: str) -> None:
    """No advice is worth disobeying, and no other such advice pays the row player more."""
    for a, b in games(kind):
        joint = correlated.best(a, b)
        assert joint.sum() == pytest.approx(1.0, abs=1e-12)
        assert joint.min() >= 0.0
        gains = correlated.incentives(a, b)
        assert (gains @ joint.ravel()).max() <= 1e-9
        peer = linprog(-a.ravel(), gains, np.zeros(len(gains)), np.ones((1, a.size)), [1.0])
        assert (joint * a).sum() == pytest.approx(-peer.fun, abs=1e-8)


def test_it_is_at_least_the_nash_equilibrium() -> None:
    """Nash equilibria are correlated ones whose advice is drawn independently."""
    a, b = (np.array(side) for side in zip(*games("random"), strict=True))
    found = nash_choice(a, b)
    nash = np.einsum("gi,gij,gj->g", found.x, a, found.y)
    best = np.array([(correlated.best(p, q) * p).sum() for p, q in zip(a, b, strict=True)])
    assert (best >= nash - 1e-9).all()
    assert (best > nash + 1e-3).any()


def test_a_constant_game_has_one_too() -> None:
    assert correlated.best(np.zeros((4, 4)), np.ones((4, 4))).sum() == pytest.approx(1.0)


def test_the_report_sets_it_beside_the_quantum_game() -> None:
    """An explained answer says what entanglement and what a common signal gain over the equilibrium."""
    tape = market.synthetic(4)
    answer = market.ask(Qbmia(SYSTEM()), tape, 600)
    names = answer.contrib_names
    shown = array(answer.contrib)
    assert (shown[:, names.index("correlated_gain_bp")] >= -1e-6).all()
    assert np.isfinite(shown[:, names.index("ewl_gain_bp")]).all()
    plain = market.ask(Qbmia(msgspec.convert({"quantum_circuits": False}, SYSTEM)), tape, 600)
    assert np.isnan(array(plain.contrib)[:, names.index("correlated_gain_bp")]).all()
