"""The numbers of agents.md §10 that PADS computes, through the code that decides."""

import numpy as np
import pytest

from qts_agents.kernels.outcomes import UP
from qts_agents.kernels.phase import capacity, continuous, deviation, lag1, pcr_phase
from qts_agents.pads import sizing
from qts_agents.pads.members import agreement
from qts_agents.pads.reputation import Reputation, hindsight
from qts_agents.pads.risk import Risk
from qts_agents.pads.tables import base_weights, seat_weights
from qts_core.sections import PadsSettings
from qts_messaging.messages import RiskAlert

CLOSES = np.array([[100.0, 101, 103, 102, 104, 107, 105, 108, 110, 109]])
TEN = 5e-11


def test_phase_scores_of_ten_closes():
    """P, C, R and the four scores agree with the worked example."""
    pcr, score = pcr_phase(CLOSES, closes=6, returns=5, rank=4)
    assert np.allclose([0.8333333333, 0.125, 0.375], pcr[0], rtol=0, atol=TEN)
    expected = [0.6070983811, 0.1504773765, 0.0481527605, 0.1942714819]
    assert np.allclose(expected, score[0], rtol=0, atol=TEN)
    assert continuous(score)[0] == pytest.approx(0.3730593607, abs=TEN)
    assert capacity(*pcr.T)[0] == pytest.approx(0.6625, abs=TEN)


def test_raw_connectedness_of_ten_closes():
    """The raw form of C gives its own scores."""
    pcr, score = pcr_phase(CLOSES, 6, 5, 4, "raw")
    assert pcr[0, 1] == pytest.approx(0.2247213904, abs=TEN)
    expected = [0.5062759584, 0.2512997991, 0.0804159357, 0.1620083067]
    assert np.allclose(expected, score[0], rtol=0, atol=TEN)


def test_autocorrelation_and_deviation_of_the_last_four_windows():
    """ρ₁ and σ of five returns agree with the worked example at each of the last four bars."""
    r = np.diff(np.log(CLOSES), axis=1)
    windows = [r[:, end - 5 : end] for end in range(6, 10)]
    rho = [-0.4194871984, -0.5401072205, -0.5202949285, -0.5505572192]
    sigma = [0.0207350337, 0.0222552507, 0.0195691660, 0.0220081557]
    assert np.allclose(rho, [lag1(w)[0] for w in windows], rtol=0, atol=TEN)
    assert np.allclose(sigma, [deviation(w)[0] for w in windows], rtol=0, atol=TEN)


def test_a_flat_market_has_middle_phase_inputs():
    """Without any movement P is ½, C and R are ½ and nothing divides by zero."""
    pcr, score = pcr_phase(np.full((2, 400), 7.0))
    assert pcr.tolist() == [[0.5, 0.5, 0.5]] * 2
    assert np.allclose(score.sum(axis=1), 1.0)


def test_votes_that_disagree_do_not_make_a_consensus():
    """Votes (1,1,0,1) agree by 0.1685205807 only."""
    mean, agree = agreement(np.array([[1.0, 1, 0, 1]]), np.array([[0.3, 0.25, 0.2, 0.15]]))
    assert mean[0] == pytest.approx(0.7777777778, abs=TEN)
    assert agree[0] == pytest.approx(0.1685205807, abs=TEN)


def test_size_before_the_volatility_factor():
    """The size chain multiplies to 0.0250523507."""
    factors = sizing.chain(
        0.02,
        1.2,
        np.array([0.8 / 0.7]),
        np.array([0.65]),
        np.array([0.0126172285]),
        (0.05, np.array([0.01]), 0.02),
    )
    assert sizing.product(factors)[0] == pytest.approx(0.0250523507, abs=TEN)


def test_a_wild_day_shrinks_an_entry():
    """At twice the calm daily σ the size is half."""
    row = [np.array([1.0]), np.array([0.5]), np.array([0.0])]
    calm = sizing.product(sizing.chain(0.02, 1.0, *row, (0.0, np.array([0.02]), 0.02)))
    wild = sizing.product(sizing.chain(0.02, 1.0, *row, (0.0, np.array([0.04]), 0.02)))
    assert wild[0] == pytest.approx(calm[0] / 2)


def test_the_alert_factor_returns_to_one():
    """One alert gives ψ = 0.8, ten bars later 0.8412598948, thirty bars later 0.9."""
    risk = Risk(("A",), PadsSettings())
    alert = RiskAlert("x", "drift", 0.85, (), 0, 0)
    risk.on_alert(alert, "quasar", np.array([False]), 0)
    assert risk.psi == pytest.approx(0.8)
    for _ in range(10):
        risk.step(np.array([0.5]))
    assert risk.psi == pytest.approx(0.8412598948, abs=TEN)
    for _ in range(20):
        risk.step(np.array([0.5]))
    assert risk.psi == pytest.approx(0.9, abs=1e-12)


PI = np.array([[[0.5, 0.3, 0.2], [0.4, 0.35, 0.25], [0.2, 0.5, 0.3]]])
WITHOUT = np.array(
    [
        [
            [0.3199041537, 0.3716292544, 0.3084665919],
            [0.3503494875, 0.3610229939, 0.2886275187],
            [0.3991709779, 0.3312122160, 0.2696168061],
        ]
    ]
)


def test_scores_and_marginal_values_of_three_seats():
    """g and M of the worked pool at the outcome up; the worse seat loses reputation."""
    y = np.array([UP], dtype=np.uint8)
    p = np.array([[0.3664170062, 0.3651833868, 0.2683996070]])
    seen = hindsight(PI, WITHOUT, p, np.ones((1, 3)), y)
    assert np.allclose([0.4465866673, 0.1325333551, -0.6910724746], seen.score[0], rtol=0, atol=1e-9)
    assert np.allclose([6.7875307422, 2.2420427023, -4.2808897573], 50.0 * seen.added[0], rtol=0, atol=1e-7)
    assert np.array_equal(seen.said, np.log(PI[:, :, 0]))
    record = Reputation(("a", "b", "c"), 0.05, "score")
    record.learn(seen.score, seen.said)
    assert np.allclose(0.5 + 0.05 * seen.score[0], record.value)


def test_who_had_no_share_and_what_is_not_resolved_teach_nothing():
    """A seat without a share is NaN in each number, and so is a row without an outcome."""
    p = np.full((2, 3), 1 / 3)
    share = np.array([[1.0, 0.0, 1.0]] * 2)
    seen = hindsight(
        np.tile(PI, (2, 1, 1)), np.tile(WITHOUT, (2, 1, 1)), p, share, np.array([UP, 255], np.uint8)
    )
    for told in (seen.said, seen.score, seen.added):
        assert np.isfinite(told).tolist() == [[True, False, True], [False] * 3]


def test_a_score_moves_reputation_by_a_twentieth_within_its_limits():
    """rep ← clip(rep + 0.05·mean over symbols of clip(g, −1, 1), 0.1, 1); who is silent keeps what it has."""
    record, said = Reputation(("a", "b", "c"), 0.05, "score"), np.zeros((2, 3))
    g = np.array([[0.4, -9.0, np.nan], [9.0, np.nan, np.nan]])
    record.learn(g, said)
    assert record.value == pytest.approx([0.535, 0.45, 0.5])
    record.learn(g[:1], said[:1])
    assert record.value == pytest.approx([0.555, 0.4, 0.5])
    for _ in range(50):
        record.learn(g, said)
    assert record.value.tolist() == [1.0, 0.1, 0.5]


def test_hedge_reputation_is_in_the_ratio_of_its_weights():
    """The option `hedge` weighs seats as fixed-share Hedge does, uncut; the share keeps the worst one alive."""
    record, weights = Reputation(("a", "b", "c"), 0.05, "hedge"), np.full(3, 1 / 3)
    log_pi = np.log(PI[:, :, 0])
    for _ in range(400):
        record.learn(np.zeros((1, 3)), log_pi)
        weights = weights * np.exp(0.1 * log_pi[0])
        weights = 0.99 * weights / weights.sum() + 0.01 / 3
    assert record.value == pytest.approx(weights / weights.max())
    assert record.value[0] == 1.0
    assert record.value[0] > record.value[1] > record.value[2] > 0.01 / 3


def test_added_seats_share_what_the_others_give():
    """Two seats beside a whole board: the others keep their proportions, the sum stays 1."""
    five = {"qar": 0.30, "qstar": 0.25, "antifragility": 0.20, "consensus": 0.15, "adaptability": 0.10}
    scaled = base_weights(five | {"market_maker": 0.05, "prediction": 0.1})
    assert (scaled["market_maker"], scaled["prediction"]) == (0.05, 0.1)
    assert scaled["qar"] == pytest.approx(0.30 * 0.85)
    for phase in range(5):
        weights = seat_weights(scaled, phase)
        assert sum(weights.values()) == pytest.approx(1.0)
        assert weights["prediction"] > 0.0


def test_an_added_market_maker_scales_the_other_seats():
    """At m = 0.05 the five seats become 0.285, 0.2375, 0.19, 0.1425, 0.095."""
    five = {"qar": 0.3, "qstar": 0.25, "antifragility": 0.2, "consensus": 0.15, "adaptability": 0.1}
    scaled = base_weights(five | {"market_maker": 0.05})
    assert np.allclose([0.285, 0.2375, 0.19, 0.1425, 0.095, 0.05], list(scaled.values()))
    assert sum(seat_weights(scaled, 2).values()) == pytest.approx(1.0)
