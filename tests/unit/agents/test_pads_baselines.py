"""What stands beside the adaptive cycle: the hidden Markov model, change points, tested early warnings."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from qts_agents.kernels import backend, surrogates
from qts_agents.pads import changepoint, comparison, hmm, warning
from qts_agents.pads.agent import Pads
from qts_agents.pads.changepoint import ChangePoints
from qts_agents.pads.hmm import Hmm
from qts_core.spec import SYSTEM


def regimes(seed: int, stays: tuple[int, ...] = (200, 150, 250, 200)) -> tuple[np.ndarray, np.ndarray]:
    """Return observations [T,2] that are calm and wild by turns, and which they are."""
    rng = np.random.default_rng(seed)
    wild = np.concatenate([np.full(n, i % 2) for i, n in enumerate(stays)])
    sigma = np.where(wild == 1, 0.01, 0.002)
    x = np.stack(
        [sigma * rng.standard_normal(len(wild)), np.log(sigma) + 0.1 * rng.standard_normal(len(wild))]
    )
    return np.ascontiguousarray(x.T), wild


def test_the_model_finds_calm_and_wild() -> None:
    """Filtered states tell calm bars from wild ones, sorted by volatility."""
    x, wild = regimes(1)
    known, filtered = hmm.fit(x)
    np.testing.assert_allclose(filtered.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(known.move.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    assert (np.diff(known.mean[:, 1]) > 0).all()
    guessed = filtered.argmax(axis=1) >= 2
    assert (guessed == (wild == 1)).mean() > 0.97


def test_filtering_and_smoothing_equal_enumeration() -> None:
    """On six bars: sums over all 4^6 paths give the same filtered and smoothed probabilities."""
    rng = np.random.default_rng(2)
    T = 6
    b, move, start = rng.random((T, 4)), rng.dirichlet(np.ones(4), 4), rng.dirichlet(np.ones(4))
    forward, gamma, moves = np.zeros((T, 4)), np.zeros((T, 4)), np.zeros((4, 4))
    hmm._smooth(b, move, start, forward, gamma, moves)
    whole, upto, pairs = np.zeros((T, 4)), np.zeros((T, 4)), np.zeros((4, 4))
    for path in itertools.product(range(4), repeat=T):
        weight = start[path[0]] * math.prod(move[i, j] for i, j in itertools.pairwise(path))
        weight *= math.prod(b[t, s] for t, s in enumerate(path))
        for t, s in enumerate(path):
            whole[t, s] += weight
        for i, j in itertools.pairwise(path):
            pairs[i, j] += weight
    total = whole[0].sum()
    for t in range(T):
        for path in itertools.product(range(4), repeat=t + 1):
            weight = start[path[0]] * math.prod(move[i, j] for i, j in itertools.pairwise(path))
            upto[t, path[-1]] += weight * math.prod(b[k, s] for k, s in enumerate(path))
        upto[t] /= upto[t].sum()
    np.testing.assert_allclose(gamma, whole / total, rtol=0, atol=1e-12)
    np.testing.assert_allclose(forward, upto, rtol=0, atol=1e-12)
    np.testing.assert_allclose(moves, pairs / total, rtol=0, atol=1e-12)
    plain = [np.zeros((T, 4)), np.zeros((T, 4)), np.zeros((4, 4))]
    hmm.smooth_reference(b, move, start, *plain)
    np.testing.assert_allclose(plain[1], gamma, rtol=0, atol=1e-14)


def test_the_model_knows_only_the_past() -> None:
    """States of a shorter series are the first of a longer one; between fits a step is a filter step."""
    x, _ = regimes(3)

    def states(bars: int) -> list[list[float]]:
        model, seen = Hmm(150), []
        for row in x[:bars]:
            model.step(*row)
            seen.append(model.p.tolist())
        return seen

    short, whole = states(400), states(600)
    assert whole[:149] == pytest.approx(np.full((149, 4), np.nan), nan_ok=True)
    assert short[150:] == whole[150:400]
    model = Hmm(150)
    for row in x[:151]:
        model.step(*row)
    assert model.known is not None
    _, filtered = hmm.fit(np.ascontiguousarray(x[:150]))
    ahead = (filtered[-1] @ model.known.move) * hmm.likelihood(x[150:151], model.known)[0]
    np.testing.assert_allclose(model.p, ahead / ahead.sum(), rtol=0, atol=1e-12)
    model.step(math.nan, 0.0)
    np.testing.assert_allclose(model.p, ahead / ahead.sum(), rtol=0, atol=1e-12)
    assert model.state == int(np.argmax(ahead))


def segment(x: np.ndarray) -> float:
    """Return the marginal likelihood of one run: normal-gamma with κ = α = β = 1, μ = 0."""
    density, kappa, alpha, beta, mean = 1.0, 1.0, 1.0, 1.0, 0.0
    for value in x:
        scale = math.sqrt(beta * (kappa + 1) / (alpha * kappa))
        density *= stats.t.pdf((value - mean) / scale, 2 * alpha) / scale
        beta += 0.5 * kappa / (kappa + 1) * (value - mean) ** 2
        mean, kappa, alpha = (kappa * mean + value) / (kappa + 1), kappa + 1, alpha + 0.5
    return density


def test_run_lengths_equal_the_sum_over_all_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight returns, every way to cut them into runs, weighted by the hazard."""
    monkeypatch.setattr(changepoint, "WARM", 2)
    x = np.random.default_rng(4).normal(0, 1, 8)
    x[5:] += 4.0
    model, hazard = ChangePoints(10.0), 0.1
    for value in (-1.0, 1.0, *x):  # the first two set the scale 1
        model.step(float(value))
    exact = np.zeros(9)
    for cuts in itertools.product([False, True], repeat=8):  # a change after return k?
        ends = [k + 1 for k in range(8) if cuts[k]]
        bounds = [0, *ends] if ends and ends[-1] == 8 else [0, *ends, 8]
        weight = math.prod(segment(x[a:b]) for a, b in itertools.pairwise(bounds))
        weight *= hazard ** len(ends) * (1 - hazard) ** (8 - len(ends))
        exact[0 if ends and ends[-1] == 8 else 8 - bounds[-2]] += weight
    np.testing.assert_allclose(model.run, exact / exact.sum(), rtol=0, atol=1e-12)
    assert model.length == pytest.approx(float(model.run @ np.arange(9)))


def test_a_change_of_volatility_is_noticed() -> None:
    """Runs grow in a quiet market and are short just after it turns wild."""
    rng = np.random.default_rng(5)
    model = ChangePoints(250.0)
    for value in rng.normal(0, 0.001, 700):
        model.step(float(value))
    assert model.recent < 0.2
    assert model.length > 200
    assert len(model.run) == changepoint.LONGEST
    for value in rng.normal(0, 0.01, 12):
        model.step(float(value))
    assert model.length < 30


def test_surrogates_keep_the_spectrum_and_nothing_else() -> None:
    x = np.cumsum(np.random.default_rng(6).normal(size=201))
    made = surrogates.phase_randomised(x, np.random.default_rng(7).random((5, 101)))
    np.testing.assert_allclose(
        np.abs(np.fft.rfft(made, axis=1)[:, 1:]), np.tile(np.abs(np.fft.rfft(x)[1:]), (5, 1)), rtol=1e-9
    )
    assert np.abs(np.corrcoef(made)[0, 1]) < 0.9


def test_tau_of_rolling_statistics_equals_the_plain_one() -> None:
    """Every window by itself, and scipy's τ of what they show."""
    x = np.random.default_rng(8).normal(5.0, 1.0, (2, 120))
    found = surrogates.taus(x, 50)
    for row, tau in zip(x, found, strict=True):
        d = np.array([row[t : t + 50] - row[t : t + 50].mean() for t in range(71)])
        shown = (d * d).sum(axis=1), (d[:, 1:] * d[:, :-1]).sum(axis=1) / (d * d).sum(axis=1)
        plain = [stats.kendalltau(np.arange(71), y).statistic for y in shown]
        np.testing.assert_allclose(tau, plain, rtol=0, atol=1e-12)


def test_false_alarms_come_as_often_as_promised() -> None:
    """Without a trend p < 0.1 in about a tenth of the series; with growing variance it is small."""
    rng = np.random.default_rng(9)
    found = [warning.trend(rng.normal(size=200), 1, k, 59).variance for k in range(150)]
    assert 0.03 <= np.mean(np.array(found) < 0.1) <= 0.19
    rising = rng.normal(size=300) * np.linspace(1.0, 4.0, 300)
    assert warning.trend(rising, 1, 0, 199).variance < 0.05
    assert math.isnan(warning.trend(np.zeros(300), 1, 0, 19).variance)
    assert math.isnan(warning.trend(rising[:100], 1, 0, 19).variance)
    assert warning.trend(rising, 1, 0, 19) == warning.trend(rising, 1, 0, 19)


def test_the_statistics_are_those_of_fifty_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    """τ of variance and autocorrelation of every 50 returns (§1.8, EWS); unknown returns are left out."""
    monkeypatch.setattr(warning, "p_value", lambda tau, by_chance: tau)
    x = np.random.default_rng(13).normal(size=160)
    d = np.array([x[t : t + 50] - x[t : t + 50].mean() for t in range(111)])
    shown = (d * d).sum(axis=1), (d[:, 1:] * d[:, :-1]).sum(axis=1) / (d * d).sum(axis=1)
    plain = [stats.kendalltau(np.arange(111), y).statistic for y in shown]
    found = warning.trend(np.insert(x, [0, 70, 160], math.nan), 1, 0, 3)
    assert [found.variance, found.autocorrelation] == pytest.approx(plain, abs=1e-12)


def test_a_trend_needs_150_returns_that_move() -> None:
    """Fewer known returns, or equal ones, say nothing; 150 do."""
    x = np.random.default_rng(14).normal(size=150)
    assert 0.0 < warning.trend(x, 1, 0, 9).variance <= 1.0
    for silent in (x[1:], np.append(x[1:], math.inf), np.full(150, 0.01)):
        assert math.isnan(warning.trend(silent, 1, 0, 9).variance)


@pytest.mark.parametrize(("event", "hits", "false"), [(0, 0, 1), (1, 1, 0), (30, 1, 0), (31, 0, 1)])
def test_an_alarm_waits_thirty_bars(event: int, hits: int, false: int) -> None:
    """An event at bars 1 to 30 after the alarm makes it a hit, one with it or later leaves it false."""
    tally = warning.Tally()
    for bar in range(40):
        tally.step(bar, bar == 0, bar == event)
        assert (tally.raised, tally.hits + tally.false) == (1, int(bar >= min(30, event or 30)))
    assert (tally.hits, tally.false) == (hits, false)


def test_an_alarm_is_tested_where_it_begins() -> None:
    watch = warning.Watch(1, 19)
    series = np.random.default_rng(10).normal(size=200)
    scores = [0.5, 0.95, 0.99, math.nan, 0.8, 0.91]
    begins = [watch.step(e, 0.0, lambda: series, i) for i, e in enumerate(scores)]
    assert begins == [False, True, False, False, False, True]
    assert (watch.all.raised, watch.bars) == (2, 5)
    assert 0.0 < watch.found.variance <= 1.0


def test_an_alarm_begins_above_0_9_and_is_significant_below_0_05(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also at the first bar; a crisis is one above 0.7, and either statistic may rise."""
    found = iter([warning.Trend(0.05, 0.05), warning.Trend(0.9, 0.049), warning.Trend(0.049, 0.9)])
    monkeypatch.setattr(warning, "trend", lambda *_: next(found))
    watch, counts = warning.Watch(1, 19), []
    for bar, ews in enumerate([0.901, 0.9, 0.901, 0.95, 0.2, 0.901]):
        watch.step(ews, 0.7, lambda: np.zeros(1), bar)
        counts.append((watch.all.raised, watch.significant.raised))
    assert counts == [(1, 0), (1, 0), (2, 1), (2, 1), (2, 1), (3, 2)]
    watch.step(0.2, 0.701, lambda: np.zeros(1), 6)
    assert (watch.all.hits, watch.significant.hits) == (3, 2)


def test_a_crisis_that_is_on_when_an_alarm_begins_was_not_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """That it goes on at the next bar is no hit; that another one begins within 30 bars is one."""
    monkeypatch.setattr(warning, "trend", lambda *_: warning.Trend())
    for again, hits in ((99, 0), (20, 1)):
        watch = warning.Watch(1, 19)
        for bar in range(50):
            watch.step(0.95, 0.8 if bar < 5 or bar == again else 0.1, lambda: np.zeros(1), bar)
        assert (watch.all.hits, watch.all.false) == (hits, 1 - hits)


def test_what_follows_an_alarm_makes_it_a_hit_or_false() -> None:
    """The running tally ends with the figures that are worked out from whole series afterwards."""
    draws = np.random.default_rng(12)
    for rate in (0.0, 0.01, 0.2):
        alarms, events = draws.random(600) < 0.03, draws.random(600) < rate
        alarms[-warning.HORIZON :] = False  # of the last ones nobody knows yet
        tally = warning.Tally()
        for bar in range(600):
            tally.step(bar, bool(alarms[bar]), bool(events[bar]))
        judged = comparison.judge(alarms, events, warning.HORIZON)
        hit, false = tally.rates(600 - warning.HORIZON)
        assert (tally.raised, hit, false) == (judged.alarms, judged.hit_rate, judged.false_per_1000)
        assert tally.hits + tally.false == tally.raised


def test_an_alarm_before_a_crisis_is_a_hit_and_counts_as_significant_by_its_p() -> None:
    """Growing variance: small p and a hit; noise that no crisis follows: false, and not significant."""
    rng = np.random.default_rng(9)
    rising, noise = rng.normal(size=300) * np.linspace(1.0, 4.0, 300), rng.normal(size=300)
    watch = warning.Watch(1, 199)
    told = []
    for bar in range(80):
        ews = 0.95 if bar in (5, 40) else 0.2
        watch.step(ews, 0.9 if bar == 20 else 0.1, lambda at=bar: rising if at < 30 else noise, bar)
        told.append(watch.describe())
    assert told[0]["ews_alarms"] == 0
    assert math.isnan(told[19]["ews_hit_rate"])
    assert told[20]["ews_hit_rate"] == 1.0
    assert told[-1] == {
        "ews_alarms": 2,
        "ews_hit_rate": 0.5,
        "ews_false_alarms_per_1000_bars": 1000.0 / 80,
        "ews_significant_alarms": 1,
        "ews_significant_hit_rate": 1.0,
        "ews_significant_false_alarms_per_1000_bars": 0.0,
    }


def test_a_ready_board_compiles_no_markov_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """PADS' warm-up runs the fit, which comes 250 bars after readiness, with the types of a real one."""
    inner, calls = hmm._smooth, []
    monkeypatch.setattr(hmm, "_smooth", lambda *columns: calls.append(inner(*columns)))
    Pads(SYSTEM()).warm_up()
    assert calls
    before = backend.compiles()
    hmm.fit(np.random.default_rng(2).normal(size=(300, 2)))
    assert backend.compiles() == before
