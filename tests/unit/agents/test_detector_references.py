"""The detectors of manipulation against slow references: one order at a time, and scipy's distributions."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qts_agents.qbmia import machiavellian, orders
from qts_agents.qbmia.layering import layering
from qts_agents.qbmia.orders import CANCEL, FILL, NEW, SECOND, OrderEvents

DISTANCES = [np.nan, -0.5, 0.0, 0.9, 1.0, 2.0, 2.5, 3.0, 4.9, 5.0, 20.0]
GOING = (CANCEL, CANCEL, CANCEL, CANCEL, FILL)
SIZES = (1.0, 1.05, 1.1, 1.3, 4.0)
SEEDS = st.integers(0, 10**6)
MANY = settings(max_examples=40, deadline=None)


def stream(
    seed: int, count: int, span_s: int, known: bool, sizes: Any = SIZES, ends: Any = (NEW, CANCEL, FILL, FILL)
) -> OrderEvents:
    """Return `count` orders at whole seconds, with one of `ends` (NEW: none), and as many fills of others."""
    rng = np.random.default_rng(seed)
    come, life = rng.integers(0, span_s, count), rng.choice([0, 1, 4, 5, 6, 30, 60, 61], count)
    end = rng.choice(ends, count)
    side, level = rng.choice([-1, 1], count), rng.integers(0, 5, count)
    distance = rng.choice(DISTANCES, count) if known else np.full(count, np.nan)
    size, ids, other = rng.choice(sizes, count), np.arange(count), rng.integers(0, span_s, count)
    gone = end != NEW
    rows = [
        (come, side, level, size, ids, np.full(count, NEW), distance),
        tuple(x[gone] for x in (come + life, side, level, size, ids, end, distance)),
        (other, rng.choice([-1, 1], count), level, size, ids + 10**6, np.full(count, FILL), np.full(count, 0.0)),
    ]  # fmt: skip
    time, side, level, size, ids, kind, distance = (np.concatenate(part) for part in zip(*rows, strict=True))
    at = np.argsort(time, kind="stable")
    far = distance if known else np.full(len(at), np.nan)
    return OrderEvents(
        time[at] * SECOND, side[at], 100.0 + level[at], size[at], ids[at], kind[at].astype(np.int64), far[at]
    )


def listed(events: OrderEvents) -> list[Any]:
    """Return the events one by one: time, side, price, size, order, kind, distance."""
    return list(zip(*(getattr(events, n).tolist() for n in OrderEvents.__struct_fields__), strict=True))


def place(distance: float) -> int:
    return 3 if math.isnan(distance) else 0 if distance < 1.0 else 1 if distance < 5.0 else 2


def shares(counted: list[tuple[int, bool]]) -> list[float]:
    """Return how often orders of each class are given up, from (class, given up) of a baseline."""
    found = []
    for c in range(4):
        mine, others = ([gone for at, gone in counted if (at == c) is same] for same in (True, False))
        found.append((sum(mine) + 2.0 * (sum(others) + 1.0) / (len(others) + 2.0)) / (len(mine) + 2.0))
    return found


def reached(chances: list[float], k: int) -> float:
    """Return P(at least k of independent events)."""
    law = [1.0]
    for p in chances:
        law = [a * (1.0 - p) + b * p for a, b in zip([*law, 0.0], [0.0, *law], strict=True)]
    return math.fsum(law[k:])


def tried(events: OrderEvents, least: float) -> list[tuple[int, bool]]:
    told = listed(events)
    cancelled = {order for *_, order, kind, _ in told if kind == CANCEL}
    return [
        (place(d), order in cancelled)
        for _, _, _, size, order, kind, d in told
        if kind == NEW and size >= least
    ]


def spoofing(recent: OrderEvents, baseline: OrderEvents) -> float:
    sizes = sorted(size for _, _, _, size, _, kind, _ in listed(baseline) if kind == NEW)
    if len(sizes) < 20:
        return math.nan
    at = 0.9 * (len(sizes) - 1)
    low = math.floor(at)
    least = sizes[low] + (at - low) * (sizes[min(low + 1, len(sizes) - 1)] - sizes[low])
    usual, seen = shares(tried(baseline, least)), tried(recent, least)
    return reached([usual[c] for c, _ in seen], sum(gone for _, gone in seen)) if seen else math.nan


@given(seed=SEEDS, count=st.integers(19, 60), known=st.booleans())
@MANY
def test_spoofing_is_the_tail_of_independent_cancels(seed, count, known):
    """Orders of the largest tenth of sizes, each given up as often as those as far from the touch were."""
    recent = stream(seed, 12, 400, known, (1.0, 5.0, 6.0))
    baseline = stream(seed + 1, count, 4000, known, np.arange(1.0, 6.0))
    assert orders.spoofing(recent, baseline) == pytest.approx(
        spoofing(recent, baseline), rel=1e-9, nan_ok=True
    )


def even(group: list[Any]) -> bool:
    sizes = [order[3] for order in group]
    mean = sum(sizes) / len(sizes)
    spread = sum((x - mean) ** 2 for x in sizes) / len(sizes) / mean**2
    return len({order[2] for order in group}) >= 3 and spread < 0.1


def joint(events: OrderEvents) -> int:
    count = 0
    for side in (1, -1):
        left = [e for e in listed(events) if e[5] == CANCEL and e[1] == side]
        while left:
            group = [e for e in left if e[0] <= left[0][0] + 60 * SECOND]
            count, left = count + even(group), left[len(group) :]
    return count


def lives(events: OrderEvents) -> list[Any]:
    """Return each new order with its end (inf: none), and whether that was a withdrawal."""
    told = listed(events)
    last, found = max((e[0] for e in told), default=0), []
    for order in (e for e in told if e[5] == NEW):
        _, side, _, size, name, _, d = order
        ended = next(((e[0], e[5]) for e in told if e[5] != NEW and e[4] == name), (math.inf, NEW))
        back = any(
            e[5] == NEW and e[4] != name and e[1] == side and 0 <= e[0] - ended[0] <= 5 * SECOND
            and max(e[3], size) <= 1.1 * min(e[3], size) and abs(e[6] - d) < 1.0
            for e in told
        )  # fmt: skip
        found.append((*order, ended[0], ended[1] == CANCEL and not back and ended[0] <= last - 5 * SECOND))
    return found


def ladders(events: OrderEvents) -> list[tuple[list[Any], int]]:
    """Return the ladders that stood at a fill on the other side, with its time."""
    found, told = [], lives(events)
    for side in (1, -1):
        mine, used = [o for o in told if o[1] == side and not o[6] < 0.0], set()
        fills, before = sorted({e[0] for e in listed(events) if e[5] == FILL and e[1] == -side}), -1
        for fill in fills:
            fresh = any(before <= o[0] < fill for o in mine)
            before = fill
            standing = [o for o in mine if fill - 60 * SECOND <= o[0] < fill < o[7] and o[4] not in used]
            group: list[Any] = []
            for order in [*sorted(standing, key=lambda o: o[3]), None] if fresh else ():
                if order is None or (group and order[3] > 1.1 * group[-1][3]):
                    if group and even(group):
                        found.append((group, fill))
                        used |= {o[4] for o in group}
                    group = []
                group = [*group, order]
    return found


def told(events: OrderEvents, usual: list[float]) -> tuple[int, float]:
    count, expected = 0, 0.0
    for group, fill in ladders(events):
        chance = math.prod(usual[place(o[6])] for o in group)
        if chance < 0.05:
            expected += chance
            count += all(o[8] and o[7] <= fill + 60 * SECOND for o in group)
    return count, expected


def layers(recent: OrderEvents, baseline: OrderEvents, known: bool) -> float:
    if len(baseline.time_ns) < 20 or not len(recent.time_ns):
        return math.nan
    if known:
        usual = shares([(place(o[6]), o[8]) for o in lives(baseline)])
        (seen, expected), (found, chance) = told(baseline, usual), told(recent, usual)
        return float(stats.poisson.sf(found - 1, chance * (seen + 0.5) / (expected + 0.5)))
    spans = [max(1, int(e.time_ns[-1] - e.time_ns[0])) for e in (recent, baseline)]
    return float(stats.poisson.sf(joint(recent) - 1, (joint(baseline) + 0.5) * spans[0] / spans[1]))


@given(seed=SEEDS, count=st.integers(14, 40), dense=st.integers(30, 120), known=st.booleans())
@settings(max_examples=120, deadline=None)
def test_layering_is_that_of_orders_looked_at_one_by_one(seed, count, dense, known):
    """With distances ladders that go after a fill, without them joint cancels; against the tail of Poisson's law."""
    recent, baseline = stream(seed, count, dense, known, ends=GOING), stream(seed + 1, 60, 5 * dense, known)
    wanted = layers(recent, baseline, known)
    assert layering(recent, baseline) == pytest.approx(wanted, rel=1e-9, abs=1e-13)
    fewer = [baseline.where(np.arange(len(baseline.time_ns)) < most) for most in (20, 19)]
    assert layering(recent, fewer[0]) == pytest.approx(layers(recent, fewer[0], known), rel=1e-9, abs=1e-13)
    assert math.isnan(layering(recent, fewer[1]))
    assert math.isnan(layering(recent.where(recent.size < 0.0), baseline))


def trips(fills: list[Any], sizes: list[float], sides: list[int]) -> float:
    """Return the volume that goes back within a second, where the fills have these sizes and sides."""
    total = 0.0
    for i, (a, b) in enumerate(itertools.pairwise(fills)):
        if b[0] - a[0] <= SECOND and sizes[i] == sizes[i + 1] and sides[i] == -sides[i + 1]:
            total += sizes[i]
    return total


@given(seed=SEEDS, dense=st.integers(10, 60))
@MANY
def test_a_wash_is_compared_with_its_fills_in_other_orders(seed, dense):
    """The share of shuffles that reach what was seen, itself among them."""
    recent, rng = stream(seed, 30, dense, False), np.random.default_rng(seed)
    fills = [e for e in listed(recent) if e[5] == FILL]
    draws = rng.random((99, len(recent.time_ns)))
    seen, reach = trips(fills, [e[3] for e in fills], [e[1] for e in fills]), 1
    for row in draws:
        order = list(range(len(fills)))
        for i in range(len(order) - 1, 0, -1):
            j = int(row[i] * (i + 1))
            order[i], order[j] = order[j], order[i]
        mixed = [fills[i] for i in order]
        reach += trips(fills, [e[3] for e in mixed], [e[1] for e in mixed]) >= seen - 1e-9
    assert orders.wash(recent, draws) == pytest.approx(reach / 100.0)
    assert math.isnan(orders.wash(recent, draws[:, : len(fills) - 1]))


@given(seed=SEEDS, count=st.integers(15, 90), turn=st.sampled_from([0.0, 0.5, 2.0]))
@MANY
def test_a_turn_of_the_drift_is_kolmogorovs_tail(seed, count, turn):
    """The largest excursion of the newest whole twenties of bars around their mean, by σ√n."""
    returns = np.random.default_rng(seed).normal(size=count) + turn * np.sign(np.arange(count) - count / 2)
    p = orders.pump_dump(returns)
    if count < 20:
        assert math.isnan(p)
        return
    kept = returns[count % 20 :].tolist()
    mean = sum(kept) / len(kept)
    sigma = math.sqrt(sum((x - mean) ** 2 for x in kept) / len(kept))
    largest = max(abs(sum(kept[: i + 1]) - (i + 1) * mean) for i in range(len(kept)))
    wanted = stats.kstwobign.sf(largest / (sigma * math.sqrt(len(kept))))
    assert p == pytest.approx(wanted, rel=1e-6, abs=1e-12)
    returns[-1] = np.nan
    assert math.isnan(orders.pump_dump(returns))


@given(seed=SEEDS, count=st.integers(18, 60), moves=st.integers(0, 8))
@MANY
def test_front_running_is_fishers_test(seed, count, moves):
    """Orders above three times the mean size among those up to 5 s before a move: the hypergeometric tail."""
    recent = stream(seed, count, 100, False, (1.0, 1.0, 1.0, 1.0, 12.0))
    times = np.random.default_rng(seed).integers(0, 100, moves) * SECOND
    placed = [e for e in listed(recent) if e[5] == NEW]
    p = orders.front_running(recent, times)
    if len(placed) < 20 or not moves:
        assert math.isnan(p)
        return
    mean = sum(e[3] for e in placed) / len(placed)
    large = [e[3] > 3.0 * mean for e in placed]
    ahead = [any(0 < m - e[0] <= 5 * SECOND for m in times.tolist()) for e in placed]
    both = sum(a and b for a, b in zip(large, ahead, strict=True))
    wanted = stats.hypergeom.sf(both - 1, len(placed), sum(large), sum(ahead))
    assert p == pytest.approx(wanted, rel=1e-9)


P_VALUES = st.lists(
    st.one_of(st.sampled_from([math.nan, 0.05, 1.0]), st.floats(1e-9, 1.0)), min_size=5, max_size=5
)


@given(p=P_VALUES)
@MANY
def test_p_values_are_combined_by_cauchys_law_and_scored_by_their_weights(p):
    """Those that are known, a p of 1 as 1 − 1/d of d (Liu et al. 2019); what is not below 0.05 scores nothing."""
    weights = (0.30, 0.25, 0.20, 0.15, 0.10)
    known = [(w, x) for w, x in zip(weights, p, strict=True) if not math.isnan(x)]
    combined, score = orders.cauchy(np.array(p), orders.WEIGHTS), machiavellian.score(np.array(p))
    if not known:
        assert math.isnan(combined)
        assert math.isnan(score)
        return
    total, top = sum(w for w, _ in known), 1.0 - 1.0 / len(known) if len(known) > 1 else 1.0 - 1e-15
    t = sum(w / total * stats.cauchy.isf(min(x, top)) for w, x in known)
    assert combined == pytest.approx(stats.cauchy.sf(t), rel=1e-6, abs=1e-12)
    assert score == pytest.approx(sum(w * (1.0 - x) for w, x in known if x < 0.05) / total)


@given(p=st.lists(st.sampled_from([0.001, 0.01, 0.5, math.nan]), max_size=6))
def test_two_of_the_last_three_windows_alarm(p):
    """Those below the level, not at it."""
    low = [x for x in p[-3:] if x < 0.01]
    assert machiavellian.alarm(p, 0.01) is (len(low) >= 2)
