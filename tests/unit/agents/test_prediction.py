"""PREDICTION's quantiles: the pinball loss, the shares, and what the regression learns that a record cannot."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property import markets

from qts_agents.columns import array
from qts_agents.prediction.agent import Prediction
from qts_agents.prediction.model import FEATURES, TAUS, Quantiles, pinball, shares
from qts_core.spec import SYSTEM


def live(kept: int, spread: float, count: int = 4000) -> Quantiles:
    """Return a model after outcomes whose scale is exp(spread · feature), a feature it is shown."""
    random, model = np.random.default_rng(11), Quantiles(kept)
    for _ in range(count):
        row = np.zeros(FEATURES)
        row[0], row[1] = 1.0, random.uniform(-1.0, 1.0)
        z = float(np.exp(spread * row[1]) * random.standard_normal())
        model.score(z, model.issued("A", row))
        model.learn("A", row, z, 0.02)
    return model


def test_the_empirical_quantiles_have_the_least_pinball_loss() -> None:
    """The loss is a proper one: on a sample nothing constant beats the sample's own quantiles (Koenker 1978)."""
    z = np.random.default_rng(3).standard_t(4, 2001)
    best = np.quantile(z, TAUS)

    def mean(q: np.ndarray) -> float:
        return float(np.mean([pinball(float(x), q) for x in z]))

    least = mean(best)
    for step in (-0.3, -0.05, 0.05, 0.3):
        assert mean(best + step) > least
        assert mean(best * (1.0 + step)) > least


def test_pinball_by_hand() -> None:
    """A quantile τ too low by x costs τ·x, one too high by x costs (1−τ)·x; the mean over the nine."""
    too_low, too_high = TAUS.sum() * 2.0 / 9.0, (1.0 - TAUS).sum() * 2.0 / 9.0
    assert pinball(2.0, np.zeros(9)) == pytest.approx(too_low)
    assert pinball(-2.0, np.zeros(9)) == pytest.approx(too_high)
    assert pinball(1.0, np.array([1.0] * 8 + [3.0])) == pytest.approx(0.05 * 2.0 / 9.0)


@given(
    steps=st.lists(st.floats(1e-3, 2.0), min_size=TAUS.size - 1, max_size=TAUS.size - 1),
    start=st.floats(-5.0, 5.0),
    edge=st.floats(0.0, 3.0),
)
@settings(max_examples=200, deadline=None)
def test_shares_are_a_distribution(steps: list[float], start: float, edge: float) -> None:
    """Positive, sum 1; a wider band is flatter; the mirrored quantiles give the mirrored shares."""
    q = start + np.concatenate(([0.0], np.cumsum(steps)))
    p = shares(q, edge)
    assert (p > 0.0).all()
    assert p.sum() == pytest.approx(1.0)
    assert shares(q, edge + 0.5)[1] >= p[1] - 0.03  # the floor of an outcome takes its share
    np.testing.assert_allclose(shares(-q[::-1], edge), p[::-1], rtol=0, atol=1e-9)


def test_the_regression_finds_a_scale_that_the_record_cannot_know() -> None:
    """Outcomes whose spread follows a feature: less loss than the empirical quantiles; without one, not more."""
    model, baseline = live(250, spread=1.0).losses()
    assert model < 0.93 * baseline
    model, baseline = live(250, spread=0.0).losses()
    assert model < 1.05 * baseline


def test_quantiles_hold_what_they_promise() -> None:
    """While it learns, the share of outcomes below each forecast is its τ: the steps of β₀ must add up.

    β₀ moves by rate·(τ − [z < q]), so the share differs from τ by |β₀ at the end − at first|/(rate·T), below 0.02.
    """
    random, model, below = np.random.default_rng(12), Quantiles(250), []
    for _ in range(5000):
        row = np.zeros(FEATURES)
        row[0], row[1] = 1.0, random.uniform(-1.0, 1.0)
        z = float(np.exp(row[1]) * random.standard_normal())
        below.append(z < model.forecast(row))
        model.learn("A", row, z, 0.02)
    np.testing.assert_allclose(np.mean(below, axis=0), TAUS, rtol=0, atol=0.02)


def test_an_opinion_says_its_quantiles_and_both_losses() -> None:
    """Ascending q05, q50, q95 in return units, and after outcomes the pinball loss beside the baseline's."""
    agent, tape = Prediction(SYSTEM()), markets.eurusd(1000, 1200)
    markets.train(agent, tape, 400, 900)
    opinion = markets.ask(agent, tape, 900)
    told = dict(zip(opinion.contrib_names, array(opinion.contrib)[0], strict=True))
    assert told["q05"] < told["q50"] < told["q95"]
    assert abs(told["q50"]) < 0.01 < 1.0, "a return of euro hours, no multiple of σ"
    assert told["pinball"] > 0.0
    assert told["pinball_of_baseline"] > 0.0


def test_forecasts_are_scored_as_they_were_issued() -> None:
    """The loss is that of the quantiles which the answer said, though outcomes were learned before its own."""
    agent, tape = Prediction(SYSTEM()), markets.eurusd(1000, 1200)
    markets.train(agent, tape, 400, 900)
    told = dict(
        zip((opinion := markets.ask(agent, tape, 900)).contrib_names, array(opinion.contrib)[0], strict=True)
    )
    kept = agent._state.pending._held["round-900"]
    said, sigma = array(kept.issued)[0], float(array(kept.sigma_h)[0])
    np.testing.assert_allclose(said[0, [0, 4, 8]] * sigma, [told["q05"], told["q50"], told["q95"]], rtol=1e-6)
    quantiles = agent._state.quantiles
    before = quantiles.outcomes
    for t in (880, 890):
        agent.on_feedback(markets.feedback(tape, t), markets.now(t + markets.HORIZON))
    assert quantiles.outcomes == before + 2
    assert not np.array_equal(quantiles.issued("S0", array(kept.features)[0])[0], said[0])
    quantiles.loss = quantiles.baseline = quantiles.weight = 0.0
    outcome = markets.feedback(tape, 900)
    agent.on_feedback(outcome, markets.now(900 + markets.HORIZON))
    z = float(array(outcome.ret)[0] / sigma)
    assert quantiles.losses() == (pinball(z, said[0]), pinball(z, said[1]))


def test_a_state_that_kept_no_forecasts_is_read() -> None:
    """What an older build asked is learned from, and not scored."""
    agent, tape = Prediction(SYSTEM()), markets.eurusd(1000, 1200)
    markets.train(agent, tape, 400, 900)
    markets.ask(agent, tape, 900)
    held = agent._state.pending._held
    held["round-900"] = msgspec.structs.replace(held["round-900"], issued=None)
    again = Prediction(SYSTEM())
    again.load(agent.save())
    weight, outcomes = again._state.quantiles.weight, again._state.quantiles.outcomes
    again.on_feedback(markets.feedback(tape, 900), markets.now(900 + markets.HORIZON))
    assert (again._state.quantiles.weight, again._state.quantiles.outcomes) == (weight, outcomes + 1)
