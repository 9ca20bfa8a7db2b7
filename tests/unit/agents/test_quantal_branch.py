"""The principal branch of quantal responses of three players: never lost, never another one."""

from __future__ import annotations

import numpy as np
import pytest

from qts_agents.kernels import backend, qre

pytestmark = pytest.mark.timeout(300)  # compiling with a cold cache on a busy machine takes a minute
SIZES, EACH, RATE = (2, 3, 4, 5), 250, 50.0
F8 = np.ndarray


def made(n: int, games: int = EACH) -> F8:
    """Return random games; in every other one payoffs are coarse, so that actions tie."""
    payoff = np.random.default_rng([n, 11]).random((games, 3, n, n, n))
    payoff[::2] = np.round(4.0 * payoff[::2]) / 4.0
    return payoff


def responses(payoff: F8, rate: float, mix: F8) -> F8:
    """Return the logit responses [G,3,n] to `mix`, from the payoffs as they are given."""
    x, y, z = mix.transpose(1, 0, 2)
    earned = (
        np.einsum("gijk,gj,gk->gi", payoff[:, 0], y, z),
        np.einsum("gijk,gi,gk->gj", payoff[:, 1], x, z),
        np.einsum("gijk,gi,gj->gk", payoff[:, 2], x, y),
    )
    pull = rate * np.stack(earned, axis=1)
    raised = np.exp(pull - pull.max(axis=2, keepdims=True))
    return np.asarray(raised / raised.sum(axis=2, keepdims=True))


def plain(payoff: F8, rate: float) -> F8:
    """Return what the reference finds in steps at most a third long."""
    backend.set_jit(False)
    try:
        return qre.qre(payoff, rate).mix
    finally:
        backend.set_jit(True)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("rate", [RATE, 20.0 * RATE])
def test_every_branch_is_followed_to_its_end(n: int, rate: float) -> None:
    """250 games a size; what is returned answers itself to 1e-10, by the payoffs as given."""
    payoff = made(n)
    found = qre.qre(payoff, rate)
    assert found.residual.max() <= 1e-10
    assert np.abs(responses(payoff, rate, found.mix) - found.mix).max() <= 1e-10
    np.testing.assert_allclose(found.mix.sum(axis=2), 1.0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_it_is_the_branch_that_short_steps_find(n: int) -> None:
    """Also where there are others at the same λ."""
    payoff = made(n, 10)
    np.testing.assert_allclose(qre.qre(payoff, RATE).mix, plain(payoff, RATE), rtol=0, atol=1e-10)


def test_branches_turn_back_and_are_still_followed() -> None:
    """Where λ turns back, the answer jumps between two λ; there steps in λ cannot go, and the branch is kept."""
    payoff = made(4, 60)
    rates = np.arange(2.0, RATE, 0.5)
    at = np.array([qre.qre(payoff, rate).mix for rate in rates])
    jumps = np.abs(np.diff(at, axis=0)).max(axis=(2, 3))
    turned = np.flatnonzero(jumps.max(axis=0) > 0.2)
    assert len(turned) >= 5
    some = payoff[turned[:5]]
    np.testing.assert_allclose(qre.qre(some, RATE).mix, plain(some, RATE), rtol=0, atol=1e-10)


def coordination(better: float) -> F8:
    """Return two players who earn 1 where they meet at the second place, `better` at the first; a third is idle."""
    payoff = np.zeros((1, 3, 2, 2, 2))
    payoff[0, :2, 0, 0], payoff[0, :2, 1, 1] = better, 1.0
    return payoff


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("better", [1.0 + 1e-9, 1.01, 2.0, 0.99])
def test_the_branch_ends_where_the_risk_is_less(better: float) -> None:
    """In symmetric games of two players and actions it selects what is risk dominant (Turocy 2005)."""
    mix = qre.qre(coordination(better), RATE).mix[0]
    np.testing.assert_allclose(mix[:2, int(better < 1.0)], 1.0, rtol=0, atol=1e-9)


@pytest.mark.usefixtures("either")
def test_where_branches_meet_it_goes_straight_on() -> None:
    """At equal payoffs three branches meet at one point; nothing prefers one place."""
    np.testing.assert_allclose(qre.qre(coordination(1.0), RATE).mix, 0.5, rtol=0, atol=1e-12)


def test_units_and_neighbours_change_nothing() -> None:
    """Payoffs in other units give the same at λ in theirs; a game alone has the bits it has among others."""
    payoff = made(3, 40)
    found = qre.qre(payoff, RATE)
    np.testing.assert_allclose(qre.qre(1e4 * payoff + 3.0, RATE / 1e4).mix, found.mix, rtol=0, atol=1e-9)
    for g in range(len(payoff)):
        assert np.array_equal(qre.qre(payoff[g : g + 1], RATE).mix[0], found.mix[g])


@pytest.mark.usefixtures("either")
def test_payoffs_that_are_no_numbers_stay_in_their_game() -> None:
    """It has no answer; the others have theirs. λ itself must be a number."""
    payoff = made(2, 3)
    payoff[1, 0, 0, 0, 0] = np.nan
    found = qre.qre(payoff, 2.0)
    assert np.isnan(found.mix[1]).all()
    assert np.isnan(found.residual[1])
    assert found.residual[[0, 2]].max() <= 1e-10
    for rate in (-1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="λ"):
            qre.qre(payoff, rate)
