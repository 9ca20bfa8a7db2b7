"""Manipulation tests on order events: vectors, injected episodes against honest orders, and what QBMIA says."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from tests.property import markets as market

from qts_agents.columns import array
from qts_agents.qbmia import episodes, flow, machiavellian, orders
from qts_agents.qbmia.agent import Qbmia
from qts_agents.qbmia.orders import CANCEL, FILL, NEW, SECOND, OrderEvents
from qts_core.spec import SYSTEM
from qts_messaging.messages import RiskAlert


def stream(times_s, sides, sizes, kinds, prices=None, ids=None, distance=None):
    n = len(times_s)
    return OrderEvents(
        time_ns=(np.asarray(times_s) * SECOND).astype(np.int64),
        side=np.asarray(sides, np.int64),
        price=np.asarray(np.full(n, 100.0) if prices is None else prices, np.float64),
        size=np.asarray(sizes, np.float64),
        order=np.asarray(np.arange(n) if ids is None else ids, np.int64),
        event=np.asarray(kinds, np.int64),
        distance=np.full(n, np.nan) if distance is None else np.asarray(distance, np.float64),
    )


def honest(seed, n=400, span_s=86_400.0):
    """Orders of random size; one in ten is cancelled later, the others are filled."""
    rng = np.random.default_rng(seed)
    times, sides, sizes = np.sort(rng.uniform(0, span_s, n)), rng.choice([-1, 1], n), rng.lognormal(0, 0.5, n)
    ends = np.where(rng.random(n) < 0.1, CANCEL, FILL)
    order = np.argsort(np.concatenate([times, times + 30.0]), kind="stable")
    prices = 100 + 0.01 * rng.integers(-5, 6, n)

    def twice(values):
        return np.concatenate([values, values])[order]

    kinds = np.concatenate([np.full(n, NEW), ends])[order]
    time = np.concatenate([times, times + 30.0])[order]
    return stream(time, twice(sides), twice(sizes), kinds, twice(prices), twice(np.arange(n)))


def spoofed(seed):
    """Honest orders, and 12 huge ones that are cancelled within seconds on three levels of equal size."""
    base = honest(seed, 60, 600.0)
    t = np.repeat(np.arange(12) * 4.0 + 100.0, 2) + np.tile([0.0, 2.0], 12)
    n = len(t)
    bad = stream(
        t, np.ones(n), np.full(n, 20.0), np.tile([NEW, CANCEL], 12), 99 + 0.01 * (np.arange(n) // 2 % 4),
        10_000 + np.arange(n) // 2,
    )  # fmt: skip
    order = np.argsort(np.concatenate([base.time_ns, bad.time_ns]), kind="stable")
    return OrderEvents(
        *(np.concatenate([getattr(base, f), getattr(bad, f)])[order] for f in base.__struct_fields__)
    )


def evidence(recent, seed=0):
    rng = np.random.default_rng(seed)
    return machiavellian.Evidence(
        recent=recent,
        baseline=honest(99),
        returns=rng.standard_normal(240) * 1e-3,
        moves_ns=np.array([50, 300]) * SECOND,
        draws=rng.random((199, 2000)),
    )


def test_the_cauchy_rule_of_the_design():
    """p = (.01, .2, .5, .04) with weights (.3, .25, .25, .2) combine to 0.0276733276; unknown ones are left out."""
    weights = np.array([0.3, 0.25, 0.25, 0.2])
    p = np.array([0.01, 0.2, 0.5, 0.04])
    assert orders.cauchy(p, weights) == pytest.approx(0.0276733276, abs=1e-10)
    assert orders.cauchy(np.array([np.nan, 0.2]), np.array([0.9, 0.1])) == pytest.approx(0.2)
    assert math.isnan(orders.cauchy(np.array([np.nan]), np.array([1.0])))


def test_tails_are_those_of_the_distributions():
    """Binomial and Poisson tails at hand-computed points."""
    assert orders.binomials_tail(3, np.array([4]), np.array([0.5])) == pytest.approx(5 / 16)
    assert orders.binomials_tail(0, np.array([4]), np.array([0.5])) == 1.0
    assert orders.poisson_tail(1, 2.0) == pytest.approx(1 - math.exp(-2.0))
    assert orders.poisson_tail(0, 2.0) == 1.0
    assert orders.poisson_tail(3, 0.0) == 0.0


def test_the_test_of_front_running_is_that_of_all_permutations():
    """The tail of the hypergeometric law is the share of permutations, and honest orders seldom fall below it."""
    assert orders.hypergeometric_tail(2, 3, 4, 10) == pytest.approx((6 * 6 + 4) / 120)
    assert orders.hypergeometric_tail(0, 3, 4, 10) == 1.0
    assert orders.hypergeometric_tail(3, 3, 2, 10) == 0.0
    rng, base = np.random.default_rng(11), episodes.honest(np.random.default_rng(0), 400, flow.DAY_S)
    p = [
        orders.front_running(e.recent, e.moves_ns) for e in (episodes.evidence(rng, base) for _ in range(400))
    ]
    assert np.mean(np.array(p) < 0.05) <= 0.05 + 2.0 * np.sqrt(0.05 * 0.95 / len(p))


def test_spoofing_and_layering_are_found_and_honest_orders_are_not():
    """Injected episodes score high; honest days mostly score nothing."""
    found = machiavellian.examine(evidence(spoofed(1)))
    assert found.p[orders.NAMES.index("spoofing")] < 1e-3
    assert found.p[orders.NAMES.index("layering")] < 0.05
    assert found.combined < 0.01
    assert found.score > 0.3
    clean = [machiavellian.examine(evidence(honest(seed, 60, 600.0), seed)).score for seed in range(20)]
    assert np.median(clean) == 0.0


def test_the_sum_of_binomials_is_their_convolution():
    """P(X ≥ k) of two coins and a third one that is bent, by hand; classes without orders change nothing."""
    n, p = np.array([2, 0, 1]), np.array([0.5, 0.3, 0.1])
    assert [orders.binomials_tail(k, n, p) for k in range(4)] == pytest.approx([1.0, 0.775, 0.3, 0.025])


def given_up(distances, cancelled, size=20.0, start=0.0):
    """Return large orders at `distances`, the first `cancelled` of them cancelled, the others filled."""
    n = len(distances)
    kinds = [NEW] * n + [CANCEL] * cancelled + [FILL] * (n - cancelled)
    ids = np.tile(np.arange(n), 2) + int(start)
    times = start + np.arange(2 * n)
    return stream(times, np.ones(2 * n), np.full(2 * n, size), kinds, ids=ids, distance=np.tile(distances, 2))


def test_cancels_are_compared_with_those_of_orders_as_far_from_the_touch():
    """The same cancels are usual far from the touch and suspicious at it; unknown distances are as before."""
    at, far = given_up([0.5] * 60, 3), given_up([20.0] * 60, 54, start=1000.0)
    baseline = episodes.together(at, far)
    p = {d: orders.spoofing(given_up([d] * 8, 7, start=5000.0), baseline) for d in (0.5, 20.0, np.nan)}
    # counts of a class and two orders more, cancelled as those of all the other classes
    for d, cancelled, others in ((0.5, 3, 54), (20.0, 54, 3)):
        rate = (cancelled + 2.0 * (others + 1.0) / 62.0) / 62.0
        assert p[d] == pytest.approx(orders.binomials_tail(7, np.array([8]), np.array([rate])), rel=1e-12)
    assert p[0.5] < 1e-6 < 0.3 < p[20.0]
    assert p[0.5] < p[np.nan] < p[20.0]
    blind = [given_up([np.nan] * 60, 3), given_up([np.nan] * 8, 7, start=1000.0)]
    assert orders.spoofing(blind[1], blind[0]) == orders.binomials_tail(7, np.array([8]), np.array([4 / 62]))


def test_makers_that_move_away_are_no_spoofers_where_distances_are_known():
    """Honest orders far from the touch are cancelled often: without distances that looks like spoofing."""
    rng = np.random.default_rng(5)
    baseline = episodes.quoted(rng, orders=2000, span_s=flow.DAY_S)
    p = {}
    for known in (True, False):
        found = []
        for _ in range(100):
            recent, before = episodes.quoted(rng, episodes.AWAY), baseline
            if not known:
                recent, before = (nowhere(part) for part in (recent, before))
            found.append(orders.spoofing(recent, before))
        p[known] = np.nanmean(np.array(found) < 0.05)
    assert p[True] < 0.1 < 0.2 < p[False]


def nowhere(events):
    return msgspec.structs.replace(events, distance=np.full(events.size.shape, np.nan))


def test_wash_trades_are_found():
    """Fills that return within a second at the same size are no chance."""
    t = np.repeat(np.arange(30) * 10.0, 2) + np.tile([0.0, 0.5], 30)
    sizes = np.repeat(np.random.default_rng(0).lognormal(0, 1, 30), 2)
    draws = np.random.default_rng(1).random((199, 60))
    washed = stream(t, np.tile([1, -1], 30), sizes, np.full(60, FILL))
    assert orders.wash(washed, draws) < 0.02
    mixed = stream(t, np.tile([1, -1], 30), np.random.default_rng(2).permutation(sizes), np.full(60, FILL))
    assert orders.wash(mixed, draws) > 0.05
    assert math.isnan(orders.wash(stream([], [], [], []), draws))


def test_a_pump_and_its_dump_turn_the_drift():
    """Up for 100 bars, down for 100: p near 0; noise is not significant; a still market is not either."""
    noise = np.random.default_rng(3).standard_normal(200) * 1e-3
    drift = np.repeat([1e-3, -1e-3], 100)
    assert orders.pump_dump(noise + drift) < 1e-4
    assert orders.pump_dump(noise) > 0.05
    assert orders.pump_dump(np.zeros(40)) == 1.0
    assert math.isnan(orders.pump_dump(np.zeros(10)))


def test_orders_ahead_of_moves_are_found():
    """Large orders 2 s before every large move are no chance."""
    rng = np.random.default_rng(4)
    t = np.arange(600) * 6.0
    sizes = rng.lognormal(0, 0.3, 600)
    moves = rng.choice(np.arange(10, 590), 12, replace=False)
    sizes[moves] = 50.0
    events = stream(t, np.ones(600), sizes, np.full(600, NEW))
    assert orders.front_running(events, ((t[moves] + 2.0) * SECOND).astype(np.int64)) < 1e-6
    elsewhere = ((t[moves] - 2.0) * SECOND).astype(np.int64)
    assert orders.front_running(events, elsewhere) > 0.05


def test_suspected_manipulation_is_reported_and_votes_flat():
    """Two suspicious windows of three raise the alert; the next answer leans to flat and says why."""
    tape, agent = market.synthetic(1, symbols=1), Qbmia(SYSTEM())
    before = market.ask(agent, tape, 440, round_id="before")
    bars = [(market.update(tape, t), market.window(tape, t), market.now(t)) for t in range(440, 450)]
    assert [agent.on_bars(*bar) for bar in bars[:2]] == [[], []]
    for seed in range(2):
        agent.observe("S0", evidence(spoofed(seed)))
    sent = [o.message for bar in bars[2:] for o in agent.on_bars(*bar) if isinstance(o.message, RiskAlert)]
    assert {(m.alert_type, m.scope) for m in sent} == {("manipulation_suspected", ("S0",))}
    assert len(sent) == 2
    after = market.ask(agent, tape, 440, round_id="after")
    place = after.contrib_names.index("machiavellian")
    assert np.isnan(array(before.contrib)[0, place])
    assert array(after.contrib)[0, place] == 0.0
    assert array(after.p)[0, 1] > array(before.p)[0, 1]


def test_a_suspicion_ends_with_the_order_events():
    """Two windows after the last one with events nothing is reported any more, and the test is masked again."""
    tape, agent = market.synthetic(1, symbols=1), Qbmia(SYSTEM())
    market.ask(agent, tape, 440, round_id="before")
    for seed in range(2):
        agent.observe("S0", evidence(spoofed(seed)))
    last = 442
    agent._state.flow.looked_ns["S0"] = market.update(tape, last).asof_ns
    raised = []
    for t in range(last, last + 40):
        sent = agent.on_bars(market.update(tape, t), market.window(tape, t), market.now(t))
        raised += [t - last for o in sent if isinstance(o.message, RiskAlert)]
    assert raised == [0, 5, 10, 15]
    after = market.ask(agent, tape, last + 40, round_id="after")
    assert np.isnan(array(after.contrib)[0, after.contrib_names.index("machiavellian")])


@pytest.mark.parametrize("kind", episodes.KINDS)
def test_injected_episodes_alarm_and_honest_windows_do_not(kind):
    """Two windows of three below one false alarm a day, in four episodes of five; none of five honest ones."""
    rng, level = np.random.default_rng(7), episodes.WINDOW_S / flow.DAY_S
    baseline = episodes.honest(rng, 2000, flow.DAY_S)

    def alarmed(kind):
        windows = [machiavellian.examine(episodes.evidence(rng, baseline, kind)) for _ in range(3)]
        return machiavellian.alarm([w.combined for w in windows], level)

    assert sum(alarmed(kind) for _ in range(5)) >= 4
    assert sum(alarmed("") for _ in range(5)) == 0
